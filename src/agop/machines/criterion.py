"""What a search goes by: a proper loss of honest predictions, row by row, or any scorer of scikit-learn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from agop.machines.probabilities import shares_of

Scorer = Callable[[Float[Tensor, "m c"], Int[Tensor, " m"]], float]
"""A score (larger is better) of values at some rows, which are named by their numbers."""


@dataclass(frozen=True, eq=False)
class Criterion:
    """The loss of predictions at some rows.

    Attributes
    ----------
    targets
        Regression: what is to be predicted, (m, c), centred and in units of its spread. Classification: one-hot, 0 and 1.
    is_classes
        Which of both: then values are ±1 targets, and the loss is the Brier score of their shares (halved for two classes).
    weight
        How much each row counts, (m,).
    rows
        The numbers of these rows among all.
    scorer
        A scorer that replaces the loss.
    """

    targets: Float[Tensor, "m c"]
    is_classes: bool
    weight: Float[Tensor, " m"]
    rows: Int[Tensor, " m"]
    scorer: Scorer | None = None

    def take(self, chosen: Tensor) -> Criterion:
        """The criterion on some of its rows."""
        return replace(self, targets=self.targets[chosen], weight=self.weight[chosen], rows=self.rows[chosen])

    def losses(self, values: Float[Tensor, "*p m c"], *, shares: bool = False) -> Float[Tensor, "*p m"]:
        """Of each row; `values` are probabilities already if `shares`."""
        values = values if shares or not self.is_classes else shares_of(values)
        squares = (values - self.targets).square()
        if self.is_classes:
            return squares.sum(-1) / (2 if squares.shape[-1] == 2 else 1)
        return squares.mean(-1)

    def scores(self, values: Float[Tensor, "*p m c"]) -> Float[Tensor, "*p"]:
        """Of each set of values: larger is better."""
        if self.scorer is None:
            return -(self.losses(values) @ self.weight) / self.weight.sum()
        flat = values.reshape(-1, *values.shape[-2:])
        found = torch.tensor([self.scorer(one, self.rows) for one in flat], dtype=torch.float64)
        return found.reshape(values.shape[:-2])

    def score(self, values: Float[Tensor, "m c"]) -> float:
        """Of one set of values."""
        return float(self.scores(values[None])[0])


def standard_error(losses: Float[Tensor, " m"], weight: Float[Tensor, " m"]) -> tuple[float, float]:
    r"""A weighted mean and its standard error, :math:`\sqrt{\sum_i w_i^2 (l_i - \bar l)^2} / \sum_i w_i`."""
    share = weight / weight.sum()
    mean = (share * losses).sum()
    return float(mean), float((share * (losses - mean)).square().sum().sqrt())
