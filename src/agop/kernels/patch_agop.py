r"""The patch AGOP of a kernel machine of images, exact, without its gradients.

.. math:: M = \frac1s \sum_j \sum_c \sum_p \nabla_{x_p} f_c(x_j)\, \nabla_{x_p} f_c(x_j)^T

with respect to patches as they come. The derivatives of a kernel by patches are formed for tiles of pairs of images by a backward pass
written by hand, and contracted with coefficients and patches at once. K(x, z) serves both images of a pair. Sums for gradients are held
for one group of images at a time, as many as the memory allows.

Source: Beaglehole, Radhakrishnan, Pandit, Belkin 2023 (arXiv 2309.00570).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import product

import torch
from jaxtyping import Float
from torch import Tensor

from agop._blocks import row_blocks, rows_per_block
from agop._threads import TileMap, tile_threads
from agop.kernels.agop import of_usual_size
from agop.kernels.patch_gram import BLOCK_BYTES
from agop.kernels.patch_kernel import Metric, PatchKernel, Strips, Tile, tiles
from agop.kernels.patches import PatchGrid
from agop.ranks import ALONE, Ranks

SUM_BYTES = 768 * 2**20
"""Memory that sums for the gradients at a group of images may take."""

_PANEL_ENTRIES = {"cpu": 2**22, "cuda": 2**26}
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
    sample_weight = None if sample_weight is None else of_usual_size(sample_weight[:count])
    rank, A = metric.rank(grid), A.to(images.dtype)
    own = slice(0, count) if ranks.alone else ranks.share(count)
    strips = Strips.of(kernel, grid, n, rank, budget=budget, device=images.device)
    entries = _PANEL_ENTRIES.get(images.device.type, _PANEL_ENTRIES["cuda"])
    side = int((entries / (strips.rows * grid.sides()[0][1])) ** 0.5)
    panel = max(1, side // strips.tile) * strips.tile
    group = rows_per_block(
        max(1, n), c * _sums_per_output(kernel, grid, strips, rank) * images.element_size(), sums
    )
    summed = torch.zeros(rank, rank, dtype=torch.float64, device=images.device)
    work, mine = list(strips.strips()), own.stop - own.start
    targets = (
        [slice(own.start + g.start, own.start + g.stop) for g in row_blocks(mine, group)] if mine else []
    )
    progress = _Share(len(work) * sum(_pairs(target, n) for target in targets), on_share)
    with tile_threads(images.device) as spread:
        for rows in work:
            strip = _Strip(kernel, images, grid, metric, A, rows, strips, panel, spread)
            for target in targets:
                summed += strip.group_sum(target, sample_weight, progress)
    summed = ranks.sum_(summed) * kernel.unit(grid) ** 2
    total = float(count) if sample_weight is None else float(sample_weight.sum())
    if positions == "mean":
        height, width = grid.sides()[0]
        total *= height * width
    M = metric.pulled_back(summed / total)
    return (M + M.mT) / 2


def _sums_per_output(kernel: PatchKernel, grid: PatchGrid, strips: Strips, rank: int) -> int:
    """Numbers that the sums for the gradient at an image take, for each output, in one strip of positions."""
    first, *deeper = grid.sides(kernel.depth)
    return strips.rows * first[1] * (rank + 1) + sum(height * width for height, width in deeper)


class _Share:
    """Adds up pairs of images, and passes on their share."""

    def __init__(self, total: float, hook: Callable[[float], None] | None) -> None:
        self._total, self._hook, self._done = max(1.0, total), hook, 0.0

    def add(self, pairs: float) -> None:
        self._done += pairs
        if self._hook is not None:
            self._hook(min(1.0, self._done / self._total))


def _pairs(group: slice, n: int) -> float:
    """Unordered pairs of an image of the group with any."""
    m = group.stop - group.start
    return m * (n - m) + m * (m + 1) / 2


@dataclass(eq=False)
class _Images:
    """A panel of images made ready, in tiles, with coefficients and coefficients times patches."""

    tiles: list[Tile]
    carried: list[Tensor]
    outer: Float[Tensor, "p k cr"]

    @classmethod
    def of(cls, kernel: PatchKernel, tiles: list[Tile], A: Float[Tensor, "k c"]) -> _Images:
        patches = torch.cat([block.patches for _, block in tiles], 1)
        carried = zip(*(kernel.carried(block, A[at]) for at, block in tiles), strict=True)
        outer = (A[:, :, None] * patches[:, :, None, :]).flatten(2)
        return cls(tiles, [torch.cat(values, 1) for values in carried], outer)

    def __len__(self) -> int:
        return self.outer.shape[1]


class _Gradients:
    """Sums for the gradients at a panel of images, in one strip of positions."""

    def __init__(self, panel: _Images) -> None:
        self.weighted = torch.zeros_like(panel.outer)
        self.terms = [torch.zeros_like(value) for value in panel.carried]

    def outer_products(
        self, kernel: PatchKernel, tile: Tile, grid: PatchGrid, root: Float[Tensor, "m 1"] | None
    ) -> Float[Tensor, "r _r"]:
        """Sum over the images of a tile, positions and outputs of the outer products of gradients, in float64."""
        at, block = tile
        p, m, r = block.patches.shape
        own = kernel.own_weights(block, [term[:, at] for term in self.terms], grid)
        G = self.weighted[:, at].view(p, m, own.shape[2], r)
        G = torch.addcmul(G, own[..., None], block.patches[:, :, None, :])
        zero = kernel.without_gradient(block)
        if zero is not None:
            G.masked_fill_(zero[:, :, None, None], 0)
        if root is not None:
            G.mul_(root[None, :, :, None])
        flat = G.view(-1, r).double()
        return flat.mT @ flat


@dataclass(frozen=True, eq=False)
class _Strip:
    """The work on one strip of positions: images are made ready block by block, and meet panel by panel."""

    kernel: PatchKernel
    images: Float[Tensor, "n pixels"]
    grid: PatchGrid
    metric: Metric
    A: Float[Tensor, "n c"]
    rows: slice
    strips: Strips
    panel: int
    spread: TileMap
    rooms: dict[int, Tensor] = field(default_factory=dict)

    def room(self, at: int, values: Float[Tensor, "p k _"], m: int, k: int) -> Float[Tensor, "p m k"]:
        """Memory for what a meeting of panels writes: the same at every one, which new memory would take longer than to fill."""
        if at not in self.rooms:
            self.rooms[at] = values.new_empty(len(values), self.panel, self.panel)
        return self.rooms[at][:, :m, :k]

    def tiles(self, at: slice) -> list[Tile]:
        """A block of images made ready."""
        return tiles(
            self.kernel, self.images[at], self.grid, self.metric, self.rows, self.strips.tile, self.spread
        )

    def panels(self, at: slice) -> Iterator[_Images]:
        """A block of images in panels."""
        for start, panel in self.in_panels(self.tiles(at)):
            yield _Images.of(self.kernel, panel, self.A[at][start : start + self.panel])

    def in_panels(self, ready: list[Tile]) -> Iterator[tuple[int, list[Tile]]]:
        """Tiles panel by panel, where each starts, and which of its images each tile is."""
        for start in range(0, ready[-1][0].stop, self.panel):
            inside = [(at, block) for at, block in ready if start <= at.start < start + self.panel]
            yield start, [(slice(at.start - start, at.stop - start), block) for at, block in inside]

    def group_sum(
        self, group: slice, sample_weight: Float[Tensor, " n"] | None, progress: _Share
    ) -> Float[Tensor, "r _r"]:
        """What the gradients at a group of images contribute, whose sums are held at once.

        Each pair of images of the group is formed once and serves both; of pairs with others only the half that the group needs.
        """
        blocks = [
            slice(group.start + part.start, group.start + part.stop)
            for part in row_blocks(group.stop - group.start, self.strips.images)
        ]
        n, sums = len(self.images), {}
        beyond = [
            slice(rest.start + part.start, rest.start + part.stop)
            for rest in (slice(0, group.start), slice(group.stop, n))
            for part in row_blocks(rest.stop - rest.start, self.strips.images)
        ]
        for place, own in enumerate(blocks):
            lefts = list(self.panels(own))
            sums[place] = [_Gradients(panel) for panel in lefts]
            for second, right in enumerate(lefts):
                for first, left in enumerate(lefts[: second + 1]):
                    at_left, at_right = sums[place][first], sums[place][second]
                    self.meet(left, right, at_left, None if first == second else at_right)
                    progress.add(len(left) * len(right) / (2 if first == second else 1))
            for other in range(place):
                for right, at_right in zip(self.panels(blocks[other]), sums[other], strict=True):
                    for left, at_left in zip(lefts, sums[place], strict=True):
                        self.meet(left, right, at_left, at_right)
                        progress.add(len(left) * len(right))
            for rest in beyond:
                for right in self.panels(rest):
                    for left, at_left in zip(lefts, sums[place], strict=True):
                        self.meet(left, right, at_left, None)
                        progress.add(len(left) * len(right))
        root = None if sample_weight is None else sample_weight.to(self.images.dtype).sqrt()[:, None]
        r = self.metric.rank(self.grid)
        summed = torch.zeros(r, r, dtype=torch.float64, device=self.images.device)
        for place, own in enumerate(blocks):
            for (start, panel), gradients in zip(self.in_panels(self.tiles(own)), sums[place], strict=True):
                for tile in panel:
                    at = slice(own.start + start + tile[0].start, own.start + start + tile[0].stop)
                    weights = None if root is None else root[at]
                    summed += gradients.outer_products(self.kernel, tile, self.grid, weights)
        return summed

    def meet(self, left: _Images, right: _Images, at_left: _Gradients, at_right: _Gradients | None) -> None:
        """Add to the gradients on the left what the images on the right do to them, and the other way if it is asked for."""
        weights, *terms = (
            self.room(at, values, len(left), len(right))
            for at, values in enumerate([right.outer, *right.carried])
        )
        within = left is right

        def form(pair: tuple[Tile, Tile]) -> None:
            (a, one), (b, other) = pair
            part, own_terms = self.kernel.adjoint(one, other, self.grid)
            for whole, tile_of in zip([weights, *terms], [part, *own_terms], strict=True):
                whole[:, a, b] = tile_of
                if within and b.start < a.start:
                    whole[:, b, a] = tile_of.mT

        pairs = product(left.tiles, right.tiles)
        wanted = [(one, other) for one, other in pairs if not within or other[0].start <= one[0].start]
        for _ in self.spread(form, wanted):
            pass
        at_left.weighted.baddbmm_(weights, right.outer)
        for level, term in enumerate(terms):
            at_left.terms[level].baddbmm_(term, right.carried[level])
        if at_right is not None:
            at_right.weighted.baddbmm_(weights.mT, left.outer)
            for level, term in enumerate(terms):
                at_right.terms[level].baddbmm_(term.mT, left.carried[level])
