r"""The neural tangent kernel of a convolutional ReLU network of infinite width, without pooling.

The network has L layers [convolution q × q without bias, :math:`\sqrt2\,\mathrm{ReLU}`], is flattened and read out by a dense layer.
Without pooling only equal positions of two images meet. With :math:`\Sigma^1_p = \Theta^1_p = x_p^T M z_p / c` and the cosine
:math:`t_p = \Sigma_p(x, z) / \sqrt{\Sigma_p(x, x)\,\Sigma_p(z, z)}` each layer makes

.. math:: \Sigma'_p = \sqrt{\Sigma_p(x, x)\,\Sigma_p(z, z)}\,\kappa_1(t_p), \quad \Theta'_p = \Theta_p\,\kappa_0(t_p), \quad
          \kappa_0 = 1 - \tfrac1\pi \arccos t, \quad \kappa_1 = t\,\kappa_0 + \tfrac1\pi \sqrt{1 - t^2},

the next convolution :math:`\Sigma_p = \sum_o \Sigma'_{p+o}`, :math:`\Theta_p = \Sigma_p + \sum_o \Theta'_{p+o}`, and the read-out
:math:`K = \frac1P \sum_p (\Sigma'_p + \Theta'_p)`.

The recursion is carried out for :math:`v = (1 - t)/2`, which keeps its digits where images nearly coincide: one arc sine of
:math:`\sqrt v` and one root :math:`\sqrt{v(1 - v)}` give both functions, and with :math:`a = \sqrt{\Sigma(x, x)}`, :math:`b`
that of z, :math:`v` of the next layer is half the gap of Cauchy and Schwarz, :math:`\frac12 (1 - \hat a \cdot \hat b)` over the
patch, plus the sum of :math:`\frac12 a b (1 - \kappa_1)` over the product of the next norms: positive terms both.

Source: Beaglehole, Radhakrishnan, Pandit, Belkin 2023 (arXiv 2309.00570); Arora et al. 2019 (arXiv 1904.11955) for the kernel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from agop import _checks
from agop._blocks import row_blocks, rows_per_block
from agop.kernels.arc_cosine import arc_cosines
from agop.kernels.patch_kernel import Metric, PatchBlock, PatchKernel
from agop.kernels.patch_radial import COINCIDENT
from agop.kernels.patches import PatchGrid

_NEAR = 1e-9
DEEPEST = 100
"""Most convolutions."""


@dataclass(frozen=True)
class CNTK(PatchKernel):
    r"""The kernel of this module.

    Parameters
    ----------
    layers
        Convolutions L, at least 1.

    Notes
    -----
    At equal directions :math:`\kappa_0'` is infinite; its term is taken as 0 there, as it is for `ReLUNTK`, and what is homogeneous stays.
    Zero patches have t = 0 with every other, and the gradient by them is 0.
    """

    layers: int = 1

    def __post_init__(self) -> None:
        if _checks.integer("depth", self.layers, at_least=1) > DEEPEST:
            raise _checks.bad_value("depth", f"at most {DEEPEST}", f"{self.layers}")

    @property
    def couples_positions(self) -> bool:
        return self.layers > 1

    @property
    def depth(self) -> int:
        return self.layers

    def unit(self, grid: PatchGrid) -> float:
        return float(grid.channels**-0.5)

    def block(
        self, images: Float[Tensor, "m pixels"], grid: PatchGrid, metric: Metric, rows: slice
    ) -> PatchBlock:
        mapped = metric.mapped(grid.patches(images, rows)).mul_(self.unit(grid))
        squares = mapped.square().sum(2, keepdim=True)
        parts = [_norms(squares, images.dtype) | _units(mapped, squares)]
        squares = squares.view(-1, grid.sides()[0][1], *squares.shape[1:])
        for side in grid.sides(self.layers)[1:]:
            # the norms of the patch that a position reads, as a vector: these are rows of a product, too
            m = squares.shape[2]
            inner = replace(grid, channels=1, height=squares.shape[0], width=squares.shape[1])
            roots = inner.patches(squares.sqrt().permute(2, 0, 1, 3).reshape(m, -1))
            squares = grid.box(squares)
            flat = squares.reshape(side[0] * side[1], m, 1)
            parts.append(_norms(flat, images.dtype) | _units(roots, flat))
        return PatchBlock(mapped.to(images.dtype), tuple(parts))

    def values(self, left: PatchBlock, right: PatchBlock, grid: PatchGrid) -> Float[Tensor, "b k"]:
        shape, sides = (len(left), len(right)), self._sides(left, grid)
        tangent = gap = None
        for level, side in enumerate(sides):
            a, b = left.parts[level], right.parts[level]
            norms = a["norm"] * b["norm"].mT
            v = _shortfall(a, b)
            if gap is not None:
                v.addcmul_(gap, a["inverse"] * b["inverse"].mT)
            own = torch.addcmul(norms, norms, v, value=-2)
            tangent = own if tangent is None else tangent.add_(own)
            on, gap, _ = arc_cosines(v)
            gap.mul_(norms)
            tangent.mul_(on)
            if level + 1 < len(sides):
                gap = grid.box(gap.view(*side, *shape)).flatten(0, 1)
                tangent = grid.box(tangent.view(*side, *shape)).flatten(0, 1)
        assert tangent is not None
        assert gap is not None
        summed = tangent.add_(norms).sub_(gap, alpha=2).sum(0)
        return summed.div_(self._positions(grid))

    def adjoint(
        self, left: PatchBlock, right: PatchBlock, grid: PatchGrid
    ) -> tuple[Float[Tensor, "p b k"], list[Float[Tensor, "_p b k"]]]:
        shape, sides = (len(left), len(right)), self._sides(left, grid)
        saved = self._saved(left, right, grid, sides)
        share = 1 / self._positions(grid)
        terms: list[Tensor] = []
        by_value: Tensor | float = share
        by_tangent: Tensor | float = share
        for level in reversed(range(len(sides))):
            v, on, sine, cosine_tangent = saved.pop()
            # w: derivative of Θ' by Σ, through κ0' = 1/(π√(1 − t²)); 0 where v is
            w = sine / torch.addcmul(_tiny(v), sine, sine)
            w.mul_(cosine_tangent).mul_(by_tangent).mul_(1 / (2 * math.pi))
            terms.append((sine.mul_(1 / math.pi).mul_(by_value)).sub_(_half_cosine(v).mul_(w)))
            down = on * by_tangent
            total = w.add_(down)
            total = (
                total.addcmul_(on, by_value)
                if isinstance(by_value, Tensor)
                else total.add_(on, alpha=by_value)
            )
            if not level:
                return total, terms[::-1]
            by_value = grid.box_adjoint(total.view(*sides[level], *shape), sides[level - 1]).flatten(0, 1)
            by_tangent = grid.box_adjoint(down.view(*sides[level], *shape), sides[level - 1]).flatten(0, 1)
        raise AssertionError("a kernel has a layer")

    def _saved(
        self, left: PatchBlock, right: PatchBlock, grid: PatchGrid, sides: list[tuple[int, int]]
    ) -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """Of each layer: v, κ0, half the sine, and Θ over the product of norms."""
        shape, saved = (len(left), len(right)), []
        tangent = gap = None
        for level, side in enumerate(sides):
            a, b = left.parts[level], right.parts[level]
            v = _shortfall(a, b)
            if gap is not None and tangent is not None:
                inverse = a["inverse"] * b["inverse"].mT
                v.addcmul_(gap, inverse)
                own = torch.sub(1, v, alpha=2).addcmul_(tangent, inverse)
            else:
                own = torch.sub(1, v, alpha=2)
            on, gap, sine = arc_cosines(v)
            saved.append((v, on, sine, own))
            if level + 1 < len(sides):
                norms = a["norm"] * b["norm"].mT
                gap = grid.box(gap.mul_(norms).view(*side, *shape)).flatten(0, 1)
                tangent = grid.box((own * on).mul_(norms).view(*side, *shape)).flatten(0, 1)
        return saved

    def carried(self, block: PatchBlock, A: Float[Tensor, "m c"]) -> list[Float[Tensor, "_p m c"]]:
        return [part["norm"] * A for part in block.parts]

    def own_weights(
        self, block: PatchBlock, sums: list[Float[Tensor, "_p m c"]], grid: PatchGrid
    ) -> Float[Tensor, "p m c"]:
        sides, below = self._sides(block, grid), None
        for level in reversed(range(len(sides))):
            own = sums[level] * block.parts[level]["inverse"]
            if below is not None:
                own += below
            if not level:
                return own.mul_(2)
            spread = own.view(*sides[level], *own.shape[1:])
            below = grid.box_adjoint(spread, sides[level - 1]).flatten(0, 1)
        raise AssertionError("a kernel has a layer")

    def without_gradient(self, block: PatchBlock) -> Tensor | None:
        return block.parts[0]["norm"][:, :, 0] == 0

    def _sides(self, block: PatchBlock, grid: PatchGrid) -> list[tuple[int, int]]:
        """Rows and columns of each layer's positions; of the first, those of the strip."""
        sides = grid.sides(self.layers)
        return [(block.patches.shape[0] // sides[0][1], sides[0][1]), *sides[1:]]

    def _positions(self, grid: PatchGrid) -> int:
        height, width = grid.sides(self.layers)[-1]
        return height * width


def _units(rows: Float[Tensor, "p m d"], squares: Float[Tensor, "p m 1"]) -> dict[str, Tensor]:
    """One, and rows over their norms, as "right"; of the products with "left" see `_shortfall`. A zero row stays zero."""
    norms = squares.sqrt()
    units = rows / torch.where(norms > 0, norms, torch.ones_like(norms))
    one = torch.ones_like(norms)
    return {"left": torch.cat([one / 2, units / -2], 2), "right": torch.cat([one, units], 2)}


def _norms(squares: Float[Tensor, "p m 1"], dtype: torch.dtype) -> dict[str, Tensor]:
    norm = squares.sqrt()
    inverse = torch.where(norm > 0, 1 / norm, torch.zeros_like(norm))
    return {"norm": norm.to(dtype), "inverse": inverse.to(dtype)}


def _shortfall(first: dict[str, Tensor], second: dict[str, Tensor]) -> Float[Tensor, "p b k"]:
    """Half of one less the cosine of rows; ½ for zero rows, 0 for those that coincide but for rounding."""
    left, right, dtype = first["right"], second["right"], first["norm"].dtype
    short = torch.bmm(first["left"], right.mT)
    if dtype != torch.float64:
        # the product errs by about its length times eps: nearer directions are one
        return torch.threshold_(short.to(dtype), left.shape[2] * torch.finfo(torch.float64).eps, 0.0)
    p, i, j = (short < _NEAR).nonzero(as_tuple=True)
    for pairs in row_blocks(len(p), rows_per_block(max(1, len(p)), 24 * left.shape[2], 2**26)):
        at, x, z = p[pairs], i[pairs], j[pairs]
        short[at, x, z] = (left[at, x] - right[at, z]).square().sum(1) / 4
    return torch.threshold_(short, (COINCIDENT * torch.finfo(dtype).eps) ** 2 / 4, 0.0).clamp_max_(1)


def _half_cosine(v: Tensor) -> Tensor:
    return torch.sub(0.5, v)


def _tiny(v: Tensor) -> Tensor:
    return v.new_tensor(torch.finfo(v.dtype).tiny)
