"""A kernel matrix that need not be stored: products with it, tile by tile, and single columns of it.

One tile of the lower triangle serves two products, K_ij V_j and K_ji V_i, so that n²/2 distances and kernel values are
formed a product, for all columns of V at once. Right-hand sides are held transposed, (c, n) row-major: with few columns a
matrix product in that layout runs several times faster.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from agop._blocks import row_blocks
from agop._threads import tile_threads
from agop.kernels.base import Kernel
from agop.kernels.distance import NEAR, Points
from agop.ranks import ALONE, Ranks

_TILE_BYTES = {"cpu": 4 * 2**20, "cuda": 512 * 2**20}
"""Budget of a tile: on a CPU the passes over it stay in the cache, on a GPU it keeps the device busy."""

_TILES_A_RANK = 16
"""Tiles that every rank has at least, so that the shares differ by a few percent only."""

_NEAR_SHARE = 1e-2
"""Share of near pairs up to which single-precision distances pay, although each of these is formed once more as a difference."""


class KernelOperator:
    """The kernel matrix of the rows of `X` with themselves, as something to multiply by.

    Parameters
    ----------
    kernel, X, points
        The matrix; `points` are the rows of `X`, prepared in the dtype distances are formed in.
    dtype
        Of kernel values and products, and of what they are multiplied with.
    ranks
        Who shares the work: all hold all points, each forms a share of the tiles, and products are summed.
    tile_bytes
        Memory a tile may take with its temporaries (None: what suits the device).
    keep_bytes
        Memory for tiles that are kept once a product has formed them; all others are formed anew in every product. The whole lower
        triangle takes half as much as K.
    """

    def __init__(
        self,
        kernel: Kernel,
        X: Float[Tensor, "n d"],
        points: Points,
        dtype: torch.dtype,
        *,
        ranks: Ranks = ALONE,
        tile_bytes: int | None = None,
        keep_bytes: int = 0,
    ) -> None:
        self.kernel, self.dtype, self.ranks = kernel, dtype, ranks
        self.points, self._X = points, X
        budget = tile_bytes or _TILE_BYTES.get(X.device.type, _TILE_BYTES["cpu"])
        self._entries = max(1, budget // (2 * self.points.values.element_size()))
        self._kept: dict[tuple[int, int], Tensor | None] = {}
        left = 8 * keep_bytes // torch.finfo(dtype).bits
        for rows, columns in self._tiles() if left else []:
            left -= int(_entries((rows, columns)))
            if left < 0:
                break
            self._kept[rows.start, columns.start] = None

    @property
    def kept(self) -> float:
        """The share of this rank's tiles that are formed once and kept."""
        return len(self._kept) / max(1, len(self._tiles()))

    def __len__(self) -> int:
        return len(self.points)

    def __matmul__(self, V: Float[Tensor, "n c"]) -> Float[Tensor, "n c"]:
        """K V: n²(d + 2c) operations, half of the kernel values of K, and one sum of n·c numbers over ranks."""
        turned, tiles = V.mT.contiguous(), self._tiles()
        threads = torch.get_num_threads() if V.device.type == "cpu" else 1
        if threads == 1 or len(tiles) < 2 * threads:
            return self.ranks.sum_(self._sum(turned, tiles)).mT
        # each thread its own tiles: passes over a tile are too short for all threads to meet after each
        parts = [Ranks(thread, threads).deal(tiles, _entries) for thread in range(threads)]
        with tile_threads(V.device) as spread:
            product = torch.stack(list(spread(self._sum, [turned] * threads, parts))).sum(0)
        return self.ranks.sum_(product).mT

    def _sum(self, turned: Float[Tensor, "c n"], tiles: list[tuple[slice, slice]]) -> Float[Tensor, "c n"]:
        """What some tiles contribute to the product, transposed."""
        product = torch.zeros_like(turned)
        for rows, columns in tiles:
            tile = self._tile(rows, columns)
            product[:, rows] += turned[:, columns] @ tile.mT
            if rows != columns:
                product[:, columns] += turned[:, rows] @ tile
        return product

    def _tile(self, rows: slice, columns: slice) -> Float[Tensor, "b k"]:
        place = rows.start, columns.start
        tile = self._kept.get(place)
        if tile is None:
            tile = self._block(self.points, rows, self.points, columns)
            if place in self._kept:
                self._kept[place] = tile
        return tile

    def diagonal(self) -> Float[Tensor, " n"]:
        """The diagonal of K."""
        return self.kernel.diagonal(self.points, self.dtype)

    def columns(
        self, index: Int[Tensor, " b"], rows: slice | Int[Tensor, " m"] = slice(None)
    ) -> Float[Tensor, "m b"]:
        """Some rows of the columns `index` of K."""
        chosen = self.points.beside(self._X[index])
        if isinstance(rows, Tensor):
            return self._block(self.points.beside(self._X[rows]), slice(None), chosen, slice(None))
        start, stop, _ = rows.indices(len(self))
        values = self._X.new_empty(stop - start, len(index), dtype=self.dtype)
        for block in row_blocks(stop - start, max(1, self._entries // max(1, len(index)))):
            across = slice(start + block.start, start + block.stop)
            values[block] = self._block(self.points, across, chosen, slice(None))
        return values

    def _block(self, left: Points, rows: slice, right: Points, columns: slice) -> Float[Tensor, "b k"]:
        values = self.kernel.block(left, rows, right, self.dtype, columns=columns, weight=False)[0]
        assert values is not None
        return values

    def _tiles(self) -> list[tuple[slice, slice]]:
        """Tiles (rows, columns) of the lower triangle: the share of this rank."""
        n, size = len(self), self.ranks.size
        finest = int((2 * _TILES_A_RANK * size) ** 0.5) if size > 1 else 8
        side = max(1, min(int(self._entries**0.5), max(256, n // finest)))
        slices = list(row_blocks(n, side))
        lower = [(rows, columns) for place, rows in enumerate(slices) for columns in slices[: place + 1]]
        return self.ranks.deal(lower, _entries)


def single_precision_suffices(points: Points, sample: int = 512) -> bool:
    """Whether so few pairs of points are near each other, in an even sample, that distances in single precision are the faster ones."""
    step = max(1, len(points) // sample)
    x, norms = points.values[::step][:sample], points.squared_norms[::step][:sample]
    squared = norms[:, None] + norms - 2 * (x @ x.mT)
    near = squared < NEAR[torch.float32] * (norms[:, None] + points.largest)
    return float(near.sum() - len(x)) <= _NEAR_SHARE * len(x) * (len(x) - 1)


def _entries(tile: tuple[slice, slice]) -> float:
    rows, columns = tile
    return float((rows.stop - rows.start) * (columns.stop - columns.start))
