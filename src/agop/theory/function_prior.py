r"""What a network would generalise to if training only conditioned its prior over functions: Boolean functions of n bits.

Initialisation is a prior :math:`P(f)` over the :math:`2^{2^n}` functions of n bits. If training picks among the functions that fit the m
training points S with probabilities in proportion to the prior, then :math:`P(f \mid S) \propto P(f)\, 1[f \text{ fits } S]`. Averaged
over S drawn without replacement, a function that differs from the target at e of the N = 2^n inputs fits with probability

.. math:: \binom{N - e}{m} / \binom{N}{m}.

Mingard, Rees, Valle-Pérez and Louis 2025 (Nature Communications; arXiv 2304.06670).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from agop import _checks
from agop.networks.stacked import StackedMLP
from agop.networks.streams import derived_seed

MOST_BITS = 12
_MEMBERS = 500
"""Networks that are run together: their activations stay in the cache."""

_USE = 17  # of a seed


def boolean_inputs(n: int = 7) -> Float[Tensor, "N n"]:
    """All vectors of n bits, 0 and 1, in lexicographic order: the places of a function's table of values."""
    n = _checks.integer("n", n, at_least=1)
    if n > MOST_BITS:
        raise _checks.bad_value("n", f"at most {MOST_BITS} bits", str(n))
    return torch.tensor(list(product((0.0, 1.0), repeat=n)))


def sample_functions(
    draws: int,
    *,
    n: int = 7,
    width: int = 40,
    depth: int = 10,
    sigma_w: float | int = 1.0,
    seed: int = 0,
) -> Bool[Tensor, "draws N"]:
    """The functions (output > 0) of randomly initialised tanh networks (`agop.networks.stacked.StackedMLP`) on all inputs.

    Parameters
    ----------
    draws
        How many networks; 10,000 take some ten seconds on one core.
    n
        Bits; inputs are 0 and 1.
    width, depth, sigma_w
        Of the networks.
    seed
        Of the draws; the first functions of a longer sample are those of a shorter one, in steps of 500.
    """
    draws = _checks.integer("draws", draws, at_least=1)
    x, found = boolean_inputs(n), []
    with torch.no_grad():
        for number, first in enumerate(range(0, draws, _MEMBERS)):
            own = derived_seed(seed, _USE, number)
            members = StackedMLP(_MEMBERS, n, width=width, depth=depth, sigma_w=sigma_w, seed=own)
            found.append((members(x) > 0)[: draws - first])
    return torch.cat(found)


@dataclass(frozen=True, eq=False)
class ErrorSpectrum:
    """How far sampled functions are from a target: `counts[e]` of them differ at e of the N inputs.

    Attributes
    ----------
    counts : (N + 1,)
        Numbers of functions.
    """

    counts: Int[Tensor, " N1"]

    @property
    def inputs(self) -> int:
        """N."""
        return len(self.counts) - 1

    def predicted_error(self, m: int) -> tuple[float, float]:
        r"""The expected error on the N − m inputs that were not trained on, and the effective number of sampled functions it rests on.

        .. math:: \frac{\sum_f w_f\, e_f / (N - m)}{\sum_f w_f}, \qquad w_f = \binom{N - e_f}{m} / \binom{N}{m},

        a ratio of averages over training sets (not the average of each set's ratio). The effective number is :math:`(\sum w)^2 / \sum w^2`:
        with few, the sample holds hardly any function that fits, and the prediction says little. NaN where none can fit.
        """
        m = _checks.integer("m", m, at_least=1)
        if m >= self.inputs:
            raise _checks.bad_value("m", f"fewer training points than inputs ({self.inputs})", str(m))
        errors = torch.arange(self.inputs + 1, dtype=torch.float64)
        fits = fit_probability(errors, self.inputs, m)
        weights, squares = self.counts * fits, self.counts * fits.square()
        total = weights.sum()
        if not float(total) > 0:
            return float("nan"), 0.0
        error = (weights * errors).sum() / total / (self.inputs - m)
        return float(error), float(total.square() / squares.sum())


def fit_probability(errors: Float[Tensor, " k"], inputs: int, m: int) -> Float[Tensor, " k"]:
    r"""Probability :math:`\binom{N-e}{m} / \binom{N}{m}` that m training points, drawn without replacement, miss e wrong inputs of N."""
    left = inputs - errors.double()
    logs = (torch.lgamma(left + 1) - torch.lgamma((left - m).clamp(min=0) + 1)) - (
        torch.lgamma(torch.tensor(inputs + 1.0, dtype=torch.float64))
        - torch.lgamma(torch.tensor(inputs - m + 1.0, dtype=torch.float64))
    )
    return torch.where(left >= m, logs.exp(), torch.zeros_like(logs))


def error_spectrum(functions: Bool[Tensor, "b N"], target: Any) -> ErrorSpectrum:
    """How many of the functions differ from the target at how many inputs."""
    wanted = torch.as_tensor(target).bool()
    _checks.same_length("functions", functions.shape[1], "target", wanted.numel())
    differences = (functions != wanted.reshape(1, -1)).sum(1)
    return ErrorSpectrum(torch.bincount(differences, minlength=functions.shape[1] + 1))
