"""One table of tolerances; tests name a row instead of inventing a number."""

from __future__ import annotations

import torch

IDENTITY = 1e-10  # closed form against closed form, float64
ITERATIVE = 1e-6  # the result of an iteration, float64
SINGLE = 1e-4  # anything in float32
MERGE = 1e-12  # sufficient statistics under another batching or order, float64


def identity(dtype: torch.dtype) -> float:
    """The tolerance of an exact identity in `dtype`."""
    return {torch.float64: IDENTITY, torch.float32: SINGLE}[dtype]


def relative_error(actual: torch.Tensor, expected: torch.Tensor) -> float:
    """Frobenius norm of the difference over that of what was expected."""
    difference = (actual.double() - expected.double()).norm()
    return float(difference / expected.double().norm().clamp_min(torch.finfo(torch.float64).tiny))
