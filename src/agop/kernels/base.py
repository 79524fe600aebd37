"""What a kernel is to the rest of the package: its value and its gradient weight as functions of squared distance."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from agop import _checks
from agop._blocks import row_blocks, rows_per_block
from agop.kernels.columns import ColumnSums
from agop.kernels.distance import Points


class Kernel(ABC):
    r"""A radial kernel :math:`k(x, z) = \kappa(\|x - z\|)`, differentiated in closed form.

    A subclass gives `value` and `weight` (see :meth:`evaluate`); Gram matrices, gradients and the AGOP of kernel machines
    follow from these two. Kernels are immutable and hold no data. Learned metrics are not part of the kernel: with a
    feature matrix :math:`M`, points are mapped to :math:`X M^{1/2}` first. (`agop.kernels.angular` has the other kind, of angles.)
    """

    shift_invariant: ClassVar[bool] = True
    """Whether the kernel stays the same when all points are moved by one vector."""
    rotation_invariant: ClassVar[bool] = True
    """Whether the kernel stays the same when all points are rotated: then a metric may be applied in any basis."""
    mixes_columns: ClassVar[bool] = True
    """Whether a metric may mix columns; a kernel of single columns takes a diagonal one only."""
    has_bandwidth: ClassVar[bool] = True
    """Whether the class takes a `bandwidth`."""
    learns: ClassVar[bool] = True
    """Whether its gradients have a second moment to learn a metric from."""
    no_metric_because: ClassVar[str] = "its gradients have no useful second moment"
    """Why no metric is learned where `learns` is False."""

    @abstractmethod
    def evaluate(
        self, distances: Float[Tensor, "m n"], *, value: bool = True, weight: bool = True
    ) -> tuple[Float[Tensor, "m n"] | None, Float[Tensor, "m n"] | None]:
        r"""Values :math:`\kappa(r)` and gradient weights :math:`\kappa'(r)/r` at `distances` r.

        The gradient of the kernel is :math:`\nabla_x k(x, z) = (\kappa'(r)/r)\,(x - z)`; at r = 0 it is 0 by convention, also
        for a kernel with a cusp there: the weight at r = 0 may be anything, infinite or NaN too, :meth:`block` makes it 0.
        `distances` may be overwritten. What is not asked for is None.
        """

    def points(
        self, X: Float[Tensor, "n d"], *, dtype: torch.dtype = torch.float64, computed: bool = False
    ) -> Points:
        """Rows prepared for this kernel; see `Points` for the options."""
        return Points(X, dtype=dtype, computed=computed)

    def diagonal(self, points: Points, dtype: torch.dtype) -> Float[Tensor, " n"]:
        """Kernel values of points with themselves."""
        values, _ = self.evaluate(points.values.new_zeros(1, 1, dtype=dtype), weight=False)
        assert values is not None
        return values[0].expand(len(points))

    def scaled(self, A: Float[Tensor, "n c"], points: Points) -> Float[Tensor, "n c"]:
        """Coefficients of the centres `points` as they stand beside the gradient weights."""
        return A

    def outward(
        self, left: Points, right: Points, A: Float[Tensor, "n c"]
    ) -> tuple[Float[Tensor, "m c"], Float[Tensor, "m d"]] | None:
        """Gradients at `left` beyond those along differences: coefficients (of scaled `A`), and the vectors they multiply."""
        return None

    def column_sums(self, right: Float[Tensor, "n d"], A: Float[Tensor, "n c"]) -> ColumnSums | None:
        """Centres and coefficients prepared for gradients column by column; None for a kernel of Euclidean distances.

        A kernel of Euclidean distances has products of whole matrices instead.
        """
        return None

    def __call__(
        self, X: Float[Tensor, "m d"], Z: Float[Tensor, "n _"] | None = None
    ) -> Float[Tensor, "m n"]:
        """The Gram matrix of `X` with `Z` (None: with itself), in the dtype and on the device of `X`."""
        left, points = self._pair(X, Z)
        gram = X.new_empty(len(left), len(points))
        for rows in _row_slices(len(left), len(points), points):
            values, _ = self.block(left, rows, points, X.dtype, weight=False)
            assert values is not None
            gram[rows] = values
        return gram

    def gradient(
        self, X: Float[Tensor, "m d"], Z: Float[Tensor, "n d"], A: Float[Tensor, "n c"]
    ) -> Float[Tensor, "m c d"]:
        r"""Gradients at `X` of the functions :math:`f_c(x) = \sum_i A_{ic} k(x, z_i)`, one (c, d) Jacobian a row.

        For inspection: the result has m·c·d entries, and the AGOP never needs it (see `agop.kernels.agop.kernel_agop`).
        """
        _checks.floating("Z", Z, ndim=2)
        left, points = self._pair(X, Z)
        A = _checks.floating("A", A, ndim=2)
        _checks.same_length("Z", len(Z), "A", len(A))
        A = self.scaled(A.to(points.values.dtype), points)
        values = [
            self.jacobians(left, rows, points, A).to(X.dtype)
            for rows in _row_slices(len(left), len(points), points)
        ]
        return torch.cat(values) if values else X.new_zeros(0, A.shape[1], X.shape[1])

    def jacobians(
        self, left: Points, rows: slice, points: Points, A: Float[Tensor, "n c"]
    ) -> Float[Tensor, "b c d"]:
        """Gradients at some rows of `left` of the functions with centres `points` and `scaled` coefficients."""
        weight = self.block(left, rows, points, points.values.dtype, value=False)[1]
        assert weight is not None
        sums = self.column_sums(points.values, A)
        if sums is None:
            J = torch.einsum("bc,bd->bcd", weight @ A, left.values[rows])
            J -= torch.einsum("bn,nc,nd->bcd", weight, A, points.values)
        else:
            J = sums(weight, left.values[rows])
        outward = self.outward(left, points, A)
        if outward is not None:
            J += outward[0][rows, :, None] * outward[1][rows, None, :]
        return J

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
        """Values and gradient weights of one block of pairs in `dtype`; both share one distance computation."""
        distances = left.distances(rows, right, columns, dtype)
        unresolved = None
        if weight and distances.numel() and float(distances.min()) <= right.rounding:
            unresolved = distances <= right.rounding
        values, weights = self.evaluate(distances, value=value, weight=weight)
        if weights is not None and unresolved is not None:
            weights.masked_fill_(unresolved, 0)
        return values, weights

    def _pair(self, X: Float[Tensor, "m d"], Z: Float[Tensor, "n _"] | None) -> tuple[Points, Points]:
        X = _checks.floating("X", X, ndim=2)
        if Z is None:
            points = self.points(X)
            _check_range("X", points)
            return points, points
        Z = _checks.floating("Z", Z, ndim=2)
        if Z.shape[1] != X.shape[1]:
            raise _checks.bad_value("Z", f"{X.shape[1]} columns like X", f"{Z.shape[1]}")
        points = self.points(Z)
        left = points.beside(X)
        for name, rows in (("X", left), ("Z", points)):
            _check_range(name, rows)
        return left, points


def _check_range(name: str, points: Points) -> None:
    """Raise if squared norms overflow: every kernel would be NaN."""
    if not math.isfinite(points.magnitude):
        raise _checks.bad_value(
            name, f"squares within the {points.values.dtype} range", "an overflow", "rescale the points"
        )


def _row_slices(m: int, n: int, points: Points) -> list[slice]:
    # a block of squared distances, its root and the comparison mask live at the same time
    return list(row_blocks(m, rows_per_block(m, 3 * n * points.values.element_size())))
