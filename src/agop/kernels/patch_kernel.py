r"""What a kernel of patches is to the rest of the package: values of pairs of images, and their derivatives by patches.

A kernel of images reads patches :math:`x_p` that a map B of the learned metric M = B Bᵀ brings to :math:`x_p B`. It gives values, and what
the gradient of a predictor :math:`f(z) = \sum_i \alpha_i K(x_i, z)` by the patches of z needs:

.. math:: \nabla_{z_p B} f = \sum_i \alpha_i A_p(x_i, z)\, x_{ip} B + \beta_p(z)\, z_p B .

Both are formed for tiles of pairs of images, all positions of a strip at once, in layout (position, left image, right image): a tile's
arrays stay in the cache through all passes over them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from agop._blocks import row_blocks
from agop._threads import TileMap
from agop.kernels.patches import PatchGrid


@dataclass(frozen=True, eq=False)
class PatchBlock:
    """Some images made ready for a kernel, for the positions of one strip.

    Attributes
    ----------
    patches
        Mapped patches, in the dtype of the passes.
    parts
        What a kernel keeps of each layer; every tensor is (positions, image, …).
    """

    patches: Float[Tensor, "p m r"]
    parts: tuple[dict[str, Tensor], ...]

    def __len__(self) -> int:
        return self.patches.shape[1]


@dataclass(frozen=True, eq=False)
class Metric:
    """The map B of patches, (features, r); None is the identity. `center` is the mean image, which some kernels subtract."""

    root: Float[Tensor, "features r"] | None = None
    center: Float[Tensor, " pixels"] | None = None

    def rank(self, grid: PatchGrid) -> int:
        """Numbers in a mapped patch."""
        return grid.features if self.root is None else self.root.shape[1]

    def mapped(self, patches: Float[Tensor, "p m features"]) -> Float[Tensor, "p m r"]:
        """Patches in float64, mapped."""
        wide = patches.double()
        return wide if self.root is None else wide @ self.root.double()

    def pulled_back(self, agop: Float[Tensor, "r _"]) -> Float[Tensor, "features _features"]:
        """An AGOP by mapped patches as one by patches."""
        if self.root is None:
            return agop
        root = self.root.to(agop.dtype)
        return root @ agop @ root.mT


class PatchKernel(ABC):
    """A kernel of images that compares patches at equal positions; immutable, holds no data."""

    @property
    @abstractmethod
    def couples_positions(self) -> bool:
        """Whether positions depend on each other, so that a strip has to be the whole image."""

    @property
    def depth(self) -> int:
        """Convolutions one upon the other."""
        return 1

    def unit(self, grid: PatchGrid) -> float:
        """What mapped patches are multiplied by in a block."""
        return 1.0

    @abstractmethod
    def block(
        self, images: Float[Tensor, "m pixels"], grid: PatchGrid, metric: Metric, rows: slice
    ) -> PatchBlock:
        """Images made ready, for a strip of rows of positions."""

    @abstractmethod
    def values(self, left: PatchBlock, right: PatchBlock, grid: PatchGrid) -> Float[Tensor, "b k"]:
        """What the positions of the strip contribute to the kernel values of all pairs."""

    @abstractmethod
    def adjoint(
        self, left: PatchBlock, right: PatchBlock, grid: PatchGrid
    ) -> tuple[Float[Tensor, "p b k"], list[Float[Tensor, "_p b k"]]]:
        """The weights A of the other image's patches, and terms from which β is summed (see `carried`, `own_weights`)."""

    def carried(self, block: PatchBlock, A: Float[Tensor, "m c"]) -> list[Float[Tensor, "_p m c"]]:
        """Coefficients of the images as they multiply each of the terms of β."""
        return [A.expand(block.patches.shape[0], *A.shape)]

    @abstractmethod
    def own_weights(
        self, block: PatchBlock, sums: list[Float[Tensor, "_p m c"]], grid: PatchGrid
    ) -> Float[Tensor, "p m c"]:
        """β from the sums over images of the terms times carried coefficients."""

    def without_gradient(self, block: PatchBlock) -> Tensor | None:
        """Which patches have gradient 0 by convention, (positions, image); None for none."""
        return None


@dataclass(frozen=True)
class Strips:
    """How the work on a kernel of patches is cut: rows of positions, images made ready at a time, images in a tile.

    Attributes
    ----------
    rows
        Rows of positions in a strip.
    images
        Images in a block that is made ready at once.
    tile
        Images on either side in a tile of pairs.
    """

    grid: PatchGrid
    rows: int
    images: int
    tile: int

    @classmethod
    def of(
        cls,
        kernel: PatchKernel,
        grid: PatchGrid,
        n: int,
        rank: int,
        *,
        budget: int,
        device: torch.device,
    ) -> Strips:
        """Strips and blocks of at most `budget` bytes."""
        height, width = grid.sides()[0]
        entry = (rank + 1) * 8 + rank * 8 + 24 * kernel.depth * (grid.patch_size**2 + 4)
        rows = height
        if not kernel.couples_positions:
            rows = max(1, min(height, budget // (entry * n * width)))
        images = max(1, min(n, budget // (entry * rows * width)))
        entries = ENTRIES.get(device.type, ENTRIES["cuda"])
        pairs = entries // (rows * width)
        # products of many small matrices are fast at multiples of eight
        return cls(grid, rows, images, max(8, int(pairs**0.5) // 8 * 8))

    def strips(self) -> Iterator[slice]:
        """Rows of positions."""
        return row_blocks(self.grid.sides()[0][0], self.rows)

    def blocks(self, n: int) -> list[slice]:
        """Blocks of images."""
        return list(row_blocks(n, self.images))


Tile = tuple[slice, PatchBlock]
"""Which of some images, made ready."""


def tiles(
    kernel: PatchKernel,
    images: Float[Tensor, "m pixels"],
    grid: PatchGrid,
    metric: Metric,
    rows: slice,
    size: int,
    spread: TileMap,
) -> list[Tile]:
    """Images made ready in tiles of `size`, the last one of what is left; each in memory of its own, which products run through."""
    places = [slice(start, min(len(images), start + size)) for start in range(0, len(images), size)]
    blocks = spread(lambda place: kernel.block(images[place], grid, metric, rows), places)
    return list(zip(places, blocks, strict=True))


ENTRIES = {"cpu": 2**19, "cuda": 2**24}
"""Pairs times positions of a tile: on a CPU its arrays stay in the cache."""
