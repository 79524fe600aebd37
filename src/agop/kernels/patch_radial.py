r"""Radial kernels averaged over patches: :math:`K(x, z) = \frac1P \sum_p \kappa(\|x_p - z_p\|_M)`."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from agop import _checks
from agop._blocks import row_blocks, rows_per_block
from agop.kernels.base import Kernel
from agop.kernels.patch_kernel import Metric, PatchBlock, PatchKernel
from agop.kernels.patches import PatchGrid

COINCIDENT = 8.0
"""Patches closer than this many times the machine epsilon, beside the largest of their strip, count as equal."""

_NEAR = 1e-9
_SINGLE_RANGE = (1e-28, 1e37)


def is_radial(kind: type[Kernel]) -> bool:
    """Whether all kernels of a class are functions of the Euclidean distance."""
    return kind.shift_invariant is True and kind.rotation_invariant is True


@dataclass(frozen=True)
class PatchAverage(PatchKernel):
    r"""A radial kernel averaged over the positions of patches.

    Parameters
    ----------
    kernel
        The kernel of one patch, of distances: any `agop.kernels.Kernel` that is a function of the Euclidean distance.

    Notes
    -----
    Distances of patches are formed in float64 on centred patches. Equal patches, and those nearer than rounding
    (:math:`8\,\mathrm{eps}` times the largest patch), are at distance 0 and have gradient 0.
    """

    kernel: Kernel

    def __post_init__(self) -> None:
        if not isinstance(self.kernel, Kernel) or not is_radial(type(self.kernel)):
            raise _checks.bad_type(
                "kernel",
                "a kernel of Euclidean distances",
                type(self.kernel).__name__,
                "use 'laplace' or 'gaussian'",
            )

    @property
    def couples_positions(self) -> bool:
        return False

    def block(
        self, images: Float[Tensor, "m pixels"], grid: PatchGrid, metric: Metric, rows: slice
    ) -> PatchBlock:
        center = images.new_zeros(1, grid.pixels) if metric.center is None else metric.center[None]
        mapped = metric.mapped(grid.patches(images.double() - center.double(), rows))
        norms = mapped.square().sum(2, keepdim=True)
        one = torch.ones_like(norms)
        # one product of these two gives squared distances
        part = {"left": torch.cat([mapped * -2, norms, one], 2), "right": torch.cat([mapped, one, norms], 2)}
        return PatchBlock(mapped.to(images.dtype), (part,))

    def values(self, left: PatchBlock, right: PatchBlock, grid: PatchGrid) -> Float[Tensor, "b k"]:
        distances = _distances(left, right)
        values, _ = self.kernel.evaluate(distances.flatten(0, 1), weight=False)
        assert values is not None
        return values.view(distances.shape).sum(0).div_(_count(grid))

    def adjoint(
        self, left: PatchBlock, right: PatchBlock, grid: PatchGrid
    ) -> tuple[Float[Tensor, "p b k"], list[Float[Tensor, "_p b k"]]]:
        distances = _distances(left, right)
        equal = distances == 0
        _, flat = self.kernel.evaluate(distances.flatten(0, 1), value=False)
        assert flat is not None
        weights = flat.view(equal.shape).masked_fill_(equal, 0).div_(_count(grid))
        return weights.neg(), [weights]

    def own_weights(
        self, block: PatchBlock, sums: list[Float[Tensor, "_p m c"]], grid: PatchGrid
    ) -> Float[Tensor, "p m c"]:
        return sums[0]


def _count(grid: PatchGrid) -> int:
    height, width = grid.sides()[0]
    return height * width


def _distances(left: PatchBlock, right: PatchBlock) -> Float[Tensor, "p b k"]:
    """Distances of patches at equal positions, in the dtype of the patches."""
    x, z, dtype = left.parts[0]["right"], right.parts[0]["right"], right.patches.dtype
    squared = torch.bmm(left.parts[0]["left"], z.mT)
    largest = float(torch.maximum(x[:, :, -1].max(), z[:, :, -1].max()))
    eps = torch.finfo(dtype).eps
    if dtype == torch.float64:
        p, i, j = (squared < _NEAR * largest).nonzero(as_tuple=True)
        for pairs in row_blocks(len(p), rows_per_block(max(1, len(p)), 24 * x.shape[2], 2**26)):
            at, first, second = p[pairs], i[pairs], j[pairs]
            squared[at, first, second] = (x[at, first, :-2] - z[at, second, :-2]).square().sum(1)
        return torch.threshold_(squared, (COINCIDENT * eps) ** 2 * largest, 0.0).sqrt_()
    if not _SINGLE_RANGE[0] < largest < _SINGLE_RANGE[1]:
        return torch.threshold_(squared, (COINCIDENT * eps) ** 2 * largest, 0.0).sqrt_().to(dtype)
    return torch.threshold_(squared.to(dtype), (COINCIDENT * eps) ** 2 * largest, 0.0).sqrt_()
