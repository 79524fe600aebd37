"""The slow, obvious versions: pairwise differences, one Jacobian per point, LU and einsum."""

from __future__ import annotations

import torch
from torch import Tensor


def pairwise_distances(X: Tensor, Z: Tensor) -> Tensor:
    """‖x_i − z_j‖ from the differences, pair by pair."""
    return (X[:, None, :] - Z[None, :, :]).square().sum(2).sqrt()


def kernel_values(name: str, parameters: dict[str, float], X: Tensor, Z: Tensor) -> Tensor:
    """The kernel matrix from its textbook formula."""
    r = pairwise_distances(X, Z)
    bandwidth = parameters["bandwidth"]
    if name == "laplace":
        return torch.exp(-((r / bandwidth) ** parameters.get("exponent", 1.0)))
    return torch.exp(-(r**2) / (2 * bandwidth**2))


def gradient_weights(name: str, parameters: dict[str, float], X: Tensor, Z: Tensor) -> Tensor:
    """κ'(r)/r from its textbook formula, 0 at r = 0."""
    r = pairwise_distances(X, Z)
    k = kernel_values(name, parameters, X, Z)
    bandwidth = parameters["bandwidth"]
    if name == "laplace":
        e = parameters.get("exponent", 1.0)
        derivative = -e / bandwidth * (r / bandwidth) ** (e - 1) * k
    else:
        derivative = -r / bandwidth**2 * k
    return torch.where(r == 0, torch.zeros_like(r), derivative / r)


def machine_jacobians(name: str, parameters: dict[str, float], X: Tensor, Z: Tensor, A: Tensor) -> Tensor:
    """(m, c, d) Jacobians of x ↦ Σ_i A_i k(x, z_i) at the rows of X, coincident pairs contributing 0."""
    W = gradient_weights(name, parameters, X, Z)
    differences = X[:, None, :] - Z[None, :, :]
    return torch.einsum("mn,nc,mnd->mcd", W, A, differences)


def machine_agop(
    name: str, parameters: dict[str, float], Z: Tensor, A: Tensor, sample_weight: Tensor | None = None
) -> Tensor:
    """AGOP over the centres from the (n, c, d) tensor of gradients."""
    J = machine_jacobians(name, parameters, Z, Z, A)
    w = torch.ones(len(Z), dtype=Z.dtype) if sample_weight is None else sample_weight
    return torch.einsum("n,nci,ncj->ij", w, J, J) / w.sum()
