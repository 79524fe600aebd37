"""What a measurement in the middle of training must leave as it was: all random state, and the modes of modules."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn


@contextmanager
def measuring(module: nn.Module | None, *loaders: Iterable[Any]) -> Iterator[None]:
    """Evaluation mode; modes and all random state (Python, NumPy, torch, generators of loaders) come back, also after an error."""
    parts = [] if module is None else list(module.modules())
    modes = {part: part.training for part in parts}
    generators = [
        generator
        for loader in loaders
        for holder in (loader, getattr(loader, "sampler", None), getattr(loader, "batch_sampler", None))
        if isinstance(generator := getattr(holder, "generator", None), torch.Generator)
    ]
    states = [generator.get_state() for generator in generators]
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 - the state of others is put back
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    try:
        with torch.random.fork_rng(devices):
            for part in parts:
                part.training = False
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
        for generator, state in zip(generators, states, strict=True):
            generator.set_state(state)
        for part, mode in modes.items():
            part.training = mode
