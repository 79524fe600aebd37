"""Layers of rank R and partial traces, entry by entry."""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor


def dense(factors: list[Tensor]) -> Tensor:
    """The dense weight of factors (q, r, p_m), by loops over units, terms and entries."""
    q, r = factors[0].shape[:2]
    sides = [factor.shape[2] for factor in factors]
    weight = torch.zeros(q, *sides, dtype=factors[0].dtype)
    for unit, term in product(range(q), range(r)):
        for place in product(*map(range, sides)):
            value = torch.ones((), dtype=weight.dtype)
            for factor, entry in zip(factors, place, strict=True):
                value = value * factor[unit, term, entry]
            weight[(unit, *place)] += value
    return weight


def mode_agops(gradients: Tensor) -> list[Tensor]:
    """From gradients (n, c, p_1, ..., p_D): the mean over samples of the sum over outputs of unfoldings times their transposes."""
    found = []
    for mode in range(2, gradients.ndim):
        total = torch.zeros(gradients.shape[mode], gradients.shape[mode], dtype=gradients.dtype)
        for sample in gradients:
            for gradient in sample:
                unfolded = gradient.movedim(mode - 2, 0).reshape(gradients.shape[mode], -1)
                total += unfolded @ unfolded.mT
        found.append(total / len(gradients))
    return found
