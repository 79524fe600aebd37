"""The sweep behind `layer_agops`: batches through the model, gradients into one sum per layer and call."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from agop import _checks
from agop.gradients import calling
from agop.gradients.cotangents import Cotangents
from agop.gradients.layer_sum import LayerSum
from agop.gradients.linear_map import LinearMap
from agop.gradients.needs import Needs, needs_of
from agop.gradients.passes import Heard, Step, samples_in
from agop.gradients.probe import Probe, probe
from agop.gradients.pullback import pull_back
from agop.gradients.recorder import Recorder, View
from agop.gradients.sanity import PROBE_ROWS


@dataclass(frozen=True)
class Look:
    """What a look at a few samples told: how many there are, rows a batch, backward passes a batch, and what the sweep needs."""

    samples: int | None
    batch_rows: int
    passes: int
    needs: Needs


@dataclass(eq=False)
class Sweep:
    """One run over the data; `sums` by view afterwards, `order` the order of the calls.

    `heard` is told of every pass. Without `with_weights` the sums are those of the gradients where they are taken, W not applied.
    """

    model: nn.Module
    recorder: Recorder
    cotangents: Cotangents
    output: calling.OutputPick
    dtype: torch.dtype | None
    mask: calling.MaskPick = None
    with_weights: bool = True
    max_memory: int | None = None
    heard: Heard | None = None
    n_samples: int = 0
    sums: dict[View, LayerSum] = field(default_factory=dict)
    order: dict[View, None] = field(default_factory=dict)
    maps: dict[View, LinearMap] = field(default_factory=dict)
    reentrant: bool = False
    _expected: int | None = field(default=None, init=False)
    notes: dict[str, None] = field(default_factory=dict)

    def device(self) -> torch.device | None:
        """Where the model is, or None if it has no parameters."""
        parameter = next(self.model.parameters(), None)
        return None if parameter is None else parameter.device

    def run(self, X: Any, batch_size: int | None, inputs: Callable[[Any], Any] | None, check: bool) -> None:
        """Feed all of `X`."""
        device = self.device()
        with self.recorder.attached():
            look, stream = self._look(X, batch_size, inputs, check)
            look.needs.require(self.max_memory, device)
            with self.recorder.awake(self.model) if self.reentrant else nullcontext():
                for batch, mask in stream:
                    self._batch(calling.on_device(batch, device), mask)

    def look(self, X: Any, batch_size: int | None, inputs: Callable[[Any], Any] | None, check: bool) -> Look:
        """Only look at a few samples of `X`."""
        with self.recorder.attached():
            return self._look(X, batch_size, inputs, check)[0]

    def _look(
        self, X: Any, batch_size: int | None, inputs: Callable[[Any], Any] | None, check: bool
    ) -> tuple[Look, Iterable[tuple[Any, Tensor | None]]]:
        device = self.device()
        X = calling.samples_of(X, self.model)
        if calling.is_whole(X) and (n := calling.n_rows(X)):
            head = next(calling.batches(calling.some_rows(X, slice(PROBE_ROWS)), None, inputs))
            seen = self._probe(calling.on_device(head, device), check)
            batch_size = min(n, batch_size or seen.rows_per_block(n, calling.bytes_per_row(X)))
            return self._seen(seen, n, batch_size), calling.masked_batches(X, batch_size, inputs, self.mask)
        stream = calling.masked_batches(X, None, inputs, self.mask)
        first = next(stream)
        seen = self._probe(calling.on_device(first[0], device), check)
        rows = calling.n_rows(first[0])
        return self._seen(seen, samples_in(X, rows), rows), chain([first], stream)

    def _seen(self, seen: Probe, samples: int | None, batch_rows: int) -> Look:
        recorder, self._expected = self.recorder, samples
        needs = needs_of(
            recorder.places,
            recorder.views,
            dtype=self.dtype,
            replicates=len(self.cotangents.replicate_sizes),
            with_weights=self.with_weights,
            batch_rows=batch_rows,
            bytes_per_row=seen.bytes_per_row,
        )
        return Look(samples, batch_rows, self.cotangents.count(seen.n_outputs), needs)

    def _probe(self, batch: Any, check: bool) -> Probe:
        # its backward passes may run a checkpoint's layers again
        with self.recorder.maps.active():
            seen = probe(self.model, batch, self._forward_for_probe, check=check)
        # a layer that ran without recording was inside a checkpoint, even where no graph leads there
        self.reentrant = seen.reentrant or bool(self.recorder.unrecorded)
        self.recorder.release()
        return seen

    def _forward_for_probe(self, batch: Any, rooted: bool) -> tuple[Tensor, Sequence[Tensor]]:
        leaves: list[Tensor] = []
        y = self._forward(batch, leaves if rooted else None)
        # where the model reads integers, the first layers stand in for it, unless their first axis may be
        # tokens
        rooted_at = [leaf for leaf in self.recorder.leaves if leaf.ndim < 2 or leaf.shape[0] != leaf.shape[1]]
        return y, leaves or rooted_at

    def _forward(
        self, batch: Any, leaves: list[Tensor] | None = None, mask: Tensor | None = None
    ) -> Float[Tensor, "b c"]:
        first = calling.first_tensor(batch)
        with self.recorder.forward(0 if first is None or not first.ndim else len(first)):
            returned = calling.call(self.model, calling.copied(batch, leaves))
        return calling.rows_of_output(returned, self.output, mask)

    def _batch(self, batch: Any, mask: Tensor | None) -> None:
        recorder = self.recorder
        self._tell(calling.n_rows(batch))
        y = self._forward(batch, [] if self.reentrant else None, mask)
        self._told(recorder)
        if not y.requires_grad:
            raise _independent(next(iter(recorder.views)))
        n_rows: dict[View, int] = {}
        replicate = 0

        def sink(view: View, used: LinearMap, gradient: Tensor) -> None:
            rows = unpadded(used.rows(gradient), gradient, mask, time_first=used.time_first)
            if view not in self.sums:
                matrix = None if used.at_input or not self.with_weights else used.matrix
                self.sums[view] = LayerSum.like(
                    rows, matrix, len(self.cotangents.replicate_sizes), self.dtype
                )
            n_rows[view] = rows.shape[1]
            self.sums[view].add(rows, replicate)

        left = passes = self.cotangents.count(y.shape[1])
        self._tell(len(y), 1, 1 + passes)
        with recorder.backward(sink):
            for replicate, cotangent in self.cotangents.passes(y):  # noqa: B007 (the sink reads it)
                left -= 1
                pull_back(y, cotangent, recorder.leaves, keep=left > 0, reentrant=self.reentrant)
                self._tell(len(y), 1 + passes - left, 1 + passes)
        for view in recorder.views:
            if view not in recorder.fired:
                raise _independent(view)
            self.sums[view].n_rows += n_rows[view]
            self.order[view] = None
            self.maps[view] = recorder.views[view]
        self.n_samples += y.shape[0]
        recorder.release()

    def _tell(self, rows: int, done: int = 0, of: int = 0) -> None:
        if self.heard is not None:
            with self.recorder.maps.paused():
                self.heard(Step(rows, done, of, self._expected))

    def _told(self, recorder: Recorder) -> None:
        """Refuse what was chosen by its name and not called; note what else is missing."""
        called = {view.layer for view in recorder.views}
        self.notes |= dict.fromkeys(recorder.choice.require(called, recorder.maps.seen.unread))


def _independent(view: View) -> ValueError:
    return _checks.bad_value(
        "layers",
        "layers that the output depends on",
        f"layer {view.layer!r}, from which no gradient path leads to the output",
        "leave it out, or look for a detach() or no_grad() behind it",
    )


def unpadded(
    rows: Float[Tensor, "g m k"],
    gradient: Tensor,
    mask: Bool[Tensor, "b p"] | None,
    *,
    time_first: bool = False,
) -> Float[Tensor, "g r k"]:
    """The rows at positions that count, where the gradient has the positions of the mask, samples or positions first."""
    if mask is None or mask.ndim != 2 or rows.shape[1] != mask.numel() or gradient.ndim > 3:
        return rows
    first, last = tuple(gradient.shape[:2]), (gradient.shape[0], gradient.shape[-1])
    if time_first and (gradient.ndim == 2 or tuple(mask.T.shape) == first):
        kept = mask.T
    elif gradient.ndim == 2 or tuple(mask.shape) in (first, last):
        kept = mask
    elif tuple(mask.T.shape) == first:
        kept = mask.T
    else:
        return rows
    return rows[:, kept.flatten().to(rows.device)]
