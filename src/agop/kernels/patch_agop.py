r"""The patch AGOP of a kernel machine of images, exact, without its gradients.

.. math:: M = \frac1s \sum_j \sum_c \sum_p \nabla_{x_p} f_c(x_j)\, \nabla_{x_p} f_c(x_j)^T

with respect to patches as they come. The derivatives of a kernel by patches are formed for tiles of pairs of images by a backward pass
written by hand, and contracted with coefficients and patches at once. K(x, z) serves both images of a pair. Gradients exist for one block
of images at a time, as many as the memory allows.

Source: Beaglehole, Radhakrishnan, Pandit, Belkin 2023 (arXiv 2309.00570).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from agop._blocks import row_blocks
from agop.kernels.patch_gram import BLOCK_BYTES
from agop.kernels.patch_kernel import Metric, PatchBlock, PatchKernel, Strips, tiles
from agop.kernels.patches import PatchGrid
from agop.ranks import ALONE, Ranks

SUM_BYTES = 512 * 2**20
"""Memory that the gradients of a block of images may take."""

_PANEL_ENTRIES = {"cpu": 2**21, "cuda": 2**26}
"""Pairs times positions of a panel: its weights are multiplied with coefficients and patches in one product."""


def patch_agop(
    kernel: PatchKernel,
    images: Float[Tensor, "n pixels"],
    grid: PatchGrid,
    metric: Metric,
    A: Float[Tensor, "n c"],
    *,
    at: int | None = None,
    sample_weight: Float[Tensor, " n"] | None = None,
    positions: str = "sum",
    budget: int = BLOCK_BYTES,
    sums: int = SUM_BYTES,
    ranks: Ranks = ALONE,
    on_share: Callable[[float], None] | None = None,
) -> Float[Tensor, "features _features"]:
    r"""Patch AGOP of :math:`f_c(z) = \sum_i A_{ic} K(x_i, z)` at its centres, (features, features), in float64.

    A sum over outputs, a sum or mean over positions, a mean over images (weighted by `sample_weight`).

    Parameters
    ----------
    kernel, images, grid, metric, A
        The machine: its centres and their coefficients.
    at
        Gradients are taken at the first `at` images only; None: at all.
    positions
        "sum" or "mean".
    budget, sums
        Bytes for images made ready, and for gradients.
    ranks
        Who shares the work: all hold all images, each takes gradients at some of them, and the sums are added up.
    on_share
        Hears the share of the work that is done.
    """
    n, c = A.shape
    count = n if at is None else at
    rank, A = metric.rank(grid), A.to(images.dtype)
    own = slice(0, count) if ranks.alone else ranks.share(count)
    per_position = 2 * c * rank * images.element_size() * budget // sums
    strips = Strips.of(kernel, grid, n, rank, budget=budget, per_position=per_position, device=images.device)
    entries = _PANEL_ENTRIES.get(images.device.type, _PANEL_ENTRIES["cuda"])
    side = int((entries / (strips.rows * grid.sides()[0][1])) ** 0.5)
    panel = max(8, side // strips.tile[1] * strips.tile[1])
    summed = torch.zeros(rank, rank, dtype=torch.float64, device=images.device)
    work = list(strips.strips())
    mine = own.stop - own.start
    if mine:
        targets = [slice(own.start + b.start, own.start + b.stop) for b in row_blocks(mine, strips.images)]
        progress = _Share(len(work) * sum(_pairs(block, n) for block in targets), on_share)
        for rows in work:
            for block in targets:
                summed += _block_sum(
                    kernel, images, grid, metric, A, sample_weight, block, rows, strips, panel, progress
                )
    summed = ranks.sum_(summed) * kernel.unit(grid) ** 2
    total = float(count) if sample_weight is None else float(sample_weight[:count].double().sum())
    if positions == "mean":
        height, width = grid.sides()[0]
        total *= height * width
    M = metric.pulled_back(summed / total)
    return (M + M.mT) / 2


class _Share:
    """Adds up pairs of images, and passes on their share."""

    def __init__(self, total: float, hook: Callable[[float], None] | None) -> None:
        self._total, self._hook, self._done = max(1.0, total), hook, 0.0

    def add(self, pairs: float) -> None:
        self._done += pairs
        if self._hook is not None:
            self._hook(min(1.0, self._done / self._total))


def _pairs(block: slice, n: int) -> float:
    """Unordered pairs of an image of the block with any."""
    m = block.stop - block.start
    return m * (n - m) + m * (m + 1) / 2


@dataclass(eq=False)
class _Images:
    """A panel of images beside a block of gradients: made ready, with coefficients times patches."""

    block: PatchBlock
    carried: list[Tensor]
    outer: Float[Tensor, "p k cr"]

    @classmethod
    def of(cls, kernel: PatchKernel, block: PatchBlock, A: Float[Tensor, "k c"]) -> _Images:
        outer = (A[:, :, None] * block.patches[:, :, None, :]).flatten(2)
        return cls(block, kernel.carried(block, A), outer)


class _Gradients:
    """Sums for the gradients at a panel of images, in one strip of positions."""

    def __init__(self, kernel: PatchKernel, block: PatchBlock, A: Float[Tensor, "m c"]) -> None:
        p, m, r = block.patches.shape
        self.block = block
        self.weighted = block.patches.new_zeros(p, m, A.shape[1] * r)
        self.terms = [torch.zeros_like(value) for value in kernel.carried(block, A)]

    def outer_products(
        self, kernel: PatchKernel, grid: PatchGrid, root: Float[Tensor, "m 1"] | None
    ) -> Float[Tensor, "r _r"]:
        """Sum over images, positions and outputs of the outer products of gradients, in float64."""
        p, m, r = self.block.patches.shape
        own = kernel.own_weights(self.block, self.terms, grid)
        zero = kernel.without_gradient(self.block)
        summed = torch.zeros(r, r, dtype=torch.float64, device=own.device)
        for at in row_blocks(p, max(1, 2**22 // max(1, m * own.shape[2] * r))):
            G = self.weighted[at].view(-1, m, own.shape[2], r)
            G = torch.addcmul(G, own[at][..., None], self.block.patches[at][:, :, None, :])
            if zero is not None:
                G.masked_fill_(zero[at][:, :, None, None], 0)
            if root is not None:
                G.mul_(root[None, :, :, None])
            flat = G.reshape(-1, r).double()
            summed.addmm_(flat.mT, flat)
        return summed


def _block_sum(
    kernel: PatchKernel,
    images: Float[Tensor, "n pixels"],
    grid: PatchGrid,
    metric: Metric,
    A: Float[Tensor, "n c"],
    sample_weight: Float[Tensor, " n"] | None,
    target: slice,
    rows: slice,
    strips: Strips,
    panel: int,
    progress: _Share,
) -> Float[Tensor, "r _r"]:
    """What the gradients at one block of images contribute, in one strip of positions."""
    block, A_own = kernel.block(images[target], grid, metric, rows), A[target]
    inside = tiles(len(block), panel)
    sums = [_Gradients(kernel, block.take(part), A_own[part]) for part in inside]
    for place, second in enumerate(inside):
        right = _Images.of(kernel, block.take(second), A_own[second])
        for other, first in enumerate(inside[: place + 1]):
            own = other == place
            left = right if own else _Images.of(kernel, block.take(first), A_own[first])
            _add_panel(kernel, grid, left, right, sums[other], None if own else sums[place], strips.tile)
            progress.add(len(left.block) * len(right.block) / (2 if own else 1))
    for part in (slice(0, target.start), slice(target.stop, len(images))):
        for own_part in row_blocks(part.stop - part.start, strips.images):
            rest = slice(part.start + own_part.start, part.start + own_part.stop)
            sources = kernel.block(images[rest], grid, metric, rows)
            for second in tiles(len(sources), panel):
                right = _Images.of(kernel, sources.take(second), A[rest][second])
                for gradients in sums:
                    _add_panel(
                        kernel,
                        grid,
                        _Images(gradients.block, [], right.outer),
                        right,
                        gradients,
                        None,
                        strips.tile,
                    )
                    progress.add(len(gradients.block) * len(right.block))
    root = None if sample_weight is None else sample_weight[target].to(images.dtype).sqrt()[:, None]
    summed = torch.zeros(
        block.patches.shape[2], block.patches.shape[2], dtype=torch.float64, device=images.device
    )
    for part, gradients in zip(inside, sums, strict=True):
        summed += gradients.outer_products(kernel, grid, None if root is None else root[part])
    return summed


def _add_panel(
    kernel: PatchKernel,
    grid: PatchGrid,
    left: _Images,
    right: _Images,
    at_left: _Gradients,
    at_right: _Gradients | None,
    tile: tuple[int, int],
) -> None:
    """Add to the gradients at the images on the left what those on the right do to them, and the other way if it is asked for."""
    sizes = len(left.block), len(right.block)
    weights = left.block.patches.new_empty(left.block.patches.shape[0], *sizes)
    terms = [value.new_empty(len(value), *sizes) for value in right.carried]
    within = left is right
    rights = right.block.split(tile[1])
    across = tiles(len(right.block), tile[1])
    lefts, down = (rights, across) if within else (left.block.split(tile[0]), tiles(len(left.block), tile[0]))
    for a, one in zip(down, lefts, strict=True):
        for b, other in zip(across, rights, strict=True):
            if within and b.start > a.start:
                break
            part, own_terms = kernel.adjoint(one, other, grid)
            for whole, tile_of in zip([weights, *terms], [part, *own_terms], strict=True):
                whole[:, a, b] = tile_of
                if within and b.start < a.start:
                    whole[:, b, a] = tile_of.mT
    at_left.weighted.baddbmm_(weights, right.outer)
    for level, term in enumerate(terms):
        at_left.terms[level].baddbmm_(term, right.carried[level])
    if at_right is not None:
        at_right.weighted.baddbmm_(weights.mT, left.outer)
        for level, term in enumerate(terms):
            at_right.terms[level].baddbmm_(term.mT, left.carried[level])
