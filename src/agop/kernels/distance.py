"""Euclidean distances that keep their digits when points nearly coincide.

The expansion ‖x‖² + ‖z‖² − 2 x·z is one matrix product but loses every digit of a distance that is small beside the
norms. Here it runs on centred points in float64, and the pairs for which even that is not enough are formed again as
‖x − z‖, so that coincident points are at distance exactly 0 and every other distance is right to about 1e-6 relative.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from agop._blocks import DEFAULT_BLOCK_BYTES, row_blocks, rows_per_block

NEAR = {torch.float64: 1e-9, torch.float32: 1e-2}
"""Share of the squared norms below which a distance is formed again as a difference, by working dtype."""

_SINGLE_RANGE = (1e-28, 1e37)
"""Largest squared norms for which every squared distance that is not near is a normal float32 number."""

_TILE_ROWS, _TILE_COLUMNS = 256, 2048
"""A tile of a symmetric matrix: it stays in the cache through the passes over it, and little of a diagonal tile is wasted."""


def working_dtype(dtype: torch.dtype, precision: str) -> torch.dtype:
    """The dtype distances are formed in: float64 unless `precision` is "native"."""
    return dtype if precision == "native" else torch.float64


SMALL = 2048
"""Points up to which mixed precision forms (n, n) matrices in float64 too: they cost little there, and small data collapse deepest."""


def matrix_dtype(dtype: torch.dtype, precision: str, n: int) -> torch.dtype:
    """The dtype of kernel values and gradient weights of `n` points, and of what is solved and summed with them."""
    return working_dtype(dtype, precision) if n <= SMALL else dtype


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
        X = X.detach()
        self.center = X.mean(0, dtype=dtype) if center is None else center
        n, d = X.shape
        # z, 1, ‖z‖²: beside the rows -2x, ‖x‖², 1 one product gives squared distances, with no pass to add the norms
        self._extended = self.center.new_ones(n, d + 2)
        self.values = self._extended[:, :d]
        torch.sub(X, self.center, out=self.values)
        self.squared_norms = self._extended[:, d + 1]
        torch.sum(self.values.square(), 1, out=self.squared_norms)
        self.largest = float(self.squared_norms.max()) if n else 0.0

    def __len__(self) -> int:
        return len(self.values)

    @property
    def magnitude(self) -> float:
        """The largest squared norm of a row as it came, infinite if it overflows."""
        return self.largest

    def beside(self, X: Float[Tensor, "m d"]) -> Points:
        """Other rows, centred like these, to be paired with them."""
        return Points(X, center=self.center, dtype=self.values.dtype)

    def distances(
        self, rows: slice, other: Points, columns: slice = slice(None), dtype: torch.dtype | None = None
    ) -> Float[Tensor, "b k"]:
        """Distances of some of these points to some of the `other` ones, formed in the working dtype, given in `dtype`."""
        x, z = self.values[rows], other.values[columns]
        norms = self.squared_norms[rows]
        left = torch.cat([x * -2, norms[:, None], torch.ones_like(norms)[:, None]], 1)
        squared = left @ other._extended[columns].mT
        near_below = NEAR[squared.dtype] * (norms + other.largest)
        smallest, largest = _SINGLE_RANGE
        if dtype is not None and smallest < other.largest and max(self.largest, other.largest) < largest:
            squared = squared.to(dtype)  # the passes that follow are over half the bytes
        i, j = (squared < near_below.to(squared.dtype)[:, None]).nonzero(as_tuple=True)
        distances = squared.sqrt_() if dtype is None else squared.sqrt_().to(dtype)
        block = rows_per_block(max(1, len(i)), 3 * x.shape[1] * x.element_size(), DEFAULT_BLOCK_BYTES // 4)
        for pairs in row_blocks(len(i), block):
            distances[i[pairs], j[pairs]] = (x[i[pairs]] - z[j[pairs]]).norm(dim=1).to(distances.dtype)
        return distances


def squared_distances(X: Float[Tensor, "m d"], Z: Float[Tensor, "n d"] | None = None) -> Float[Tensor, "m n"]:
    r"""All squared distances :math:`\|x_i - z_j\|^2` in float64; exactly 0 for equal rows.

    `Z=None` pairs `X` with itself.
    """
    points = Points(X if Z is None else Z)
    left = points if Z is None else points.beside(X)
    return left.distances(slice(None), points).square_()


def tiles(n: int) -> Iterator[tuple[slice, slice]]:
    """Pairs of row slices (rows, columns) covering the lower triangle of an (n, n) matrix; the last of each row ends at its diagonal."""
    for start in range(0, n, _TILE_ROWS):
        end = min(n, start + _TILE_ROWS)
        for columns in row_blocks(end, _TILE_COLUMNS):
            yield slice(start, end), columns
