"""The procedures of the papers as they are written down: LU solve, the (n, c, d) tensor, einsum."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from tests.oracles.kernels import kernel_values, machine_agop

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
