r"""Kernels of infinitely wide convolutional networks whose filters do not overlap: a tree of patches.

A point is p patches of s₁ numbers; only their directions count. With filters (s₁, s₂, …, s_L), cosines :math:`C_i` of two points'
patches and :math:`T_i = C_i` at the leaves, each of the L layers makes

.. math:: R = \kappa_1(C), \qquad T \leftarrow \kappa_0(C)\, T + R, \qquad C \leftarrow R

and then averages T and C over groups of :math:`s_{l+1}` consecutive nodes, behind the last layer over all that are left. T is the neural
tangent kernel (NTK, all layers are trained) and C the covariance at random weights (NNGP). κ₀, κ₁: see `agop.kernels.arc_cosine`.

Source: Cagnetta, Favero and Wyart 2023 (ICML; arXiv 2208.01003). Here in :math:`v = (1 - C)/2`, whose averages are those of C.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from agop import _checks
from agop._blocks import row_blocks, rows_per_block
from agop.kernels.arc_cosine import arc_cosines
from agop.kernels.base import Kernel
from agop.kernels.distance import Points


class Leaves(Points):
    """Rows whose patches are divided by their norms; a patch of zeros stays one, and has the cosine 0 with every other."""

    def __init__(
        self,
        X: Float[Tensor, "n d"],
        size: int,
        *,
        dtype: torch.dtype = torch.float64,
        computed: bool = False,
    ) -> None:
        self.size = size
        patches = X.detach().to(dtype).reshape(len(X), -1, size)
        largest = patches.abs().amax(2, keepdim=True)  # squares of what is tiny or huge leave the range
        patches = patches / torch.where(largest > 0, largest, torch.ones_like(largest))
        norms = patches.norm(dim=2, keepdim=True)
        units = patches / torch.where(norms > 0, norms, torch.ones_like(norms))
        center = units.new_zeros(X.shape[1])
        super().__init__(units.reshape(len(X), -1), center=center, dtype=dtype, computed=computed)
        self.zero: Bool[Tensor, "n p"] = norms[:, :, 0] == 0

    def beside(self, X: Float[Tensor, "m d"]) -> Leaves:
        return Leaves(X, self.size, dtype=self.values.dtype)

    def shortfalls(self, rows: slice, other: Leaves, columns: slice) -> Float[Tensor, "p b k"]:
        """(1 − cosine)/2 of patches: a quarter of the squared distance of their directions, ½ with a patch of zeros."""
        x, z = (part.reshape(len(part), -1, self.size) for part in (self.values[rows], other.values[columns]))
        v = x.new_zeros(x.shape[1], len(x), len(z))
        for place in range(self.size):
            v += (x[:, None, :, place] - z[None, :, :, place]).square_().permute(2, 0, 1)
        zero = self.zero[rows].mT[:, :, None] | other.zero[columns].mT[:, None, :]
        return v.div_(4).clamp_max_(1).masked_fill_(zero, 0.5)


@dataclass(frozen=True)
class _Hierarchical(Kernel):
    filters: Sequence[int] = (2,)

    shift_invariant: ClassVar[bool] = False
    rotation_invariant: ClassVar[bool] = False
    mixes_columns: ClassVar[bool] = False
    learns: ClassVar[bool] = False
    no_metric_because: ClassVar[str] = "it would have to lie inside patches"
    has_bandwidth: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not isinstance(self.filters, list | tuple) or len(self.filters) == 0:
            raise _checks.bad_value(
                "filters", "numbers of inputs by layer, such as (2, 2)", f"{self.filters!r}"
            )
        sizes = tuple(_checks.integer("filters", size, at_least=1) for size in self.filters)
        object.__setattr__(self, "filters", sizes)

    def evaluate(
        self, distances: Float[Tensor, "m n"], *, value: bool = True, weight: bool = True
    ) -> tuple[Float[Tensor, "m n"] | None, Float[Tensor, "m n"] | None]:
        """Of points that are a single patch, at `distances` of their directions."""
        _no_gradients(weight)
        v = distances.square().div_(4).clamp_max_(1)
        return self._from_leaves(v[None], (1,) * (len(self.filters) - 1)), None

    def points(
        self, X: Float[Tensor, "n d"], *, dtype: torch.dtype = torch.float64, computed: bool = False
    ) -> Leaves:
        multiple = math.prod(self.filters)
        if X.shape[1] == 0 or X.shape[1] % multiple:
            raise _checks.bad_value(
                "X",
                f"a multiple of {multiple} columns for filters={self.filters}",
                f"{X.shape[1]}",
                "choose filters whose product divides the number of columns",
            )
        return Leaves(X, self.filters[0], dtype=dtype, computed=computed)

    def diagonal(self, points: Points, dtype: torch.dtype) -> Float[Tensor, " n"]:
        assert isinstance(points, Leaves)
        v = torch.where(points.zero, 0.5, 0.0).to(dtype).mT[:, :, None]
        return self._from_leaves(v, self.filters[1:])[:, 0]

    def block(
        self,
        left: Points,
        rows: slice,
        right: Points,
        dtype: torch.dtype,
        *,
        columns: slice = slice(None),
        value: bool = True,
        weight: bool = True,
    ) -> tuple[Float[Tensor, "b k"] | None, Float[Tensor, "b k"] | None]:
        """Kernel values of one block of pairs: O(b k p s₁) operations, in parts of rows that hold p values a pair."""
        assert isinstance(left, Leaves)
        assert isinstance(right, Leaves)
        _no_gradients(weight)
        start, stop, _ = rows.indices(len(left))
        across = len(range(*columns.indices(len(right))))
        values = left.values.new_empty(stop - start, across, dtype=dtype)
        per_row = 6 * across * left.values.shape[1] // left.size * left.values.element_size()
        for part in row_blocks(stop - start, rows_per_block(max(1, stop - start), per_row, 64 * 2**20)):
            own = slice(start + part.start, start + part.stop)
            values[part] = self._from_leaves(left.shortfalls(own, right, columns), self.filters[1:])
        return values, None

    def _from_leaves(self, v: Float[Tensor, "p b k"], groups: Sequence[int]) -> Float[Tensor, "b k"]:
        """The kernel from (1 − cosine)/2 of patches."""
        tangent = torch.sub(1, v, alpha=2)
        for size in (*groups, None):
            on, gap, _ = arc_cosines(v)
            tangent = tangent.mul_(on).add_(1).sub_(gap, alpha=2)
            v, tangent = (
                (part if size is None else part.unflatten(0, (-1, size))).mean(0 if size is None else 1)
                for part in (gap, tangent)
            )
        return self._read(v, tangent)

    def _read(self, v: Float[Tensor, "b k"], tangent: Float[Tensor, "b k"]) -> Float[Tensor, "b k"]:
        raise TypeError("use HierarchicalNTK or HierarchicalNNGP")


def _no_gradients(asked: bool) -> None:
    if asked:
        raise _checks.bad_value(
            "kernel",
            "one with gradients, to learn a metric or to have an AGOP",
            "a hierarchical kernel, whose metric would have to lie inside patches",
            "set n_iter=0, or use ConvRFMClassifier, which learns a metric of patches",
        )


@dataclass(frozen=True)
class HierarchicalNTK(_Hierarchical):
    r"""The neural tangent kernel of an infinitely wide convolutional network without overlaps.

    Parameters
    ----------
    filters
        Sizes (s₁, …, s_L): numbers in a patch, and nodes that each further layer reads. Their product divides the number of columns;
        behind the last layer all nodes that are left are averaged.

    Raises
    ------
    ValueError
        If the columns are no multiple of the product, or a gradient is asked for: a metric would have to lie inside patches, so that it
        serves kernel ridge regression only (`RFMRegressor(kernel=HierarchicalNTK((2, 2)), n_iter=0)`).

    Notes
    -----
    :math:`k(x, x) = L + 1`. With one filter of all columns it is `ReLUNTK(depth=1)` of directions. See the module for the recursion.

    Examples
    --------
    >>> import torch
    >>> HierarchicalNTK((2, 2))(torch.tensor([[1.0, 0.0, 0.0, 1.0], [1.0, 0.0, 1.0, 0.0]]))
    tensor([[3.0000, 1.5651],
            [1.5651, 3.0000]])
    """

    def _read(self, v: Float[Tensor, "b k"], tangent: Float[Tensor, "b k"]) -> Float[Tensor, "b k"]:
        return tangent


@dataclass(frozen=True)
class HierarchicalNNGP(_Hierarchical):
    r"""The covariance of the outputs of an infinitely wide convolutional network without overlaps, at random weights.

    Parameters
    ----------
    filters
        As for `HierarchicalNTK`.

    Notes
    -----
    :math:`k(x, x) = 1`; smoother than the tangent kernel where points coincide.

    Examples
    --------
    >>> import torch
    >>> HierarchicalNNGP((2, 2))(torch.tensor([[1.0, 0.0, 0.0, 1.0], [1.0, 0.0, 1.0, 0.0]]))
    tensor([[1.0000, 0.7200],
            [0.7200, 1.0000]])
    """

    def _read(self, v: Float[Tensor, "b k"], tangent: Float[Tensor, "b k"]) -> Float[Tensor, "b k"]:
        return torch.sub(1, v, alpha=2)
