"""The slow, obvious versions: pairwise differences, one Jacobian per point, LU and einsum."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def pairwise_distances(X: Tensor, Z: Tensor) -> Tensor:
    """‖x_i − z_j‖ from the differences, pair by pair."""
    return (X[:, None, :] - Z[None, :, :]).square().sum(2).sqrt()


FORMULAS: dict[str, Callable[[Tensor, dict[str, float]], Tensor]] = {
    "laplace": lambda r, p: torch.exp(-((r / p["bandwidth"]) ** p.get("exponent", 1.0))),
    "gaussian": lambda r, p: torch.exp(-(r**2) / (2 * p["bandwidth"] ** 2)),
}
"""κ(r) as in a textbook, by the name of the kernel: one line more for a new kernel."""


def kernel_values(name: str, parameters: dict[str, float], X: Tensor, Z: Tensor) -> Tensor:
    """The kernel matrix from its textbook formula."""
    return FORMULAS[name](pairwise_distances(X, Z), parameters)


def gradient_weights(name: str, parameters: dict[str, float], X: Tensor, Z: Tensor) -> Tensor:
    """κ'(r)/r by differentiating the textbook formula, 0 at r = 0."""
    r = pairwise_distances(X, Z).detach().requires_grad_()
    (derivative,) = torch.autograd.grad(FORMULAS[name](r, parameters).sum(), r)
    return torch.where(r == 0, torch.zeros_like(r), derivative / r).detach()


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
