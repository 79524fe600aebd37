"""Squared Euclidean distances that keep their digits when points nearly coincide.

The expansion ‖x‖² + ‖z‖² − 2 x·z is one matrix product but loses every digit of a distance that is small beside the
norms. Here it runs on centred points in float64, and the pairs for which even that is not enough are formed again as
‖x − z‖², so that coincident points are at distance exactly 0 and every other distance is right to about 1e-6 relative.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from agop._blocks import DEFAULT_BLOCK_BYTES, row_blocks, rows_per_block

_NEAR = {torch.float64: 1e-9, torch.float32: 1e-2}
"""Share of the squared norms below which a squared distance is formed again as a difference, by working dtype."""


def working_dtype(dtype: torch.dtype, precision: str) -> torch.dtype:
    """The dtype distances are formed in: float64 unless `precision` is "native"."""
    return dtype if precision == "native" else torch.float64


class Points:
    """Rows prepared for distances: centred once, with their squared norms.

    Parameters
    ----------
    X
        The points, (n, d).
    center
        What is subtracted from every row; the mean row if None. Two sets can be paired only with one centre.
    dtype
        The dtype distances are formed in.
    computed
        The rows are the result of earlier arithmetic in the dtype of `X`, so that pairs closer than its rounding,
        `8 eps ‖x‖`, may be one point: their gradient weight is 0 like that of coincident points, because the direction between
        them is noise. (Kernel values do not need this, they are continuous.)
    """

    def __init__(
        self,
        X: Float[Tensor, "n d"],
        *,
        center: Float[Tensor, " d"] | None = None,
        dtype: torch.dtype = torch.float64,
        computed: bool = False,
    ) -> None:
        self.rounding = (
            8 * torch.finfo(X.dtype).eps * float(X.norm(dim=1).max()) if computed and len(X) else 0.0
        )
        self.center = X.mean(0, dtype=dtype) if center is None else center
        self.values = X.to(dtype) - self.center
        self.squared_norms = self.values.square().sum(1)
        self.largest = float(self.squared_norms.max()) if len(X) else 0.0

    def __len__(self) -> int:
        return len(self.values)

    def beside(self, X: Float[Tensor, "m d"]) -> Points:
        """Other rows, centred like these, to be paired with them."""
        return Points(X, center=self.center, dtype=self.values.dtype)

    def squared_distances(
        self, rows: slice, other: Points, columns: slice = slice(None)
    ) -> Float[Tensor, "b k"]:
        """Squared distances of some of these points to some of the `other` ones, in the working dtype."""
        x, x_norms = self.values[rows], self.squared_norms[rows]
        z, z_norms = other.values[columns], other.squared_norms[columns]
        squared = torch.addmm(z_norms[None, :], x, z.mT, alpha=-2)
        squared += x_norms[:, None]
        near = squared < (_NEAR[squared.dtype] * (x_norms + other.largest))[:, None]
        _difference_form_(squared, near, x, z)
        return squared


def _difference_form_(
    squared: Float[Tensor, "b k"], near: Tensor, x: Float[Tensor, "b d"], z: Float[Tensor, "k d"]
) -> None:
    """Overwrite the entries of `squared` where `near` with ‖x − z‖²."""
    i, j = near.nonzero(as_tuple=True)
    block = rows_per_block(max(1, len(i)), 3 * x.shape[1] * x.element_size(), DEFAULT_BLOCK_BYTES // 4)
    for pairs in row_blocks(len(i), block):
        squared[i[pairs], j[pairs]] = (x[i[pairs]] - z[j[pairs]]).square().sum(1)


def squared_distances(X: Float[Tensor, "m d"], Z: Float[Tensor, "n d"] | None = None) -> Float[Tensor, "m n"]:
    r"""All squared distances :math:`\|x_i - z_j\|^2` in float64; exactly 0 for equal rows.

    `Z=None` pairs `X` with itself.
    """
    points = Points(X if Z is None else Z)
    left = points if Z is None else points.beside(X)
    return left.squared_distances(slice(None), points)


def tiles(n: int, budget: int, bytes_per_entry: int) -> Iterator[tuple[slice, slice]]:
    """Pairs of row slices (rows, columns) covering the lower triangle of an (n, n) matrix, diagonal tiles included."""
    # small enough that the diagonal tiles, half of which is wasted, are a small share; large enough for fast products
    side = max(1, min(n, int((budget / bytes_per_entry) ** 0.5), max(256, n // 8), 2048))
    slices = list(row_blocks(n, side))
    for index, rows in enumerate(slices):
        for columns in slices[: index + 1]:
            yield rows, columns
