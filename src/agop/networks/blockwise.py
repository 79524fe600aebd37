"""Block-coordinate training: on every batch a few steps of Adam for one block of parameters after the other, the others held."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from agop import _checks
from agop.networks.training import Epoch, Training, loss_of, order_of


def train_by_blocks(
    model: nn.Module,
    x: Float[Tensor, "n *d"],
    labels: Int[Tensor, " n"],
    training: Training,
    blocks: Sequence[Sequence[nn.Parameter]],
    *,
    inner: int = 10,
) -> Iterator[Epoch]:
    """Train `model` in place by blocks, and yield after every epoch; stop asking to stop.

    Parameters
    ----------
    model, x, labels
        On one device.
    training
        Epochs, batches, their order, loss and rate; each block has an Adam of its own, whatever `optimiser` says.
    blocks
        Of parameters that are trained; those in none stay as they are. An empty block is passed over.
    inner
        Steps a block and batch.

    Raises
    ------
    ValueError
        If the loss is no longer finite, with the epoch.

    Notes
    -----
    As Makantasis et al. 2021 (IEEE Access 9) train factors of a mode while those of the other modes are held. The loss of an epoch is
    that of each batch at its first step.
    """
    _checks.same_length("x", len(x), "labels", len(labels))
    _checks.integer("inner", inner, at_least=1)
    kept = [list(block) for block in blocks if len(block)]
    optimisers = [
        torch.optim.Adam(block, lr=training.lr, weight_decay=training.weight_decay) for block in kept
    ]
    for number in range(1, training.epochs + 1):
        began, rate = time.monotonic(), training.rate(number)
        model.train()
        order = order_of(training.seed, number, len(x)).to(x.device)
        total, right = 0.0, 0
        for rows in order.split(training.batch_size):
            for place, (block, optimiser) in enumerate(zip(kept, optimisers, strict=True)):
                for group in optimiser.param_groups:
                    group["lr"] = rate
                for step in range(inner):
                    outputs = model(x[rows])
                    loss = loss_of(outputs, labels[rows], training.loss)
                    if place == step == 0:
                        total += float(loss.detach()) * len(rows)
                        right += int((outputs.detach().argmax(1) == labels[rows]).sum())
                    gradients = torch.autograd.grad(loss, block)
                    for parameter, gradient in zip(block, gradients, strict=True):
                        parameter.grad = gradient
                    optimiser.step()
                    optimiser.zero_grad(set_to_none=True)
        if not math.isfinite(total):
            raise _checks.bad_value(
                "lr",
                "a training that converges",
                f"a loss of {total} in epoch {number}",
                "take a smaller one",
            )
        yield Epoch(number, total / len(x), right / len(x), rate, time.monotonic() - began)
