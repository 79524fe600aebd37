"""Independent streams of random numbers from one seed."""

from __future__ import annotations

import numpy as np
import torch

from agop import _checks


def stream(seed: int, *place: int) -> torch.Generator:
    """The generator of one use (`place`, a few integers) of a seed.

    torch's CPU generator reads only the lower 32 bits of its seed, so sums and shifts of seeds collide; numpy's seed sequence mixes them.
    """
    words = [_checks.integer("seed", seed, at_least=0), *place]
    state = np.random.SeedSequence(words).generate_state(1, np.uint32)
    return torch.Generator().manual_seed(int(state[0]))


def derived_seed(seed: int, *place: int) -> int:
    """A seed of its own for one use (`place`) of a seed."""
    return int(torch.randint(2**31 - 1, (), generator=stream(seed, *place)))
