r"""Points that are patches on spheres, and random functions of them that are sums over the nodes of a tree: Gaussian fields.

A field is one draw of the Gaussian process whose covariance is a hierarchical kernel (`agop.kernels.hierarchical`). With filters
(s₁, …, s_l) it is a mean over blocks of :math:`s_1 \cdots s_l` numbers of functions of one block each: the more layers, the more inputs
each of these functions depends on.

Source: Cagnetta, Favero and Wyart 2023 (ICML; arXiv 2208.01003).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from agop._checks import bad_value, integer
from agop.datasets.dataset import Raw
from agop.datasets.source import Source
from agop.kernels.base import Kernel
from agop.kernels.hierarchical import HierarchicalNTK
from agop.networks.streams import stream

JITTER = 1e-10
"""Added to the diagonal, as a share of it: of the order of the rounding of the smallest eigenvalues."""


def sphere_patches(
    n: int, patches: int, size: int, generator: torch.Generator
) -> Float[Tensor, "n {patches*size}"]:
    """Rows of `patches` patches, each uniform on the unit sphere of `size` dimensions; float64."""
    shape = (
        integer("n", n, at_least=1),
        integer("patches", patches, at_least=1),
        integer("size", size, at_least=2),
    )
    normal = torch.randn(shape, generator=generator, dtype=torch.float64)
    return (normal / normal.norm(dim=2, keepdim=True)).flatten(1)


def gaussian_fields(
    X: Float[Tensor, "n d"], kernel: Kernel, draws: int, generator: torch.Generator
) -> Float[Tensor, "n {draws}"]:
    """Values at the rows of X of independent draws of the Gaussian process with this covariance; O(n³)."""
    covariance = kernel(X.double())
    covariance.diagonal().mul_(1 + JITTER)
    root = torch.linalg.cholesky(covariance)
    white = torch.randn(len(X), integer("draws", draws, at_least=1), generator=generator, dtype=torch.float64)
    return root @ white


def tree_field(root: Path, download: bool, seed: int, depth: int, patches: int, train: int, test: int) -> Raw:
    """Classes by the sign, above or below the median, of one field with filters (2, …, 2) of `depth` layers."""
    depth, patches = integer("depth", depth, at_least=1), integer("patches", patches, at_least=1)
    if patches % 2 ** (depth - 1):
        raise bad_value("patches", f"a multiple of {2 ** (depth - 1)} for depth={depth}", str(patches))
    train, test = integer("train", train, at_least=2), integer("test", test, at_least=2)
    generator = stream(seed, 0)
    X = sphere_patches(train + test, patches, 2, generator)
    values = gaussian_fields(X, HierarchicalNTK((2,) * depth), 1, generator)[:, 0]
    x, y = X.float().numpy(), (values > values.median()).numpy().astype(np.int64)
    return Raw(x[:train], y[:train], x[train:], y[train:], ("below", "above"))


TREE_FIELD = Source(
    name="tree-field", description="above or below the median of a Gaussian field of patches of 2", origin="agop", kind="generated",
    shape=(8,), n_train=500, n_test=500, n_classes=2, read=tree_field,
    parameters={"depth": 2, "patches": 4, "train": 500, "test": 500},
)  # fmt: skip
