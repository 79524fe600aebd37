"""Matrices of a kernel of patches: strip by strip of positions, tile by tile of pairs of images."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

from jaxtyping import Float
from torch import Tensor

from agop._threads import tile_threads
from agop.kernels.patch_kernel import Metric, PatchKernel, Strips, Tile, tiles
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
    with tile_threads(images.device) as spread:
        for rows in work:
            current, lefts = -1, []
            for first, second in mine:
                if first != current:
                    lefts = tiles(kernel, images[blocks[first]], grid, metric, rows, strips.tile, spread)
                    current = first
                rights = lefts
                if first != second:
                    rights = tiles(kernel, images[blocks[second]], grid, metric, rows, strips.tile, spread)
                part = K[blocks[first]][:, blocks[second]]
                meeting = list(product(lefts, rights))
                if first == second:
                    meeting = [(left, right) for left, right in meeting if right[0].start < left[0].stop]
                if whole and not ranks.alone:
                    meeting = meeting[ranks.rank :: ranks.size]

                def add(pair: tuple[Tile, Tile], part: Tensor = part) -> float:
                    (at, left), (across, right) = pair
                    part[at, across] += kernel.values(left, right, grid)
                    return _size(at, across)

                formed, entries = 0.0, sum(_size(left[0], right[0]) for left, right in meeting)
                for size in spread(add, meeting):
                    formed += size
                    if on_share is not None:
                        on_share((done + _cost(blocks, (first, second)) * formed / entries) / total)
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
    with tile_threads(images.device) as spread:
        for rows in strips.strips():
            for own in strips.blocks(m):
                lefts = tiles(kernel, images[own], grid, metric, rows, strips.tile, spread)
                part = summed[own]
                for theirs in strips.blocks(n):
                    rights = tiles(kernel, centers[theirs], grid, metric, rows, strips.tile, spread)
                    A = coefficients[theirs]

                    def form(pair: tuple[Tile, Tile], A: Tensor = A) -> tuple[slice, Tensor]:
                        (at, left), (across, right) = pair
                        return at, kernel.values(left, right, grid) @ A[across]

                    for at, values in spread(form, product(lefts, rights)):
                        part[at] += values
    return summed


def _size(at: slice, across: slice) -> float:
    return float((at.stop - at.start) * (across.stop - across.start))


def _cost(blocks: list[slice], pair: tuple[int, int]) -> float:
    first, second = (blocks[index].stop - blocks[index].start for index in pair)
    return first * second / (2 if pair[0] == pair[1] else 1)
