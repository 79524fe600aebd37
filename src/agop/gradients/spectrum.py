"""The largest eigenpairs of a positive semi-definite operator that is known only by its products."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

OVERSAMPLING = 10
MAX_BLOCKS = 8


@dataclass(frozen=True, eq=False)
class TopPairs:
    """Eigenvalues (descending), eigenvectors, and the largest residual norm over the largest eigenvalue."""

    values: Float[Tensor, " k"]
    vectors: Float[Tensor, "d k"]
    residual: float
    products: int


def top_eigenpairs(
    times: Callable[[Tensor], Tensor],
    d: int,
    k: int,
    *,
    dtype: torch.dtype,
    device: torch.device,
    tol: float,
    max_products: int,
    seed: int = 0,
) -> TopPairs:
    """Block Krylov method with Rayleigh–Ritz on the whole basis, full reorthogonalisation and thick restarts.

    Each step multiplies the newest block by the operator, once; what is orthogonal to the basis becomes the
    next block. If nothing is left, the basis is invariant and the result exact.
    """
    width = min(d, k + OVERSAMPLING)
    generator = torch.Generator().manual_seed(seed)
    block = torch.linalg.qr(torch.randn(d, width, generator=generator).to(device, dtype))[0]
    basis, image = block[:, :0], block[:, :0]
    for products in range(1, max_products + 1):
        basis, image = torch.cat([basis, block], 1), torch.cat([image, times(block)], 1)
        small = basis.mT @ image
        values, rotation = torch.linalg.eigh(((small + small.mT) / 2).double())
        values, rotation = values.flip(0), rotation.flip(1).to(dtype)
        top = rotation[:, :k]
        residuals = (image @ top - (basis @ top) * values[:k].to(dtype)).norm(dim=0)
        residual = float(residuals.max()) / max(float(values[0]), 1e-300)
        if residual <= tol or products == max_products:
            break
        block = _orthogonal_part(image[:, -block.shape[1] :], basis)
        if block.shape[1] == 0:
            break
        if basis.shape[1] + block.shape[1] > min(d, MAX_BLOCKS * width):
            # thick restart: the best Ritz vectors and the newest directions
            basis, image = basis @ rotation[:, :width], image @ rotation[:, :width]
            block = _orthogonal_part(block, basis)
    vectors = basis @ top
    largest = vectors.abs().argmax(0, keepdim=True)
    return TopPairs(
        values[:k].clamp_min(0).to(dtype), vectors * vectors.gather(0, largest).sign(), residual, products
    )


def _orthogonal_part(block: Tensor, basis: Tensor) -> Tensor:
    """An orthonormal basis of what `block` has outside the span of `basis` (twice is enough)."""
    scale = float(block.norm())
    for _ in range(2):
        block = block - basis @ (basis.mT @ block)
    vectors, sizes, _ = torch.linalg.svd(block, full_matrices=False)
    block = vectors[:, sizes > 10 * torch.finfo(block.dtype).eps * max(scale, 1e-300)]
    return torch.linalg.qr(block - basis @ (basis.mT @ block))[0] if block.shape[1] else block
