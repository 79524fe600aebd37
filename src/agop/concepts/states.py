"""Hidden states of a model's blocks, a row a sample, read in batches; the model is left as it came."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from agop import _checks
from agop._memory import available_memory, human, parse_memory
from agop._progress import ProgressHook, shown
from agop.concepts.blocks import blocks_of
from agop.concepts.feeding import Batch, batches_of
from agop.concepts.positions import Position, checked_position, rows_at
from agop.gradients import calling
from agop.gradients.state import untouched
from agop.gradients.taps import Layers, call_name, hooked, tensor_in
from agop.profiles.network import evaluation_mode
from agop.profiles.pooling import channel_axis, samples_first

_LOG = logging.getLogger("agop")


@dataclass(frozen=True, eq=False)
class HiddenStates:
    """Rows of features of some blocks on the same samples.

    Attributes
    ----------
    blocks
        By name, in the order of the forward pass: (n, d).
    position
        Which position of a sample the rows are from.
    notes
        What was done about the model or its input.
    """

    blocks: Mapping[str, Float[Tensor, "n d"]]
    position: Position = "last"
    notes: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(next(iter(self.blocks.values())))

    def take(self, rows: Any) -> HiddenStates:
        """Some of the samples, by slice, index or mask."""
        rows = torch.from_numpy(rows) if isinstance(rows, np.ndarray) else rows
        return HiddenStates({name: h[rows] for name, h in self.blocks.items()}, self.position, self.notes)


def hidden_states(
    model: nn.Module,
    inputs: Any,
    *,
    layers: Layers = None,
    position: Position = "last",
    batch_size: int | None = None,
    max_memory: int | str | None = None,
    verbose: bool = False,
    progress: ProgressHook | None = None,
) -> HiddenStates:
    """What the blocks of `model` give for each sample.

    Parameters
    ----------
    model
        Any module: one of transformers' as it comes, or one's own. It is run in evaluation mode and left as it was.
    inputs
        Samples along the first axis of a tensor; a mapping of such tensors, as a tokenizer returns with `return_tensors="pt"`; or a loader
        of either. An `attention_mask` in it says which positions count, whichever side the padding is on.
    layers
        Which modules: see `blocks_of`. A module that is called several times is several blocks, `name#0`, `name#1`, …
    position
        "last" token, "first", the "mean" over tokens, or the number of one, negative ones from the end. Blocks without positions, (n, d),
        are taken as they are; of images only the mean can be taken.
    batch_size
        Samples a forward pass; None: about a thousand tokens, or as many samples as fit.
    max_memory
        What the rows of all blocks may take, bytes or a text such as "2GB" (None: half of what is free); n × blocks × d numbers in
        single precision. It is told (logger "agop") and held against this after the first batch.
    verbose, progress
        Show a bar; call a hook with (samples done, of how many, text).

    Raises
    ------
    ValueError, TypeError
        If the input is none, or no block gives a row of features for each sample.
    MemoryError
        If the rows would take more than `max_memory`.
    """
    modules = blocks_of(model, layers)
    position = checked_position(position)
    limit = parse_memory("max_memory", max_memory)
    notes: list[str] = []
    source, n = batches_of(inputs, batch_size)
    taps = _Taps(modules, position, limit, n)
    parameter = next(model.parameters(), None)
    device = None if parameter is None else parameter.device
    with shown(verbose, progress) as tell:
        with evaluation_mode(model, notes), untouched(model), torch.no_grad(), taps.attached(model):
            for batch in source:
                taps.read(model, batch.on(device))
                if tell is not None and n is not None:
                    tell(taps.done, n, "hidden states")
        if n is not None and taps.done != n:
            raise _checks.bad_value("inputs", f"{n} samples", f"{taps.done}")
    return HiddenStates(taps.joined(), position, notes)


class _Enough(BaseException):
    """Ends a forward pass after the last block that is read: what comes after it is not needed."""


class _Taps:
    """Hooks on the blocks, which keep one row a sample."""

    def __init__(
        self, modules: dict[str, nn.Module], position: Position, limit: int | None, n: int | None
    ) -> None:
        self._modules, self._position, self._limit, self._n = modules, position, limit, n
        self._rows: dict[str, list[Tensor]] = {}
        self._now: list[tuple[str, Tensor]] = []
        self._order: list[str] | None = None
        self._batch: Batch | None = None
        self._stops = False
        self.done = 0

    @contextmanager
    def attached(self, model: nn.Module) -> Iterator[None]:
        """The hooks are there in this block."""
        # a hook of somebody else's may have to clean up after the whole pass
        others = any(part._forward_hooks or hasattr(part, "_hf_hook") for part in model.modules())
        wrapped = isinstance(model, nn.parallel.DataParallel | nn.parallel.DistributedDataParallel)
        self._stops = not others and not wrapped

        def attach(name: str, module: nn.Module) -> Callable[[], Any]:
            def after(part: nn.Module, args: Any, output: Any) -> None:
                self._hear(name, part, output)

            return lambda: module.register_forward_hook(after)

        with hooked(attach(name, module) for name, module in self._modules.items()):
            yield

    def _hear(self, name: str, module: nn.Module, output: Any) -> None:
        assert self._batch is not None
        found = tensor_in(output)
        h = None if found is None else samples_first(found, self._batch.samples)
        if h is None or h.ndim < 2:
            got = "no tensor" if found is None else f"shape {tuple(found.shape)}, {found.dtype}"
            expected = f"a floating tensor of {self._batch.samples} samples from block {name!r}"
            raise _checks.bad_value("layers", expected, got, "choose other blocks")
        mask = None if self._batch.mask is None else self._batch.mask.to(h.device)
        rows = rows_at(h, self._position, mask, axis=channel_axis(module, h))
        self._now.append((name, rows.float().cpu()))
        if self._stops and self._order is not None and len(self._now) == len(self._order):
            raise _Enough

    def read(self, model: nn.Module, batch: Batch) -> None:
        """One forward pass, up to the last block once it is known which that is."""
        self._batch, self._now = batch, []
        try:
            with calling.refusals_named(calling.first_tensor(batch.input)):
                calling.call(model, batch.input)
        except _Enough:
            pass
        names = [name for name, _ in self._now]
        if self._order is None:
            self._order = names
            if not names:
                expected = "blocks that the forward pass calls"
                raise _checks.bad_value(
                    "layers", expected, ", ".join(map(repr, self._modules)) + ", not called"
                )
            self._check_memory()
        elif names != self._order:
            raise _checks.bad_value("layers", "blocks that every batch calls in the same order", f"{names}")
        calls: dict[str, int] = {}
        for name, rows in self._now:
            index = calls[name] = calls.get(name, -1) + 1
            self._rows.setdefault(call_name(name, index, names.count(name)), []).append(rows)
        self.done += batch.samples

    def _check_memory(self) -> None:
        each = sum(rows.shape[1] for _, rows in self._now) * 4
        count = self._n or (0 if self._batch is None else self._batch.samples)
        limit = available_memory() // 2 if self._limit is None else self._limit
        if each * count > limit:
            source = "half of what is free" if self._limit is None else "max_memory"
            expected = f"hidden states that fit into {human(limit)} ({source})"
            got = f"{human(each * count)} for {count:,} samples of {len(self._now)} blocks"
            raise MemoryError(
                str(_checks.bad_value("layers", expected, got, "choose fewer blocks or samples"))
            )
        told = human(each * count)
        _LOG.info("hidden states of %s samples in %s blocks: %s", f"{count:,}", len(self._now), told)

    def joined(self) -> dict[str, Tensor]:
        """All rows by block."""
        found = {}
        for name in list(self._rows):
            h = torch.cat(self._rows.pop(name))
            if not bool(torch.isfinite(h).all()):
                bad = int((~torch.isfinite(h)).any(1).sum())
                got = f"NaN or infinite entries in {bad} samples"
                raise _checks.bad_value("inputs", f"finite hidden states of block {name!r}", got)
            found[name] = h
        return found
