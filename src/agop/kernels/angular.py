r"""Kernels of the angle between two points, scaled by their norms: :math:`k(x, z) = \|x\| \|z\|\, \varphi(\|\hat x - \hat z\|)`.

With :math:`\hat x = x / \|x\|` and r the distance of two directions, :math:`\cos\theta = 1 - r^2/2`. So such a kernel is a radial kernel of
directions, and its gradient is that kernel's, along the sphere, with one part more that points outward:

.. math:: \nabla_x k(x, z) = \|z\| \left[ \frac{\varphi'(r)}{r} (\hat x - \hat z)
          + \Big(\varphi(r) - \frac{r^2}{2} \frac{\varphi'(r)}{r}\Big) \hat x \right].

Distances of directions keep their digits where points nearly coincide; a cosine, which is 1 there, does not.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from agop._blocks import row_blocks, rows_per_block
from agop.kernels.base import Kernel
from agop.kernels.distance import Points


class Directions(Points):
    """Rows divided by their norms and prepared for distances, with their norms; the direction of a zero row is zero.

    Two rows on one ray have directions that differ by rounding, so these count as coincident (see `computed` of `Points`).
    """

    def __init__(
        self,
        X: Float[Tensor, "n d"],
        *,
        center: Float[Tensor, " d"] | None = None,
        dtype: torch.dtype = torch.float64,
        computed: bool = False,
    ) -> None:
        exact = X.detach().to(dtype)
        self.norms = exact.norm(dim=1)
        units = exact / torch.where(self.norms > 0, self.norms, torch.ones_like(self.norms))[:, None]
        super().__init__(units, center=center, dtype=dtype)
        self.rounding = 8 * torch.finfo(X.dtype if computed else dtype).eps

    @property
    def zero(self) -> Bool[Tensor, " n"]:
        """Which rows are zero."""
        return self.norms == 0

    @property
    def magnitude(self) -> float:
        return float(self.norms.max()) ** 2 if len(self.norms) else 0.0

    def beside(self, X: Float[Tensor, "m d"]) -> Directions:
        return Directions(X, center=self.center, dtype=self.values.dtype)


class AngularKernel(Kernel):
    r"""A kernel :math:`k(x, z) = \|x\| \|z\|\, \varphi(\|\hat x - \hat z\|)`; a subclass gives φ and φ'(r)/r in `evaluate`.

    Conventions: at a zero row the kernel is 0 and so is its gradient. Where two directions coincide the part of the gradient along the
    sphere is 0, also for a kernel with a cusp there, and what remains is outward.
    """

    shift_invariant = False
    has_bandwidth = False

    def points(
        self, X: Float[Tensor, "n d"], *, dtype: torch.dtype = torch.float64, computed: bool = False
    ) -> Directions:
        return Directions(X, dtype=dtype, computed=computed)

    def diagonal(self, points: Points, dtype: torch.dtype) -> Float[Tensor, " n"]:
        assert isinstance(points, Directions)
        return super().diagonal(points, dtype) * points.norms.square().to(dtype)

    def scaled(self, A: Float[Tensor, "n c"], points: Points) -> Float[Tensor, "n c"]:
        assert isinstance(points, Directions)
        return A * points.norms.to(A.dtype)[:, None]

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
        """Kernel values, and the gradient weights φ'(r)/r of the directions, of one block of pairs."""
        assert isinstance(left, Directions)
        assert isinstance(right, Directions)
        values, weights = super().block(left, rows, right, dtype, columns=columns, value=value, weight=weight)
        if values is not None:
            values.mul_(left.norms[rows, None].to(dtype)).mul_(right.norms[columns].to(dtype))
        if weights is not None and bool(left.zero.any() | right.zero.any()):
            weights.masked_fill_(left.zero[rows, None] | right.zero[columns], 0)
        return values, weights

    def outward(
        self, left: Points, right: Points, A: Float[Tensor, "n c"]
    ) -> tuple[Float[Tensor, "m c"], Float[Tensor, "m d"]]:
        r"""Coefficients :math:`\sum_i A_{ic} (\varphi - \frac{r^2}{2} \frac{\varphi'}{r})(r_{ji})`, and the directions they multiply."""
        assert isinstance(left, Directions)
        sums = A.new_empty(len(left), A.shape[1])
        for rows in row_blocks(
            len(left), rows_per_block(len(left), 4 * len(right) * left.values.element_size())
        ):
            distances = left.distances(rows, right, dtype=A.dtype)
            coincident, half = distances <= right.rounding, distances.square().div_(2)
            values, weights = self.evaluate(distances)
            assert values is not None
            assert weights is not None
            sums[rows] = torch.addcmul(values, half, weights.masked_fill_(coincident, 0), value=-1) @ A
        return sums.masked_fill_(left.zero[:, None], 0), left.values + left.center
