"""AGOPs the obvious way: every per-sample Jacobian, then the mean of JᵀJ."""

from __future__ import annotations

import itertools

import torch
from torch import nn
from torch.func import jacrev, vmap


def mean_outer(J: torch.Tensor) -> torch.Tensor:
    """(n, …, d) gradients to the mean over n of the sum over … of their outer products."""
    rows = J.reshape(-1, J.shape[-1])
    return rows.T @ rows / J.shape[0]


def jacobians(f, X: torch.Tensor) -> torch.Tensor:
    """(n, c, d): one Jacobian per sample, the input axes flattened in C order."""

    def one(x):
        return f(x[None]).reshape(-1)

    return vmap(jacrev(one))(X).flatten(2).detach()


def agop(f, X: torch.Tensor, *, center: bool = False) -> torch.Tensor:
    J = jacobians(f, X)
    return mean_outer(J - J.mean(0) if center else J)


def quadratic_agop(A, b, X):
    """Closed form for f_o(x) = c_o + b_o·x + xᵀA_o x (PAPER.md, section 5)."""
    m, S = X.mean(0), X.T @ X / len(X)
    total = torch.zeros(X.shape[1], X.shape[1], dtype=X.dtype)
    for A_o, b_o in zip(A, b):
        total += (
            torch.outer(b_o, b_o)
            + 2 * torch.outer(b_o, A_o @ m)
            + 2 * torch.outer(A_o @ m, b_o)
            + 4 * A_o @ S @ A_o
        )
    return total


def patches(conv: nn.Module, h: torch.Tensor) -> torch.Tensor:
    """(C, s…) input to (groups, C/groups · kernel, positions): the patches as the flattened kernel meets them."""
    axes = h.ndim - 1
    pad = list(itertools.chain.from_iterable((p, p) for p in reversed(conv.padding)))
    mode = "constant" if conv.padding_mode == "zeros" else conv.padding_mode
    h = torch.nn.functional.pad(h[None], pad, mode=mode)[0]
    out = []
    for axis in range(axes):
        size, kernel, stride, dilation = (
            h.shape[1 + 2 * axis],
            conv.kernel_size[axis],
            conv.stride[axis],
            conv.dilation[axis],
        )
        n = (size - dilation * (kernel - 1) - 1) // stride + 1
        index = (torch.arange(n)[:, None] * stride + torch.arange(kernel) * dilation).flatten()
        h = h.index_select(1 + 2 * axis, index).unflatten(1 + 2 * axis, (n, kernel))
        out.append(n)
    h = h.permute(0, *[2 + 2 * i for i in range(axes)], *[1 + 2 * i for i in range(axes)])
    return h.reshape(conv.groups, -1, torch.Size(out).numel()), out


def layer_agop(model, X, module, *, call: int = 0, output=None, positions: str = "mean") -> torch.Tensor:
    """AGOP at one call of a Linear or convolution: the layer is rewritten as W (rows + ε), and f differentiated by ε."""
    shape = []

    def run(x, epsilon):
        seen = [0]

        def rewrite(layer, args, y):
            seen[0] += 1
            if seen[0] != call + 1:
                return None
            h = args[0][0]
            if isinstance(layer, nn.Linear):
                rows = h if epsilon is None else h + epsilon
                shape[:] = [h.shape]
                new = rows @ layer.weight.T
                return (new if layer.bias is None else new + layer.bias)[None]
            rows, size = patches(layer, h)
            shape[:] = [rows.shape]
            rows = rows if epsilon is None else rows + epsilon
            weight = layer.weight.reshape(layer.groups, -1, rows.shape[1])
            new = (weight @ rows).reshape(layer.out_channels, *size)
            if layer.bias is not None:
                new = new + layer.bias.reshape(-1, *[1] * len(size))
            torch.testing.assert_close(new, y[0]) if epsilon is None else None
            return new[None]

        handle = module.register_forward_hook(rewrite)
        try:
            y = model(x[None])
        finally:
            handle.remove()
        return (y if output is None else output(y)).reshape(-1)

    run(X[0], None)
    zero = torch.zeros(shape[0], dtype=X.dtype)
    J = vmap(jacrev(run, argnums=1), in_dims=(0, None))(X, zero).detach()
    if isinstance(module, nn.Linear):
        count = zero.numel() // zero.shape[-1]
    else:
        J, count = J.transpose(-1, -2), zero.shape[-1]
    total = mean_outer(J)
    return total / count if positions == "mean" else total


def input_agop(model, X, module, *, axis: int = -1) -> torch.Tensor:
    """AGOP with respect to the tensor that enters a module, tokens or positions as samples."""
    shape = []

    def run(x, epsilon):
        def enter(_module, args):
            shape[:] = [args[0].shape]
            return (args[0] + epsilon, *args[1:]) if epsilon is not None else None

        handle = module.register_forward_pre_hook(enter)
        try:
            return model(x[None]).reshape(-1)
        finally:
            handle.remove()

    run(X[0], None)
    zero = torch.zeros(shape[0], dtype=X.dtype)
    J = vmap(jacrev(run, argnums=1), in_dims=(0, None))(X, zero).detach().movedim(axis, -1)
    return mean_outer(J) / (zero.numel() // J.shape[-1])
