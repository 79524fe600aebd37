"""Greedy choice of candidates whose average predicts best (Caruana et al. 2004, *Ensemble selection from libraries of models*, ICML)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from agop.machines.criterion import Criterion


def greedy_average(
    values: Float[Tensor, "p m c"], criterion: Criterion, members: int, rounds: int
) -> Float[Tensor, " p"]:
    """Weights (p,) of candidates, with sum 1: those of the best average that a greedy choice comes by.

    In each round the candidate is added, possibly again, with which the average has the best score; of equal ones the first. Of all
    averages on that way the best is taken, of equal ones the earliest.

    Parameters
    ----------
    values
        Honest predictions of each candidate, the best first.
    criterion
        What is scored.
    members
        Candidates that may have a weight.
    rounds
        How often one is added.
    """
    counts = torch.zeros(len(values), dtype=torch.float64)
    total = torch.zeros_like(values[0])
    best, kept = -float("inf"), counts.clone()
    kept[0] = 1.0
    for number in range(1, rounds + 1):
        scores = criterion.scores((values + total) / number)
        if int((counts > 0).sum()) >= members:
            scores = scores.masked_fill((counts == 0).to(scores.device), -torch.inf)
        chosen = int(scores.argmax())
        counts[chosen] += 1
        total = total + values[chosen]
        if float(scores[chosen]) > best:
            best, kept = float(scores[chosen]), counts / number
    return kept


def cross_fitted(
    values: Float[Tensor, "p m c"], fold: Tensor, criterion: Criterion, members: int, rounds: int
) -> Float[Tensor, "k p"]:
    """Weights for each fold, chosen on the rows of the other folds: what they predict there is honest."""
    chosen = []
    for number in range(int(fold.max()) + 1):
        others = (fold != number).nonzero()[:, 0]
        chosen.append(greedy_average(values[:, others], criterion.take(others), members, rounds))
    return torch.stack(chosen)
