r"""Points that are patches on spheres, and random functions of them that are sums over the nodes of a tree: Gaussian fields.

A field is one draw of the Gaussian process whose covariance is a hierarchical kernel (`agop.kernels.hierarchical`). With filters
(s₁, …, s_l) it is a mean over blocks of :math:`s_1 \cdots s_l` numbers of functions of one block each: the more layers, the more inputs
each of these functions depends on.

Source: Cagnetta, Favero and Wyart 2023 (ICML; arXiv 2208.01003).
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from agop._checks import integer
from agop.kernels.base import Kernel

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
