r"""What `layer_agops` will take, said beforehand: memory, operations, seconds."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import nn

from agop import _checks
from agop.gradients import calling
from agop.gradients.cotangents import Cotangents
from agop.gradients.inputs import Batches
from agop.gradients.layers import names_of, sweep_of
from agop.gradients.needs import Needs
from agop.gradients.passes import Step
from agop.gradients.state import untouched
from agop.gradients.sweep import Look
from agop.gradients.taps import Layers

_TIMED_PASSES = 4


@dataclass(frozen=True)
class LayerCost:
    """What `layer_agops` will take.

    Attributes
    ----------
    n_samples, n_passes
        Samples, and backward passes through each of them: one for each output, or random combination of outputs.
    batch_rows
        Samples a batch.
    operations
        Multiplications and additions of the linear maps, forward and backward, and of the outer products.
    seconds
        As long as the look at a few samples and a batch took here and now say.
    sums, agops, batch
        Bytes: what is summed; the AGOPs; a batch with its graph and gradients.
    layers
        Bytes of sum and AGOP by layer.
    """

    n_samples: int
    n_passes: int
    batch_rows: int
    operations: float
    seconds: float
    sums: int
    agops: int
    batch: int
    layers: Mapping[str, int]

    @property
    def memory(self) -> int:
        """Bytes that are held at once, at most."""
        return self.sums + self.agops + self.batch

    def __str__(self) -> str:
        needs = Needs(self.sums, self.agops, self.batch, {})
        lasts = f"{self.seconds:.1f} s" if self.seconds < 60 else f"{timedelta(seconds=round(self.seconds))}"
        return (
            f"AGOPs of {len(self.layers)} layers, {self.n_samples:,} samples, {self.n_passes:,} backward passes each: about {needs}, "
            f"{self.operations:.1e} operations, {lasts}"
        )


def estimate_layer_agops(
    model: nn.Module,
    X: Batches,
    layers: Layers = None,
    *,
    outputs: int | Sequence[int] | None = None,
    batch_size: int | None = None,
    output: calling.OutputPick = None,
    inputs: Callable[[Any], Any] | None = None,
    mask: calling.MaskPick = None,
    dtype: torch.dtype | None = None,
    check: bool = True,
) -> LayerCost:
    r"""What `layer_agops` of the same arguments will take in memory, operations and time.

    Memory and operations follow from the shapes that one forward pass of a few samples shows: with :math:`m` rows a sample,
    :math:`W` (k, d) and c backward passes a layer multiplies :math:`2 n m k d\, (1 + c)` times and adds, its outer products about
    :math:`n m c\, k (k + 128)`; its sum is (k, k), or (d, d) where that is less work, its AGOP (d, d). Seconds are those of one batch
    with at most four backward passes, which is run for it.

    Parameters
    ----------
    model, X, layers, outputs, batch_size, output, inputs, mask, dtype, check
        As in `layer_agops`. A loader must have a length, and be one that can be read again.

    Returns
    -------
    LayerCost
        `memory` (bytes), `operations`, `seconds`, and what they are made of. Printed, it is a sentence.

    Raises
    ------
    ValueError, TypeError
        As `layer_agops`, or if nobody knows how many samples there are.

    Notes
    -----
    What is not a linear map (attention scores, normalisation, activations) is in the seconds and the batch, and in no operations.

    Examples
    --------
    >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    >>> cost = estimate_layer_agops(net, torch.ones(10, 4))
    >>> cost.n_passes, cost.agops, cost.layers
    (3, 320, {'0': 320, '2': 292})

    """
    sweep = sweep_of(
        model, layers, Cotangents(outputs), output, dtype, mask, batch_size, exact=True, check=check
    )
    if isinstance(X, Iterator):
        raise _unknown("an iterator")
    with untouched(sweep.model, device=sweep.device()):
        begun = time.perf_counter()
        look = sweep.look(X, batch_size, inputs, check)
        looking = time.perf_counter() - begun
        if not look.samples:
            raise _unknown("a loader without a length")
        clock = _Clock(sweep.device())
        timed = sweep_of(
            model, layers, _some(look.passes), output, dtype, mask, look.batch_rows, check=False
        )  # fmt: skip
        timed.heard = clock
        timed.run(_one_batch(X, look, sweep.model), look.batch_rows, inputs, False)
    names, needs = names_of(look.needs.layers), look.needs
    each = {names[view]: own for view, own in needs.layers.items()}
    passes, n = look.passes, look.samples
    per_pass = sum(own.product + own.outer for own in each.values())
    reading = sum(own.reading for own in each.values())
    forward = sum(own.product for own in each.values())
    pass_seconds = clock.one_pass()
    seconds = looking + n / look.batch_rows * (clock.forward + passes * pass_seconds)
    if per_pass > 0:
        seconds += reading * pass_seconds / (look.batch_rows * per_pass)
    return LayerCost(
        n_samples=n,
        n_passes=passes,
        batch_rows=look.batch_rows,
        operations=n * (forward + passes * per_pass) + reading,
        seconds=seconds,
        sums=needs.sums,
        agops=needs.agops,
        batch=needs.batch,
        layers={name: own.sums + own.agop for name, own in each.items()},
    )


class _Clock:
    """The seconds of the passes through the last batch."""

    def __init__(self, device: torch.device | None) -> None:
        self._device = device
        self._stamps: list[float] = []

    def __call__(self, step: Step) -> None:
        if self._device is not None and self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        if not step.done:
            self._stamps = []
        self._stamps.append(time.perf_counter())

    @property
    def forward(self) -> float:
        return self._stamps[1] - self._stamps[0]

    def one_pass(self) -> float:
        """The median of the backward passes; the first one makes what is summed into."""
        each = [b - a for a, b in zip(self._stamps[1:], self._stamps[2:])]
        return statistics.median(each[1:] or each)


def _some(passes: int) -> Cotangents:
    # of the first output, as often as is timed: there may be more passes than outputs
    return Cotangents([0] * min(passes, _TIMED_PASSES))


def _one_batch(X: Any, look: Look, model: nn.Module) -> Any:
    whole = calling.samples_of(X, model)
    if calling.is_whole(whole):
        return calling.some_rows(whole, slice(look.batch_rows))
    return [next(iter(whole))]


def _unknown(got: str) -> ValueError:
    return _checks.bad_value(
        "X", "samples, or a loader with a length that can be read again", got, "pass a part of it as a tensor"
    )
