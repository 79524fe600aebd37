"""What pictures of patch matrices are drawn from: top eigenvectors as filters, and the energy of patches in a few images.

An .npz file: filters/NAME (k, c, q, q), shares/NAME (k,), images (n, c, h, w), energies/NAME (n, rows, columns).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from agop.experiments.files import atomic
from agop.gradients.energy import patch_energy
from agop.gradients.filters import patch_filters

PATCHES = "patches.npz"
"""The file in the directory of a run or a unit."""

FILTERS = 8
"""Eigenvectors of a matrix that are drawn."""


def write_patches(
    folder: Path,
    matrices: Mapping[str, Float[Tensor, "d d"]],
    images: Float[Tensor, "n c h w"],
    *,
    stride: int = 1,
    padding: str = "valid",
    plain: bool = False,
    file: str = PATCHES,
) -> None:
    """Write, atomically, filters and energies of patch matrices by name; the energies are those of `images`, at pixels.

    With `plain`, also the energies of the identity, ‖x_p‖², under the name "identity": what is bright in the images whoever looks.
    """
    arrays: dict[str, np.ndarray] = {"images": _array(images)}
    for name, matrix in matrices.items():
        found = patch_filters(matrix, images.shape[1], n=FILTERS)
        energy = patch_energy(matrix, images, stride=stride, padding=padding)
        arrays |= {
            f"filters/{name}": _array(found.filters),
            f"shares/{name}": _array(found.shares),
            f"energies/{name}": _array(energy),
        }
    if plain:
        features = len(next(iter(matrices.values())))
        identity = torch.eye(features, dtype=images.dtype)
        arrays["energies/identity"] = _array(patch_energy(identity, images, stride=stride, padding=padding))
    with atomic(folder / file) as partial:
        np.savez_compressed(partial, **arrays)  # type: ignore[arg-type]


def _array(values: Tensor) -> np.ndarray:
    return values.detach().cpu().numpy().astype(np.float32)
