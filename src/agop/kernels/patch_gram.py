"""Matrices of a kernel of patches: strip by strip of positions, tile by tile of pairs of images."""

from __future__ import annotations

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

from agop.kernels.patch_kernel import Metric, PatchKernel, Strips, tiles
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
        current, left = -1, None
        for first, second in mine:
            if first != current:
                left = kernel.block(images[blocks[first]], grid, metric, rows)
                current = first
            assert left is not None
            own = first == second
            right = left if own else kernel.block(images[blocks[second]], grid, metric, rows)
            for place, a in enumerate(tiles(len(left), strips.tile[0])):
                taken = left.take(a)
                for other, b in enumerate(tiles(len(right), strips.tile[1])):
                    if own and b.start >= a.stop:
                        break
                    if whole and not ranks.alone and (place + other) % ranks.size != ranks.rank:
                        continue
                    values = kernel.values(taken, right.take(b), grid)
                    _part(K, blocks[first], a, blocks[second], b).add_(values)
                if on_share is not None:
                    on_share(
                        (done + _cost(blocks, (first, second)) * (a.stop / len(left)) ** (1 + own)) / total
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
            left = kernel.block(images[own], grid, metric, rows)
            for theirs in strips.blocks(n):
                right = kernel.block(centers[theirs], grid, metric, rows)
                for b in tiles(len(right), strips.tile[1]):
                    taken, weights = right.take(b), coefficients[theirs][b]
                    for a in tiles(len(left), strips.tile[0]):
                        summed[own][a] += kernel.values(left.take(a), taken, grid) @ weights
    return summed


def _cost(blocks: list[slice], pair: tuple[int, int]) -> float:
    first, second = (blocks[index].stop - blocks[index].start for index in pair)
    return first * second / (2 if pair[0] == pair[1] else 1)


def _part(K: Tensor, first: slice, a: slice, second: slice, b: slice) -> Tensor:
    return K[first.start + a.start : first.start + a.stop, second.start + b.start : second.start + b.stop]
