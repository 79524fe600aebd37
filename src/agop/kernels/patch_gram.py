"""Matrices of a kernel of patches: strip by strip of positions, tile by tile of pairs of images."""

from __future__ import annotations

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

from agop.kernels.patch_kernel import Metric, PatchKernel, Strips
from agop.kernels.patches import PatchGrid
from agop.ranks import ALONE, Ranks

BLOCK_BYTES = 192 * 2**20
"""Memory that a block of images made ready may take."""


def fill_patch_matrix(
    kernel: PatchKernel,
    images: Float[Tensor, "n pixels"],
    grid: PatchGrid,
    metric: Metric,
    K: Float[Tensor, "n n"],
    *,
    budget: int = BLOCK_BYTES,
    ranks: Ranks = ALONE,
    on_share: Callable[[float], None] | None = None,
) -> None:
    """Write the lower triangle of the kernel matrix of `images` into `K`, whose upper triangle is left as it is beyond diagonal tiles.

    Each unordered pair is formed once (pairs of a diagonal tile twice). The ranks of a launch share the tiles; their sum travels once.
    """
    n = len(images)
    K.zero_()
    strips = Strips.of(kernel, grid, n, metric.rank(grid), budget=budget, device=images.device)
    blocks, work, done = strips.blocks(n), list(strips.strips()), 0.0
    pairs = [(i, j) for i in range(len(blocks)) for j in range(i + 1)]
    mine = ranks.deal(pairs, lambda pair: _cost(blocks, pair)) if len(pairs) >= 4 * ranks.size else pairs
    whole = len(mine) == len(pairs)
    total = sum(_cost(blocks, pair) for pair in mine) * len(work) or 1.0
    for rows in work:
        current, lefts = -1, []
        for first, second in mine:
            if first != current:
                lefts = kernel.block(images[blocks[first]], grid, metric, rows).split(strips.tile[0])
                current = first
            rights = kernel.block(images[blocks[second]], grid, metric, rows).split(strips.tile[1])
            part, own, below = K[blocks[first]][:, blocks[second]], first == second, 0
            for place, left in enumerate(lefts):
                at, across = slice(below, below + len(left)), 0
                for other, right in enumerate(rights):
                    skipped = whole and not ranks.alone and (place + other) % ranks.size != ranks.rank
                    if own and across >= at.stop:
                        break
                    if not skipped:
                        part[at, across : across + len(right)] += kernel.values(left, right, grid)
                    across += len(right)
                below = at.stop
                if on_share is not None:
                    on_share(
                        (done + _cost(blocks, (first, second)) * (below / len(part)) ** (1 + own)) / total
                    )
            done += _cost(blocks, (first, second))
    if not ranks.alone:
        K.tril_()
        ranks.sum_(K)


def cross_matrix_product(
    kernel: PatchKernel,
    images: Float[Tensor, "m pixels"],
    centers: Float[Tensor, "n pixels"],
    grid: PatchGrid,
    metric: Metric,
    coefficients: Float[Tensor, "n c"],
    *,
    budget: int = BLOCK_BYTES,
) -> Float[Tensor, "m c"]:
    """The kernel matrix of `images` with `centers`, never formed, times coefficients."""
    m, n = len(images), len(centers)
    summed = images.new_zeros(m, coefficients.shape[1])
    strips = Strips.of(kernel, grid, max(m, n), metric.rank(grid), budget=budget, device=images.device)
    for rows in strips.strips():
        for own in strips.blocks(m):
            lefts = kernel.block(images[own], grid, metric, rows).split(strips.tile[0])
            for theirs in strips.blocks(n):
                rights = kernel.block(centers[theirs], grid, metric, rows).split(strips.tile[1])
                weights = coefficients[theirs].split(strips.tile[1])
                for part, left in zip(summed[own].split(strips.tile[0]), lefts, strict=True):
                    for right, A in zip(rights, weights, strict=True):
                        part += kernel.values(left, right, grid) @ A
    return summed


def _cost(blocks: list[slice], pair: tuple[int, int]) -> float:
    first, second = (blocks[index].stop - blocks[index].start for index in pair)
    return first * second / (2 if pair[0] == pair[1] else 1)
