"""Kernels of images as in the papers, one pair at a time, of patches as leaves: autograd and differences give their gradients."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from agop.kernels.patches import PatchGrid

PairKernel = Callable[[Tensor, Tensor], Tensor]
"""Patches (positions, features) of two images → a number."""


def patches(images: Tensor, grid: PatchGrid) -> Tensor:
    """(n, positions, features), by two loops over positions."""
    q, (before, after) = grid.patch_size, grid.margins
    padded = functional.pad(images, (before, after, before, after))
    (rows, columns), found = grid.sides()[0], []
    for i in range(rows):
        for j in range(columns):
            at, across = i * grid.stride, j * grid.stride
            found.append(padded[:, :, at : at + q, across : across + q].flatten(1))
    return torch.stack(found, 1)


def box(values: Tensor, grid: PatchGrid, side: tuple[int, int]) -> Tensor:
    """Sums over the patches of the next convolution, of one number a position."""
    before, after = grid.margins
    padded = functional.pad(values.view(1, 1, *side), (before, after, before, after))
    return functional.unfold(padded, grid.patch_size, stride=grid.stride)[0].sum(0)


def cntk(grid: PatchGrid, depth: int, M: Tensor) -> PairKernel:
    """The recursion with cosines, as it stands in the paper."""
    sides = grid.sides(depth)

    def kernel(x: Tensor, z: Tensor) -> Tensor:
        S, s, r = (((a @ M) * b).sum(1) / grid.channels for a, b in ((x, z), (x, x), (z, z)))
        T = S
        for level in range(depth):
            norms = (s * r).sqrt()
            t = S / norms
            angle = torch.acos(t)
            on, off = (math.pi - angle) / math.pi, (t * (math.pi - angle) + (1 - t * t).sqrt()) / math.pi
            S, T = norms * off, T * on
            if level + 1 < depth:
                S, T, s, r = (box(value, grid, sides[level]) for value in (S, T, s, r))
                T = S + T
        return (S + T).mean()

    return kernel


def radial(kappa: Callable[[Tensor], Tensor], root: Tensor) -> PairKernel:
    """A function of the distance of mapped patches, averaged."""
    return lambda x, z: kappa(((x - z) @ root).norm(dim=1)).mean()


def matrix(kernel: PairKernel, X: Tensor, Z: Tensor) -> Tensor:
    """All pairs of images, of their patches."""
    return torch.stack([torch.stack([kernel(x, z) for z in Z]) for x in X])


def gradients(
    kernel: PairKernel, X: Tensor, A: Tensor, j: int, *, entries: list[int] | None = None
) -> Tensor:
    """Gradients (c, positions, features) at image j of Σ_i A_ic K(x_i, z) over the OTHER images, by autograd.

    Or, (c, entries), some entries of them by symmetric differences.
    """
    others = [i for i in range(len(X)) if i != j]

    def value(z: Tensor) -> Tensor:
        return torch.stack([kernel(X[i], z) for i in others]) @ A[others]

    if entries is None:
        z = X[j].clone().requires_grad_(True)
        return torch.stack([torch.autograd.grad(f, z, retain_graph=True)[0] for f in value(z)])
    found = []
    for place in entries:
        step = torch.zeros_like(X[j])
        step.view(-1)[place] = 1e-5
        found.append((value(X[j] + step) - value(X[j] - step)) / 2e-5)
    return torch.stack(found, 1)


def agop(G: Tensor, weight: Tensor | None = None) -> Tensor:
    """Of gradients (images, outputs, positions, features): mean over images, sums over outputs and positions."""
    weight = torch.ones(len(G), dtype=G.dtype) if weight is None else weight
    return torch.einsum("j,jcpd,jcpe->de", weight / weight.sum(), G, G)
