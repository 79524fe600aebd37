"""FACT, output grams and centred NFA sample by sample."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


def fact(
    model: nn.Module, name: str, X: Tensor, y: Tensor, loss: Callable[[Tensor, Tensor], Tensor], decay: float
) -> Tensor:
    """−1/(nλ) Σ_i (∇_h ℓ_i) h_iᵀ: one sample at a time, the gradient taken with respect to what the linear module reads."""
    layer = model.get_submodule(name)
    total: Tensor | None = None
    for i in range(len(X)):
        read: list[Tensor] = []

        def before(_module: nn.Module, args: tuple[Tensor, ...], read: list[Tensor] = read) -> tuple[Tensor]:
            read.append(args[0].detach().requires_grad_())
            return (read[-1],)

        handle = layer.register_forward_pre_hook(before)
        try:
            value = loss(model(X[i : i + 1]), y[i : i + 1])
        finally:
            handle.remove()
        (gradient,) = torch.autograd.grad(value, read)
        h = read[0].detach()
        if total is None:
            total = torch.zeros(h.shape[-1], h.shape[-1], dtype=torch.float64)
        for g_row, h_row in zip(gradient.reshape(-1, h.shape[-1]), h.reshape(-1, h.shape[-1])):
            total -= torch.outer(g_row, h_row).double()
    assert total is not None
    return total / (len(X) * decay)


def output_gram(model: nn.Module, name: str, X: Tensor) -> Tensor:
    """Mean over samples of Σ_c ∂f_c/∂y ∂f_c/∂yᵀ at a layer's output y."""
    total: Tensor | None = None
    for i in range(len(X)):
        kept: list[Tensor] = []
        handle = model.get_submodule(name).register_forward_hook(
            lambda m, a, out, kept=kept: kept.append(out)
        )
        try:
            out = model(X[i : i + 1])
        finally:
            handle.remove()
        for c in range(out.shape[1]):
            (gradient,) = torch.autograd.grad(out[0, c], kept[0], retain_graph=True)
            outer = torch.outer(gradient[0], gradient[0])
            total = outer if total is None else total + outer
    assert total is not None
    return total / len(X)
