"""What a deep linear network was asked for, checked: the numbers of its scalar problems, and when there is no closed form."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from scipy.optimize import brentq
from torch import Tensor

from agop import _checks


@dataclass(frozen=True)
class Problem:
    """What was asked, checked, and the numbers of the scalar problems; logarithms, so that no decay is too small."""

    counts: tuple[int, ...]
    n_layers: int
    weight_decay: tuple[float, ...]
    feature_decay: float
    bias: bool
    width: int | None

    @property
    def threshold(self) -> float:
        M = self.n_layers
        return (M - 1) ** ((M - 1) / M) / M

    @property
    def log_noise(self) -> float:
        """Of N λ_H."""
        return math.log(sum(self.counts)) + math.log(self.feature_decay)

    @property
    def log_decay(self) -> float:
        """Of the geometric mean of the layers' decays; exact where they are equal."""
        first = self.weight_decay[0]
        ratios = math.fsum(math.log(each / first) for each in self.weight_decay)
        return math.log(first) + ratios / self.n_layers

    @property
    def log_beta(self) -> list[float]:
        M = self.n_layers
        shared = math.log(M) + self.log_decay + self.log_noise / M
        return [math.log(sum(self.counts) / n) + shared for n in self.counts]

    @property
    def beta(self) -> Float[Tensor, " c"]:
        return torch.tensor(self.log_beta, dtype=torch.float64).exp()


def log_root(log_beta: float, M: int) -> float:
    """Logarithm of the largest root of M x^(M-1) / (x^M + 1)² = β, where the scalar problem is least if β is below the threshold."""
    if M == 1:
        return math.log(math.expm1(-log_beta / 2))

    def excess(u: float) -> float:
        return math.log(M) + (M - 1) * u - 2 * _log1pexp(M * u) - log_beta

    steepest = math.log((M - 1) / (M + 1)) / M  # the left side falls from here on
    beyond = (math.log(M) - log_beta) / (M + 1) + 1  # it is below M x^(-M-1); 1 for rounding
    return float(brentq(excess, steepest, beyond, xtol=1e-15))


def _log1pexp(v: float) -> float:
    return max(v, 0.0) + math.log1p(math.exp(-abs(v)))


def reasons_of(problem: Problem) -> dict[int, str]:
    """Why classes collapse: too little signal, or no direction left."""
    counts, width, M = problem.counts, problem.width, problem.n_layers
    if problem.bias and len(counts) == 1:
        return {0: "class 0 is alone: the bias fits it"}
    words = f"the threshold {problem.threshold:.3g} of {M} layer{'s' if M > 1 else ''}"
    reasons = {
        k: f"class {k} has {counts[k]} of {sum(counts)} samples: beta = {beta:.3g} is not below {words}"
        for k, beta in enumerate(problem.beta.tolist())
        if beta >= problem.threshold
    }
    if width is None or problem.bias:
        return reasons
    for k in _largest_first(counts)[width:]:
        reasons.setdefault(k, f"class {k} is not among the {width} largest, and the width is {width}")
    return reasons


def no_closed_form(problem: Problem) -> str | None:
    """Why the minimum is not given class by class, or not unique up to rotation."""
    counts, width, C = problem.counts, problem.width, len(problem.counts)
    if problem.bias and len(set(counts)) > 1:
        return "with a bias there is a closed form class by class only for equal counts, and these differ"
    if width is None or width >= C - problem.bias:
        return None
    last, next_one = _largest_first(counts)[width - 1 : width + 1]
    if counts[last] > counts[next_one] or float(problem.beta[last]) >= problem.threshold:
        return None
    return f"a width of {width} has no room for both of classes {last} and {next_one}, which have equal counts: either may go"


def _largest_first(counts: tuple[int, ...]) -> list[int]:
    return sorted(range(len(counts)), key=lambda k: -counts[k])


def checked_counts(counts: Any) -> tuple[int, ...]:
    """Samples of each class, as integers; `ValueError` or `TypeError` if they are none."""
    expected = "the number of samples of each class, integers >= 1"
    values = counts.tolist() if hasattr(counts, "tolist") else counts
    if isinstance(values, str | bytes) or not isinstance(values, Sequence):
        raise _checks.bad_type("counts", expected, _checks.shown(values), "pass a list")
    if not values:
        raise _checks.bad_value("counts", expected, "none")
    checked = tuple(_checks.integer(f"counts[{k}]", n, at_least=1) for k, n in enumerate(values))
    if sum(checked) > 2**53:
        raise _checks.bad_value("counts", "at most 2**53 samples", f"{float(sum(checked)):.3g}")
    return checked


def checked_decays(weight_decay: Any, n_layers: int) -> tuple[float, ...]:
    """A weight decay for each layer; `ValueError` or `TypeError` if they are none."""
    if hasattr(weight_decay, "tolist"):
        weight_decay = weight_decay.tolist()
    if not isinstance(weight_decay, Sequence) or isinstance(weight_decay, str):
        return (_checks.real("weight_decay", weight_decay, above=0),) * n_layers
    if len(weight_decay) != n_layers:
        raise _checks.bad_value(
            "weight_decay",
            f"a number, or one for each of the {n_layers} layers",
            f"{len(weight_decay)} numbers",
        )
    return tuple(_checks.real(f"weight_decay[{m}]", each, above=0) for m, each in enumerate(weight_decay))
