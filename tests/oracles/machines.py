"""The procedures of the papers as they are written down: LU solve, the (n, c, d) tensor, einsum."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from tests.oracles.kernels import kernel_values, machine_agop, machine_jacobians

AS_WRITTEN = {"scaling": "none", "center_targets": False, "power": 0.5}
"""What makes an RFM estimator follow the paper's procedure to the letter."""


def sqrt_psd(M: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(M)
    return vectors @ torch.diag(values.clamp_min(0).sqrt()) @ vectors.T


def rfm(
    X: Tensor,
    Y: Tensor,
    x: Tensor,
    *,
    bandwidth: float,
    ridge: float,
    n_iter: int,
    diagonal: bool = False,
    kernel: str = "laplace",
    parameters: dict[str, float] | None = None,
) -> tuple[Tensor, Tensor]:
    """Predictions at x and M after n_iter iterations, M divided by its largest entry."""
    M = torch.eye(X.shape[1], dtype=X.dtype)
    parameters = parameters or {"bandwidth": bandwidth}
    for iteration in range(n_iter + 1):
        root = sqrt_psd(M)
        Z, z = X @ root, x @ root
        K = kernel_values(kernel, parameters, Z, Z)
        A = torch.linalg.solve(K + ridge * torch.eye(len(X), dtype=X.dtype), Y)
        predictions = kernel_values(kernel, parameters, z, Z) @ A
        if iteration < n_iter:
            M = root @ machine_agop(kernel, parameters, Z, A) @ root
            if diagonal:
                M = M * torch.eye(len(M), dtype=M.dtype)
            M = M / M.max()
    return predictions, M


def deep_rfm(
    X: Tensor,
    Y: Tensor,
    maps: list[Callable[[Tensor], Tensor]],
    *,
    bandwidth: float,
    ridge: float,
    kernel: str = "laplace",
    parameters: dict[str, float] | None = None,
) -> list[dict[str, Tensor]]:
    """The three stages, coefficients and AGOP of every layer."""
    parameters = parameters or {"bandwidth": bandwidth}
    layers = []
    for feature_map in maps:
        X = X / X.norm(dim=1, keepdim=True)
        K = kernel_values(kernel, parameters, X, X)
        A = torch.linalg.solve(K + ridge * torch.eye(len(X), dtype=X.dtype), Y)
        M = machine_agop(kernel, parameters, X, A)
        projected = X @ sqrt_psd(M)
        output = feature_map(projected)
        layers.append({"input": X, "projected": projected, "output": output, "coefficients": A, "agop": M})
        X = output
    return layers


def machine_fact(
    kernel: str,
    parameters: dict[str, float],
    X: Tensor,
    B: Tensor,
    Y: Tensor,
    *,
    ridge: float,
    weight: Tensor | None = None,
) -> Tensor:
    """−(1/μ) Σ_i w_i ∇_x ℓ_i x_iᵀ of ridge regression on XB, from residuals and Jacobians, sample by sample."""
    w = torch.ones(len(X), dtype=X.dtype) if weight is None else weight
    Z = X @ B
    K = kernel_values(kernel, parameters, Z, Z)
    A = torch.linalg.solve(K + ridge * torch.diag(1 / w), Y)
    J = machine_jacobians(kernel, parameters, Z, Z, A) @ B.T
    F = torch.zeros(X.shape[1], X.shape[1], dtype=X.dtype)
    for i in range(len(X)):
        F -= w[i] / ridge * torch.outer(J[i].T @ (K[i] @ A - Y[i]), X[i])
    return F


def fact_rfm(
    X: Tensor, Y: Tensor, x: Tensor, *, bandwidth: float, ridge: float, n_iter: int, update: str
) -> tuple[Tensor, Tensor]:
    """Predictions at x and M of an RFM whose metric N is what FACT says: (F Fᵀ)^{1/2} or (F N² Fᵀ)^{1/4}, M = N² over its largest entry."""
    parameters, M = {"bandwidth": bandwidth}, torch.eye(X.shape[1], dtype=X.dtype)
    for iteration in range(n_iter + 1):
        N = sqrt_psd(M)
        B = sqrt_psd(N)
        K = kernel_values("laplace", parameters, X @ B, X @ B)
        A = torch.linalg.solve(K + ridge * torch.eye(len(X), dtype=X.dtype), Y)
        predictions = kernel_values("laplace", parameters, x @ B, X @ B) @ A
        if iteration < n_iter:
            F = machine_fact("laplace", parameters, X, B, Y, ridge=ridge)
            M = F @ F.T if update == "fact" else sqrt_psd(F @ N @ N @ F.T)
            M = M / M.diagonal().max()
    return predictions, M
