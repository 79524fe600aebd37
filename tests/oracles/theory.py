"""The theory as it is written down: explicit inverses, autograd gradients, full square roots, loops over samples."""

from __future__ import annotations

import torch
from torch import Tensor

from tests.oracles.machines import sqrt_psd


def recursion(G: Tensor, Y: Tensor, lambda_k: float, lambda_phi: float, n_layers: int) -> list[Tensor]:
    """Projected Gram matrices of G ↦ G(G+λ_k)⁻¹YYᵀ(G+λ_k)⁻¹G + λ_Φ, renormalised to trace n before each layer."""
    eye = torch.eye(len(G), dtype=G.dtype)
    projected = []
    for _ in range(n_layers):
        G = G * len(G) / G.trace()
        smoother = G @ torch.linalg.inv(G + lambda_k * eye)
        P = smoother @ Y @ Y.T @ smoother.T
        projected.append(P)
        G = P + lambda_phi * eye
    return projected


def linear_layer(X: Tensor, Y: Tensor, lambda_k: float) -> Tensor:
    """X M^{1/2}, M the AGOP by autograd of f(x) = k(x, X)(k(X, X) + λ_k I)⁻¹Y with the linear kernel."""
    A = torch.linalg.inv(X @ X.T + lambda_k * torch.eye(len(X), dtype=X.dtype)) @ Y
    M = torch.zeros(X.shape[1], X.shape[1], dtype=X.dtype)
    for x in X:
        J = torch.autograd.functional.jacobian(lambda point: (point @ X.T) @ A, x)
        M += J.T @ J / len(X)
    return X @ sqrt_psd(M)


def random_feasible(n: int, generator: torch.Generator, rank: int | None = None) -> Tensor:
    """A random PSD matrix with diagonal at most 1."""
    V = torch.randn(n, rank or n, generator=generator, dtype=torch.float64)
    V = V / V.norm(dim=1, keepdim=True) * torch.rand(n, 1, generator=generator, dtype=torch.float64).sqrt()
    return V @ V.T
