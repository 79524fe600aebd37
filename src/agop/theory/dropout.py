r"""The explicit form of dropout: what it does to a squared loss in expectation, and what it then prefers among factorisations.

A linear map :math:`U` (o, h) reads activations :math:`a(x_i)`, rows (n, h), of which dropout multiplies each by an independent
:math:`B_{jj} \in \{0, \tfrac{1}{1-p}\}` with mean 1 and variance :math:`p/(1-p)`. Cross terms of different units vanish, so that

.. math:: \tfrac1n \sum_i \mathbb{E}_B \lVert U B a(x_i) - y_i \rVert^2
          = \tfrac1n \sum_i \lVert U a(x_i) - y_i \rVert^2 + \tfrac{p}{1-p} R, \qquad
          R = \sum_j \lVert U_{:j} \rVert^2\, \tfrac1n \sum_i a_j(x_i)^2 .

It is exact if this is the only layer with dropout, at any depth below; with dropout on several layers the units that U reads are no longer
independent. For other losses, cross-entropy among them, it holds to second order in the noise only, with the loss's Hessian in R.
A bias after U belongs into the targets: `y - bias`.

Arora, Bartlett, Mianjy and Srebro 2021 (ICML; arXiv 2003.03397).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

import torch
from jaxtyping import Float
from torch import Tensor

from agop import _checks
from agop.probes.dropout import dropout_penalty

MOST_UNITS = 12
"""Of an expectation by enumeration: 4,096 masks."""


def loss(
    activations: Float[Tensor, "n h"], weight: Float[Tensor, "o _"], targets: Float[Tensor, "_ _"]
) -> float:
    r""":math:`\tfrac1n \sum_i \lVert U a(x_i) - y_i \rVert^2`: without dropout, a sum over outputs and a mean over samples.

    Parameters
    ----------
    activations, weight, targets : (n, h), (o, h), (n, o)

    Raises
    ------
    ValueError, TypeError
        If they are not finite or do not fit each other, or there are no samples.
    """
    a, U, y = _checked(activations, weight, targets)
    return in_range("activations", float(_loss(a, U, y)))


def expected_loss(
    activations: Float[Tensor, "n h"],
    weight: Float[Tensor, "o _"],
    targets: Float[Tensor, "_ _"],
    p: float | int,
) -> float:
    r"""The loss with dropout in expectation, in closed form: `loss` and :math:`\tfrac{p}{1-p} R`.

    Parameters
    ----------
    activations, weight, targets
        As `loss`.
    p
        Probability that a unit is dropped, in [0, 1).

    Raises
    ------
    ValueError, TypeError
        As `loss`, and for another p.

    Examples
    --------
    >>> a, U, y = torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 1.0]]), torch.tensor([[3.0]])
    >>> expected_loss(a, U, y, 0.5), enumerated_loss(a, U, y, 0.5)
    (5.0, 5.0)
    """
    odds = _odds(p)
    a, U, y = _checked(activations, weight, targets)
    return in_range("activations", float(_loss(a, U, y)) + odds * float(dropout_penalty(a, U)))


def enumerated_loss(
    activations: Float[Tensor, "n h"],
    weight: Float[Tensor, "o _"],
    targets: Float[Tensor, "_ _"],
    p: float | int,
) -> float:
    """The same expectation as the sum over all 2^h masks, each with its probability: the definition, for up to `MOST_UNITS` units.

    Raises
    ------
    ValueError, TypeError
        As `expected_loss`, and for more units.
    """
    _odds(p)
    a, U, y = _checked(activations, weight, targets)
    if a.shape[1] > MOST_UNITS:
        raise _checks.bad_value(
            "activations", f"at most {MOST_UNITS} units", str(a.shape[1]), "take sampled_loss"
        )
    total = 0.0
    for mask in product((0.0, 1.0), repeat=a.shape[1]):
        kept = a.new_tensor(mask)
        chance = math.prod(1 - p if one else p for one in mask)
        total += chance * float(_loss(a * kept / (1 - p), U, y))
    return in_range("activations", total)


@dataclass(frozen=True)
class Sampled:
    """A mean over draws and its standard error (the standard deviation of a draw over the root of their number)."""

    mean: float
    error: float


def sampled_loss(
    activations: Float[Tensor, "n h"],
    weight: Float[Tensor, "o _"],
    targets: Float[Tensor, "_ _"],
    p: float | int,
    draws: int = 1000,
    random_state: int = 0,
) -> Sampled:
    """The same expectation from `draws` rounds, in each of which every sample has a mask of its own.

    Raises
    ------
    ValueError, TypeError
        As `expected_loss`, and for fewer than two draws.
    """
    _odds(p)
    draws = _checks.integer("draws", draws, at_least=2)
    seed = _checks.integer("random_state", random_state, at_least=0)
    generator = torch.Generator().manual_seed(seed % 2**32)
    a, U, y = _checked(activations, weight, targets)
    losses = torch.stack(
        [_loss(a * (torch.rand(a.shape, generator=generator) >= p) / (1 - p), U, y) for _ in range(draws)]
    )
    return Sampled(in_range("activations", float(losses.mean())), float(losses.std() / draws**0.5))


def _loss(a: Float[Tensor, "n h"], U: Float[Tensor, "o h"], y: Float[Tensor, "n o"]) -> Float[Tensor, ""]:
    return (a @ U.mT - y).square().sum() / len(a)


def in_range(name: str, value: float) -> float:
    """Return `value` if it is finite, else raise: finite numbers of this argument were too large to be squared."""
    if not math.isfinite(value):
        raise _checks.bad_value(
            name, "numbers with squares in the range of float64", "an overflow", "rescale them"
        )
    return value


def _odds(p: float | int) -> float:
    p = _checks.real("p", p, at_least=0, at_most=1)
    if p == 1:
        raise _checks.bad_value("p", "a probability below 1", repr(p), "something must be left to read")
    return p / (1 - p)


def _checked(activations: Tensor, weight: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The arguments in float64 on the CPU."""
    for name, part in (("activations", activations), ("weight", weight), ("targets", targets)):
        _checks.floating(name, part, ndim=2)
    n, h = activations.shape
    if n == 0:
        raise _checks.bad_value("activations", "at least one sample", "none")
    if weight.shape[1] != h:
        raise _checks.bad_value("weight", f"{h} columns, as activations", f"shape {tuple(weight.shape)}")
    if tuple(targets.shape) != (n, len(weight)):
        raise _checks.bad_value("targets", f"shape {(n, len(weight))}", f"{tuple(targets.shape)}")
    a, U, y = (part.detach().cpu().double() for part in (activations, weight, targets))
    return a, U, y
