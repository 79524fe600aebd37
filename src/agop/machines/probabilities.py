r"""From values of a machine fitted to ±1 targets to class probabilities, and their calibration relative to the class shares."""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.optimize import minimize_scalar
from torch import Tensor

LEAST = 0.02
"""A calibrated probability is made from shares of at least this much, so that no class is ruled out for sure."""

_STEEPEST = 8.0


def shares_of(values: Float[Tensor, "*m c"]) -> Float[Tensor, "*m c"]:
    r"""The ±1 targets mapped to 0 and 1, clipped from below and normalised.

    :math:`p_c \propto \max(0, (f_c + 1)/2)`; where all are 0, :math:`p_c \propto 1/(1 + \max f - f_c)`.
    """
    shares = ((values + 1) / 2).clamp_min(0)
    total = shares.sum(-1, keepdim=True)
    if not bool((total > 0).all()):
        distant = 1 / (1 + values.amax(-1, keepdim=True) - values)
        shares = torch.where(total > 0, shares, distant)
        total = shares.sum(-1, keepdim=True)
    return shares / total


def tempered(
    shares: Float[Tensor, "*m c"], prior: Float[Tensor, " c"], slope: float
) -> Float[Tensor, "*m c"]:
    r"""Probabilities whose evidence against the class shares π is raised to a power: :math:`p_c \propto \pi_c (q_c/\pi_c)^\beta`.

    A point that nothing is known of, q = π, keeps the class shares whatever the slope β. Shares q below 0.02 count as 0.02.
    """
    prior = prior.to(shares)
    floor = prior.clamp_max(LEAST)
    evidence = torch.maximum(shares, floor).log() - prior.clamp_min(1e-300).log()
    logits = prior.log() + slope * torch.where(prior > 0, evidence, 0.0)
    return logits.softmax(-1)


def fitted_slope(
    shares: Float[Tensor, "n c"],
    labels: Int[Tensor, " n"],
    weight: Float[Tensor, " n"] | None,
    prior: Float[Tensor, " c"],
) -> float:
    """The slope of `tempered` with the least log loss; between 1/8 and 8."""
    rows = torch.arange(len(labels), device=shares.device)
    counts = torch.ones_like(shares[:, 0]) if weight is None else (weight / weight.max()).to(shares)

    def loss(exponent: float) -> float:
        p = tempered(shares, prior, math.exp(exponent))[rows, labels]
        return float(-(counts * p.clamp_min(1e-300).log()).sum() / counts.sum())

    limit = math.log(_STEEPEST)
    found = minimize_scalar(loss, bounds=(-limit, limit), method="bounded", options={"xatol": 1e-3})
    return float(np.exp(found.x))
