"""Hidden states in which a concept is planted along a known direction, and a model that calls a block twice."""

from __future__ import annotations

import torch

from agop.concepts import ConceptSearch, HiddenStates

QUICK = ConceptSearch(bandwidth_factors=(4.0,), n_iter=1, ridges=(0.1, 1.0), inverse_penalties=(1e-2, 0.1))


def planted(n=180, d=16, *, strength=3.0, seed=0):
    """Labels, the direction, and states of three blocks: of noise, with the concept, and with a weaker one."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 2
    v = torch.nn.functional.normalize(torch.randn(d, generator=generator), dim=0)
    noise = [torch.randn(n, d, generator=generator) for _ in range(3)]
    signal = strength * (y - 0.5)[:, None] * v
    return (
        y,
        v,
        HiddenStates({"noise": noise[0], "planted": noise[1] + signal, "weak": noise[2] + signal / 3}),
    )


class Twice(torch.nn.Module):
    """One block, called twice."""

    def __init__(self):
        super().__init__()
        self.block = torch.nn.Linear(3, 3)

    def forward(self, x):
        return self.block(self.block(x))
