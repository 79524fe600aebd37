"""Dropout whose masks are a function of a seed, the layer, the epoch and the step: a run that was cut off continues with the same ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from agop import _checks
from agop.networks.streams import stream

_MASKS = 3
"""The use of a run's seed that drops units; 0 and 1 initialise, 2 orders the samples."""

Drop = float | Sequence[float]
"""A probability, or one for each hidden layer."""


def probability(name: str, value: Any) -> float:
    """Return `value` if it is a probability below 1, else raise."""
    value = _checks.real(name, value, at_least=0, at_most=1)
    if value == 1:
        raise _checks.bad_value(name, "a probability below 1", repr(value), "something must be left to read")
    return value


class DroppedReLU(nn.Dropout):
    r"""ReLU, and then inverted dropout in training mode: a unit is 0 with probability p and :math:`\mathrm{ReLU}(x)/(1-p)` otherwise.

    One module, so that the layers of a network keep their names whether it has dropout or not. In evaluation mode it is the ReLU. The
    masks are drawn on the CPU: the same on every device, and on every rank that has the same seed.

    Parameters
    ----------
    p
        In [0, 1).
    seed, place
        Of the masks: a run, and the layer in it.
    """

    def __init__(self, p: float, seed: int = 0, place: int = 0) -> None:
        super().__init__(probability("p", p))
        self.seed = _checks.integer("seed", seed, at_least=0)
        self.place = _checks.integer("place", place, at_least=0)
        self.epoch = self.step = 0

    def restart(self, seed: int, epoch: int) -> None:
        """Draw the masks of this epoch from its first step on."""
        self.seed, self.epoch, self.step = seed, epoch, 0

    def forward(self, x: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """ReLU of x, in training mode with a mask of its own for every call."""
        kept = F.relu(x)
        if not self.training or self.p == 0:
            return kept
        generator = stream(self.seed, _MASKS, self.place, self.epoch, self.step)
        self.step += 1
        mask = torch.rand(x.shape, generator=generator) >= self.p  # a third of the time that bernoulli_ takes
        return kept * (mask.to(x) / (1 - self.p))


def restart_dropout(model: nn.Module, seed: int, epoch: int) -> None:
    """Make the masks of an epoch a function of the seed and the epoch, in every `DroppedReLU` of a model; others are left alone."""
    for part in model.modules():
        if isinstance(part, DroppedReLU):
            part.restart(seed, epoch)
