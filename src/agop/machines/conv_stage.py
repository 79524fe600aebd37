"""Images through a linear convolution, and the views of a stage."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from agop._blocks import row_blocks, rows_per_block
from agop.kernels.patch_kernel import Metric, PatchKernel
from agop.kernels.patches import PatchGrid
from agop.machines.conv_machine import ConvMachine
from agop.view import LayerView


@dataclass(frozen=True, eq=False)
class ConvStage:
    r"""One stage of a Deep ConvRFM: its M, and the linear convolution with weights :math:`G M^p`, G standard normal (width, c q²)."""

    agop: Float[Tensor, "d _d"]
    root: Float[Tensor, "d r"] | None
    weight: Float[Tensor, "width d"]
    coefficients: Float[Tensor, "n c"]
    kernel: PatchKernel
    grid: PatchGrid

    def machine(self, centers: Float[Tensor, "n pixels"]) -> ConvMachine:
        """The kernel machine that the stage was made from, with the training images that came in."""
        metric = Metric(self.root, centers.mean(0))
        return ConvMachine(self.kernel, self.grid, metric, centers, self.coefficients)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of what comes out."""
        return (len(self.weight), *self.grid.sides()[0])

    def __call__(self, X: Float[Tensor, "m pixels"]) -> Float[Tensor, "m k"]:
        """Images as flat rows through the convolution."""
        grid, (before, after) = self.grid, self.grid.margins
        filters = self.weight.view(len(self.weight), grid.channels, grid.patch_size, grid.patch_size)
        through = X.new_empty(len(X), self.shape[0] * self.shape[1] * self.shape[2])
        for rows in row_blocks(
            len(X), rows_per_block(len(X), 8 * (through.shape[1] + grid.pixels) * X.element_size())
        ):
            images = functional.pad(X[rows].view(-1, *grid.shape), (before, after, before, after))
            through[rows] = functional.conv2d(images, filters, stride=grid.stride).flatten(1)
        return through


def image_view(
    name: str,
    grid: PatchGrid,
    root: Float[Tensor, "d r"] | None,
    X: Float[Tensor, "m pixels"],
    output: Float[Tensor, "m k"],
    agop: Float[Tensor, "d _d"],
    pool: str,
) -> LayerView:
    """The three stages of images at a layer that reads patches in the metric M = root rootᵀ (None: the identity)."""
    count, rank = grid.sides()[0][0] * grid.sides()[0][1], grid.features if root is None else root.shape[1]
    block = rows_per_block(len(X), 4 * count * (rank + grid.features) * X.element_size())
    mean = pool == "mean"
    flat = X.new_empty(len(X), rank if mean else count * rank)
    patches_of_mean = X.new_empty(len(X), grid.features if mean else 0)
    for rows in row_blocks(len(X), block):
        patches = grid.patches(X[rows])
        if mean:
            patches = patches_of_mean[rows] = patches.mean(0)
        mapped = patches if root is None else patches @ root.to(patches)
        flat[rows] = mapped if mean else mapped.transpose(0, 1).reshape(-1, count * rank)
    if mean:
        return LayerView(name, patches_of_mean, flat, output, feature_matrix=agop, agop=agop)
    return LayerView(name, X, flat, output)
