"""How well a model answers on the very samples that it is measured on: without that, measures of its layers can't be read.

A network that has not learned, or that gets inputs on another scale than it was trained on, has layers that can be measured all the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from agop.gradients import calling
from agop.gradients.outputs import OutputPick, picked
from agop.gradients.taps import tensor_in
from agop.profiles.labels import ClassIndex

MOST_ENTRIES = 2**22
"""Classes times outputs beyond which no table of them is kept, and nothing is said."""

NEAR_CHANCE = "near chance"
"""The words for a model that has not learned, in every sentence about one."""

_LEARNED = 0.05
"""The share of the way from chance to perfect answers below which a model has hardly learned, where classes are few."""


@dataclass(frozen=True, kw_only=True)
class Scores:
    r"""Accuracy and loss of a classifier on the samples that were measured.

    Attributes
    ----------
    accuracy
        The share of samples whose largest output is that of their class; with one output, whether it is above one half (of a probability)
        or zero (of a logit).
    loss
        Cross-entropy :math:`-\tfrac1n \sum_i \log p_i(y_i)`, of outputs read as logits unless they are probabilities; NaN where an
        output is no number.
    chance
        The share of the largest class: what a constant answer scores.
    samples
        How many were measured.
    """

    accuracy: float
    loss: float
    chance: float
    samples: int

    @property
    def near_chance(self) -> bool:
        """Whether the accuracy can't be told from a constant answer (two standard errors), or is hardly above it."""
        if not math.isfinite(self.accuracy):
            return True
        error = math.sqrt(self.chance * (1 - self.chance) / self.samples)
        hardly = min(self.chance + _LEARNED * (1 - self.chance), 3 * self.chance)
        return self.chance < 1 and self.accuracy < max(self.chance + 2 * error, hardly)

    @property
    def warning(self) -> str:
        """What to say of a model near chance; "" of any other."""
        return not_learned(self.accuracy, self.chance) if self.near_chance else ""

    @classmethod
    def read(cls, entry: Any) -> Scores | None:
        """From what `dataclasses.asdict` made of one and a file kept, or None of nothing; `ValueError` or `TypeError` if it is neither."""
        if entry is None:
            return None
        if not isinstance(entry, dict) or entry.keys() != {"accuracy", "loss", "chance", "samples"}:
            raise TypeError("scores that are none")
        if (
            not all(type(value) in (int, float) for value in entry.values())
            or type(entry["samples"]) is not int
        ):
            raise TypeError("scores that are no numbers")
        shares = (entry["chance"], entry["accuracy"])
        if entry["samples"] < 1 or not all(0 <= share <= 1 or share != share for share in shares):
            raise ValueError("scores that are no shares of samples")
        return cls(**entry)

    def __str__(self) -> str:
        return (
            f"accuracy {self.accuracy:.3f}, cross-entropy {self.loss:.3g} on these {self.samples:,} samples"
        )


def not_learned(accuracy: float, chance: float) -> str:
    """The sentence about a model near chance."""
    return (
        f"accuracy {accuracy:.3f} is {NEAR_CHANCE} ({chance:.3f}): the model has not learned these labels on these inputs, "
        "so measures of collapse say little of it"
    )


class OutputScores:
    """Sums outputs by class while batches pass, whatever the labels are called; which output is which class's is decided at the end."""

    def __init__(self, output: OutputPick) -> None:
        self._output = output
        self._right: Tensor | None = None  # (classes, outputs): how often samples of a class are answered so
        self._logs: Tensor | None = None  # (classes, outputs): sum of log probabilities
        self._given_up = False

    def add(self, returned: Any, index: Int[Tensor, "n *p"]) -> None:
        """Take in what the model gave for a batch, and the class index of each sample."""
        if index.ndim > 1:  # labels of positions: outputs are of samples
            self._given_up = True
        outputs = None if self._given_up else self._rows(returned, len(index))
        classes = int(index.max()) + 1 if len(index) else 0
        if outputs is None or classes * outputs.shape[1] > MOST_ENTRIES:
            self._given_up = True
            return
        if not len(index):
            return
        outputs, index = outputs[index.to(outputs.device) >= 0], index[index >= 0]
        logs = log_probabilities(outputs).cpu()
        if self._logs is not None and self._logs.shape[1] != logs.shape[1]:
            self._given_up = True
            return
        self._grow(classes, logs.shape[1])
        assert self._logs is not None
        assert self._right is not None
        place = index.cpu()
        self._logs.index_add_(0, place, logs)
        self._right.index_put_(
            (place, logs.argmax(1)), torch.ones(len(place), dtype=torch.float64), accumulate=True
        )

    def tables(self, order: Int[Tensor, " k"]) -> tuple[Tensor, Tensor] | None:
        """The sums, a row a class in this order; None where there are none."""
        if self._given_up or self._right is None or self._logs is None:
            return None
        return self._right[order], self._logs[order]

    def become(self, tables: tuple[Tensor, Tensor] | None) -> None:
        """Hold the sums of several processes instead of one's own."""
        self._given_up = tables is None
        self._right, self._logs = (None, None) if tables is None else tables

    def result(self, classes: ClassIndex) -> Scores | None:
        """The scores; None where outputs are no answers about these classes."""
        if self._given_up or self._right is None or self._logs is None or len(classes) < 2:
            return None
        labels, width = classes.classes(), self._logs.shape[1]
        numbered = all(type(label) is int and 0 <= label < width for label in labels)
        if not numbered and len(labels) != width:
            return None
        rows, columns = classes.order(), torch.tensor(labels) if numbered else torch.arange(width)
        counts = self._right.sum(1)
        n = int(counts.sum())
        return Scores(
            accuracy=float(self._right[rows, columns].sum() / n),
            loss=float(-self._logs[rows, columns].sum() / n),
            chance=float(counts.max() / n),
            samples=n,
        )

    def _rows(self, returned: Any, n: int) -> Tensor | None:
        """The outputs, a row a sample, or None if the model gives something else."""
        pick = self._output
        if pick is None and not isinstance(returned, Tensor):
            pick = "logits" if hasattr(returned, "logits") else tensor_in
        try:
            if picked(returned, pick).ndim > 2:  # answers at positions
                return None
            outputs = calling.rows_of_output(returned, pick)
        except (ValueError, TypeError, AttributeError):
            return None
        return outputs.detach() if len(outputs) == n else None

    def _grow(self, classes: int, width: int) -> None:
        if self._logs is None or self._right is None:
            self._logs = self._right = torch.zeros(0, width, dtype=torch.float64)
        missing = classes - len(self._logs)
        if missing > 0:
            more = torch.zeros(missing, width, dtype=torch.float64)
            self._logs, self._right = torch.cat([self._logs, more]), torch.cat([self._right, more])


def log_probabilities(outputs: Float[Tensor, "n c"]) -> Float[Tensor, "n k"]:
    """Log p of each class in float64; one output becomes two classes."""
    values = outputs.double()
    inside = bool(((values >= 0) & (values <= 1)).all())
    if values.shape[1] == 1:
        if inside:
            return torch.cat([1 - values, values], 1).log()
        return torch.cat([F.logsigmoid(-values), F.logsigmoid(values)], 1)
    rounding = 4 * values.shape[1] * torch.finfo(outputs.dtype).eps
    if inside and bool(((values.sum(1) - 1).abs() <= rounding).all()):
        return values.log()
    return values.log_softmax(1)
