"""Training of a classifier, epoch by epoch: one optimiser for the whole run, and it continues where it was cut off.

A run that was cut off and continued gives the same weights, bit for bit, as one that was not: the order of the
samples and the masks of the package's own dropout come from (seed, epoch) and the learning rate from the epoch, so
that weights and the optimiser's buffers are all there is to save.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from agop import _checks
from agop.networks.dropout import restart_dropout
from agop.networks.names import LOSSES, OPTIMISERS, SCHEDULES
from agop.networks.streams import stream

_ORDER = 2
"""The use of a run's seed that orders the samples; 0 and 1 initialise."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """How to train.

    Attributes
    ----------
    epochs, batch_size, lr, momentum, weight_decay
        As usual; momentum is that of SGD.
    optimiser
        "sgd" or "adam".
    schedule
        Of the learning rate: "constant", "cosine" to 0 over all epochs, "step" (a tenth after half, a hundredth after three quarters).
    loss
        "mse": the mean over samples and classes of the squared difference to targets of ±1; or "cross-entropy".
    seed
        Of the order of the samples.
    """

    epochs: int = 100
    batch_size: int = 128
    lr: float = 0.05
    optimiser: str = "sgd"
    momentum: float = 0.0
    weight_decay: float = 0.0
    schedule: str = "constant"
    loss: str = "mse"
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what could never be right."""
        _checks.integer("epochs", self.epochs, at_least=0)
        _checks.integer("batch_size", self.batch_size, at_least=1)
        _checks.integer("seed", self.seed, at_least=0)
        _checks.real("lr", self.lr, above=0)
        _checks.real("momentum", self.momentum, at_least=0, at_most=1)
        _checks.real("weight_decay", self.weight_decay, at_least=0)
        _checks.one_of("optimiser", self.optimiser, OPTIMISERS)
        _checks.one_of("schedule", self.schedule, SCHEDULES)
        _checks.one_of("loss", self.loss, LOSSES)

    def rate(self, epoch: int) -> float:
        """The learning rate of an epoch, counted from 1."""
        done = (epoch - 1) / max(1, self.epochs)
        if self.schedule == "cosine":
            return self.lr * (1 + math.cos(math.pi * done)) / 2
        if self.schedule == "step":
            return self.lr * (0.01 if done >= 0.75 else 0.1 if done >= 0.5 else 1.0)
        return self.lr

    def make_optimiser(self, model: nn.Module) -> torch.optim.Optimizer:
        """The optimiser of all parameters that are trained."""
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        if self.optimiser == "adam":
            return torch.optim.Adam(parameters, lr=self.lr, weight_decay=self.weight_decay)
        return torch.optim.SGD(parameters, lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay)


@dataclass(frozen=True)
class Epoch:
    """What an epoch was like: mean loss and accuracy over its batches (while the weights moved), seconds."""

    number: int
    loss: float
    accuracy: float
    rate: float
    seconds: float


def order_of(seed: int, epoch: int, n: int) -> Int[Tensor, " n"]:
    """The order of n samples in an epoch: a function of the seed and the epoch only."""
    return torch.randperm(n, generator=stream(seed, _ORDER, epoch))


def loss_of(outputs: Float[Tensor, "n c"], labels: Int[Tensor, " n"], loss: str) -> Float[Tensor, ""]:
    """The training loss of a batch, a mean over samples (and classes, for "mse")."""
    if loss == "cross-entropy":
        return F.cross_entropy(outputs, labels)
    targets = torch.full_like(outputs, -1.0).scatter_(1, labels[:, None], 1.0)
    return F.mse_loss(outputs, targets)


def train(
    model: nn.Module,
    x: Float[Tensor, "n *d"],
    labels: Int[Tensor, " n"],
    training: Training,
    *,
    optimiser: torch.optim.Optimizer | None = None,
    done: int = 0,
) -> Iterator[Epoch]:
    """Train `model` in place, and yield after every epoch; stop asking to stop.

    Parameters
    ----------
    model, x, labels
        On one device. The model is put into training mode at the start of every epoch, so that it may be measured in between.
    optimiser
        One to go on with, as `Training.make_optimiser` makes it.
    done
        Epochs that were trained before.

    Raises
    ------
    ValueError
        If the loss is no longer finite, with the epoch.
    """
    _checks.same_length("x", len(x), "labels", len(labels))
    optimiser = optimiser or training.make_optimiser(model)
    for number in range(done + 1, training.epochs + 1):
        began = time.monotonic()
        model.train()
        rate = training.rate(number)
        for group in optimiser.param_groups:
            group["lr"] = rate
        restart_dropout(model, training.seed, number)
        order = order_of(training.seed, number, len(x)).to(x.device)
        total, right = torch.zeros((), device=x.device), torch.zeros((), device=x.device)
        for rows in _batches(order, training.batch_size):
            outputs = model(x[rows])
            loss = loss_of(outputs, labels[rows], training.loss)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            total += loss.detach() * len(rows)
            right += (outputs.detach().argmax(1) == labels[rows]).sum()
        mean = float(total) / len(x)
        if not math.isfinite(mean):
            raise _checks.bad_value(
                "lr", "a training that converges", f"a loss of {mean} in epoch {number}", "take a smaller one"
            )
        yield Epoch(number, mean, float(right) / len(x), rate, time.monotonic() - began)


def _batches(order: Tensor, size: int) -> Iterator[Tensor]:
    """Batches in this order; a last one of a single sample joins the one before it, for BatchNorm."""
    starts = list(range(0, len(order), size))
    if len(starts) > 1 and len(order) - starts[-1] == 1:
        starts.pop()
    for index, start in enumerate(starts):
        yield order[start : starts[index + 1] if index + 1 < len(starts) else len(order)]


@torch.no_grad()
def evaluate(
    model: nn.Module,
    x: Float[Tensor, "n *d"],
    labels: Int[Tensor, " n"],
    loss: str,
    *,
    batch_size: int = 512,
) -> tuple[float, float]:
    """Loss and accuracy over samples, in evaluation mode; the mode comes back."""
    modes = [(part, part.training) for part in model.modules()]
    total, right = 0.0, 0
    try:
        model.eval()
        for start in range(0, len(x), batch_size):
            rows = slice(start, start + batch_size)
            outputs = model(x[rows])
            total += float(loss_of(outputs, labels[rows], loss)) * len(outputs)
            right += int((outputs.argmax(1) == labels[rows]).sum())
    finally:
        for part, mode in modes:
            part.training = mode
    return total / len(x), right / len(x)
