"""From what an estimator of images was asked for to a kernel of patches."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from agop import _checks
from agop.kernels.base import Kernel
from agop.kernels.cntk import CNTK
from agop.kernels.distance import squared_distances
from agop.kernels.patch_kernel import PatchKernel
from agop.kernels.patch_radial import PatchAverage, is_radial
from agop.kernels.patches import PatchGrid
from agop.kernels.registry import KERNELS

_PREFIX = "patch-"
_IMAGES, _ROWS = 500, 16


def patch_kernel_names() -> list[str]:
    """The names of kernels of images: "cntk", and "patch-" before the name of a kernel of distances."""
    radial = [name for name, kind in KERNELS.items() if is_radial(kind)]
    return ["cntk", *(_PREFIX + name for name in radial)]


def make_patch_kernel(
    kernel: Any, depth: Any, bandwidth: Any, images: Float[Tensor, "n pixels"], grid: PatchGrid
) -> PatchKernel:
    """The kernel of a name, with `depth` convolutions or a bandwidth ("median" is taken from the patches), or of a kernel of distances."""
    if isinstance(kernel, Kernel):
        return PatchAverage(kernel)
    name = _checks.one_of("kernel", kernel, patch_kernel_names())
    if name == "cntk":
        return CNTK(_checks.integer("depth", depth, at_least=1))
    if isinstance(bandwidth, str):
        _checks.one_of("bandwidth", bandwidth, ["median"])
        bandwidth = median_patch_distance(images, grid)
    width = _checks.real("bandwidth", bandwidth, above=0)
    return PatchAverage(KERNELS[name.removeprefix(_PREFIX)](bandwidth=width))  # type: ignore[call-arg]


def median_patch_distance(images: Float[Tensor, "n pixels"], grid: PatchGrid) -> float:
    """Median distance between differing patches at equal positions: of at most 500 images and 16 rows of positions, evenly taken."""
    chosen = images[:: max(1, -(-len(images) // _IMAGES))]
    height = grid.sides()[0][0]
    i, j = torch.triu_indices(len(chosen), len(chosen), 1, device=images.device)
    found = []
    for row in range(0, height, max(1, -(-height // _ROWS))):
        patches = grid.patches(chosen, slice(row, row + 1))
        for position in range(0, len(patches), max(1, -(-len(patches) // _ROWS))):
            found.append(squared_distances(patches[position])[i, j].sqrt())
    distances = torch.cat(found)
    positive = distances[distances > 0]
    if positive.numel() == 0:
        raise _checks.bad_value(
            "X", "patches that differ, for bandwidth='median'", "equal patches", "give a number"
        )
    return float(positive.median())
