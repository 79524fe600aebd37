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


def relu_network(u: Tensor, depth: int) -> tuple[Tensor, Tensor]:
    """NNGP and NTK of a ReLU network at the cosine u, layer by layer as in the papers."""
    nngp = ntk = u
    for _ in range(depth):
        on = (torch.pi - torch.arccos(nngp)) / torch.pi
        nngp = (torch.sqrt(1 - nngp**2) + nngp * (torch.pi - torch.arccos(nngp))) / torch.pi
        ntk = nngp + ntk * on
    return nngp, ntk


ANGULAR: dict[str, Callable[[Tensor, dict[str, float]], Tensor]] = {
    "relu-nngp": lambda u, p: relu_network(u, int(p["depth"]))[0],
    "relu-ntk": lambda u, p: relu_network(u, int(p["depth"]))[1],
}
"""k(x, z) / (‖x‖‖z‖) as a function of the cosine."""


def angular_values(name: str, parameters: dict[str, float], X: Tensor, Z: Tensor) -> Tensor:
    norms = X.norm(dim=1)[:, None] * Z.norm(dim=1)[None, :]
    return norms * ANGULAR[name]((X @ Z.T / norms).clamp(-1, 1), parameters)


def angular_jacobians(name: str, parameters: dict[str, float], X: Tensor, Z: Tensor, A: Tensor) -> Tensor:
    """By autograd, pair by pair; where the directions coincide only the outward part, ‖z‖ k(x̂, x̂) x̂."""
    x = X[:, None, :].repeat(1, len(Z), 1).requires_grad_()
    norms = x.norm(dim=2) * Z.norm(dim=1)
    values = norms * ANGULAR[name]((x * Z).sum(2) / norms, parameters)
    (gradients,) = torch.autograd.grad(values.sum(), x)
    directions = X / X.norm(dim=1, keepdim=True)
    at_one = ANGULAR[name](torch.ones((), dtype=X.dtype), parameters)
    outward = at_one * Z.norm(dim=1)[None, :, None] * directions[:, None, :]
    coincident = pairwise_distances(directions, Z / Z.norm(dim=1, keepdim=True)) < 1e-12
    gradients = torch.where(coincident[:, :, None], outward, gradients)
    return torch.einsum("nc,mnd->mcd", A, gradients)


def norm_values(parameters: dict[str, float], X: Tensor, Z: Tensor) -> Tensor:
    """exp(−‖x − z‖_p^q / L^q), pair by pair."""
    p, q, bandwidth = (parameters.get(name, 1.0) for name in ("p", "q", "bandwidth"))
    powers = (X[:, None, :] - Z[None, :, :]).abs() ** p
    return torch.exp(-(powers.sum(2) ** (q / p)) / bandwidth**q)


def norm_jacobians(parameters: dict[str, float], X: Tensor, Z: Tensor, A: Tensor) -> Tensor:
    """An explicit loop over points and centres; equal columns contribute 0."""
    p, q, bandwidth = (parameters.get(name, 1.0) for name in ("p", "q", "bandwidth"))
    K, J = norm_values(parameters, X, Z), X.new_zeros(len(X), A.shape[1], X.shape[1])
    for m, x in enumerate(X):
        for i, z in enumerate(Z):
            delta = x - z
            differ = delta != 0
            if differ.any():
                norm = (delta.abs() ** p).sum() ** (1 / p)
                slope = delta[differ].sign() * delta[differ].abs() ** (p - 1) * norm ** (q - p)
                J[m, :, differ] -= A[i, :, None] * K[m, i] * q / bandwidth**q * slope
    return J


def kernel_values(name: str, parameters: dict[str, float], X: Tensor, Z: Tensor) -> Tensor:
    """The kernel matrix from its textbook formula."""
    if name in ANGULAR:
        return angular_values(name, parameters, X, Z)
    if name in ("l1", "lpq"):
        return norm_values(parameters, X, Z)
    return FORMULAS[name](pairwise_distances(X, Z), parameters)


def gradient_weights(name: str, parameters: dict[str, float], X: Tensor, Z: Tensor) -> Tensor:
    """κ'(r)/r by differentiating the textbook formula, 0 at r = 0."""
    r = pairwise_distances(X, Z).detach().requires_grad_()
    (derivative,) = torch.autograd.grad(FORMULAS[name](r, parameters).sum(), r)
    return torch.where(r == 0, torch.zeros_like(r), derivative / r).detach()


def machine_jacobians(name: str, parameters: dict[str, float], X: Tensor, Z: Tensor, A: Tensor) -> Tensor:
    """(m, c, d) Jacobians of x ↦ Σ_i A_i k(x, z_i) at the rows of X, coincident pairs contributing 0."""
    if name in ANGULAR:
        return angular_jacobians(name, parameters, X, Z, A)
    if name in ("l1", "lpq"):
        return norm_jacobians(parameters, X, Z, A)
    W = gradient_weights(name, parameters, X, Z)
    differences = X[:, None, :] - Z[None, :, :]
    return torch.einsum("mn,nc,mnd->mcd", W, A, differences)


def machine_agop(
    name: str,
    parameters: dict[str, float],
    Z: Tensor,
    A: Tensor,
    sample_weight: Tensor | None = None,
    centered: bool = False,
) -> Tensor:
    """AGOP over the centres from the (n, c, d) tensor of gradients, which may be centred."""
    J = machine_jacobians(name, parameters, Z, Z, A)
    w = torch.ones(len(Z), dtype=Z.dtype) if sample_weight is None else sample_weight
    if centered:
        J = J - torch.einsum("n,nci->ci", w, J) / w.sum()
    return torch.einsum("n,nci,ncj->ij", w, J, J) / w.sum()
