"""Every stage of every layer while a network runs: summed or sampled, so that memory does not grow with the samples."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from agop import _checks
from agop.gradients.taps import call_name, hooked, tensor_in
from agop.profiles import pooling
from agop.profiles.follow import Follower
from agop.profiles.positions import BatchLabels
from agop.profiles.stage import StageSums, Wanted

Nonlinearity = str | Callable[[Tensor], Tensor] | None
"""What follows a layer: the name of the module whose output it is, a function of the layer's output, or nothing."""


@dataclass(eq=False)
class ReadCall:
    """One call of one layer in the forward pass, and what was summed there."""

    name: str
    index: int
    module: nn.Module
    linear: bool
    stages: dict[str, StageSums] = field(default_factory=dict)
    follows: str = ""
    left_out: str = ""
    unmasked: int = 0
    """At how many positions it was read where a mask tells other ones apart, which is to be told."""


class Reader:
    """Hooks on the chosen layers that read their stages.

    Everything is read the moment it exists, so that later operations may work in place. A tensor that is the
    output of one layer and the input of the next is read once.

    Parameters
    ----------
    modules
        The layers by name.
    pool
        See `agop.profiles.pooling`.
    nonlinearity
        By layer name, instead of the rule of `agop.profiles.follow`.
    wanted
        What is wanted of a stage, by its name.
    """

    def __init__(
        self,
        model: nn.Module,
        modules: Mapping[str, nn.Module],
        pool: str,
        nonlinearity: Mapping[str, Nonlinearity],
        wanted: Callable[[str], Wanted],
    ) -> None:
        self.modules = dict(modules)
        self._wanted = wanted
        self.pool = pool
        self.calls: dict[tuple[str, int], ReadCall] = {}
        self.n_samples = 0
        self._given = {name: _resolved(model, name, value) for name, value in nonlinearity.items()}
        self._follower = Follower(self._reached)
        self._counts: dict[str, int] = {}
        self._waiting: dict[nn.Module, list[ReadCall]] = {}
        self._batch: BatchLabels | None = None
        self._seen: dict[tuple[Any, ...], tuple[weakref.ref[Tensor], StageSums]] = {}
        self._added: set[int] = set()

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Have the hooks on the layers during this block; they do nothing outside of `batch`."""
        attach: list[Callable[[], Any]] = []
        for name, module in self.modules.items():
            attach.append(
                partial(module.register_forward_pre_hook, partial(self._before, name), with_kwargs=True)
            )
            attach.append(partial(module.register_forward_hook, partial(self._after, name), prepend=True))
        for value, _ in self._given.values():
            if isinstance(value, nn.Module):
                attach.append(partial(value.register_forward_hook, self._given_output))
        with hooked(attach):
            yield

    @contextmanager
    def batch(self, batch: BatchLabels) -> Iterator[None]:
        """The block in which the model runs on these samples; rows of those that are picked are kept.

        With a label per position every position is a sample, as with `pool="none"`.
        """
        if batch.per_position and self.pool == "flatten":
            remedy = "take pool='none', where every position is a sample"
            raise _checks.bad_value("pool", "'none' for labels per position", "'flatten'", remedy)
        self.pool = "none" if batch.per_position else self.pool
        self._batch = batch
        try:
            with self._follower:
                yield
            self._follower.finish()
            self.n_samples += len(batch.labels)
        finally:
            self._follower.forget()
            self._counts, self._seen, self._added, self._waiting = {}, {}, set(), {}
            self._batch = None

    def named_calls(self) -> dict[str, ReadCall]:
        """The calls in their order, by name (`name#0`, `name#1` for a layer that is called twice)."""
        counts: dict[str, int] = {}
        for name, index in self.calls:
            counts[name] = max(counts.get(name, 0), index + 1)
        return {call_name(n, i, counts[n]): call for (n, i), call in self.calls.items()}

    def bytes_per_sample(self) -> int:
        """What the kept rows of one sample take, all stages of all layers together."""
        kept = {id(stage): stage.rows for call in self.calls.values() for stage in call.stages.values()}
        return sum(rows.bytes_per_sample for rows in kept.values() if rows is not None)

    def _before(self, name: str, module: nn.Module, args: Any, kwargs: Any) -> None:
        if self._batch is None:
            return
        with self._follower.paused():
            index = self._counts.get(name, 0)
            self._counts[name] = index + 1
            call = self.calls.get((name, index))
            if call is None:
                call = ReadCall(name, index, module, pooling.is_linear_map(module))
                self.calls[name, index] = call
            x = self._samples(call, tensor_in([*args, *kwargs.values()]), "reads")
            if x is None:
                return
            if pooling.is_convolution(module) and self.pool in ("mean", *pooling.ONE_TOKEN):
                self._add(call, "input", x, _geometry(module), lambda: self._mean_patch(call, x))
            elif pooling.is_convolution(module) and self.pool == "none":
                self._add(call, "input", x, (*_geometry(module), "each"), lambda: pooling.patches(x, module))
            else:
                self._add_plain(call, "input", x)

    def _after(self, name: str, module: nn.Module, _args: Any, output: Any) -> None:
        if self._batch is None:
            return
        # calls nest only in modules that contain themselves; the last that began is the one that ends
        call = self.calls[name, self._counts[name] - 1]
        found = tensor_in(output)
        with self._follower.paused():
            y = self._samples(call, found, "gives")
            if y is None:
                return
            if call.linear:
                self._add_plain(call, "projected", y)
            given, told = self._given.get(name, (Ellipsis, ""))
            if given is not Ellipsis:
                call.follows = told
            if isinstance(given, nn.Module):
                self._waiting.setdefault(given, []).append(call)
            elif given is not Ellipsis:
                self._add_plain(call, "output", y if given is None else _applied(given, y, name))
            elif not call.linear:
                self._add_plain(call, "output", y)
            else:
                assert found is not None
                self._follower.watch((name, call.index), found)

    def _given_output(self, module: nn.Module, _args: Any, output: Any) -> None:
        with self._follower.paused():
            for call in self._waiting.pop(module, []):
                value = self._samples(call, tensor_in(output), "is followed by")
                if value is not None:
                    self._add_plain(call, "output", value)

    def _reached(self, key: Any, output: Tensor, path: tuple[str, ...]) -> None:
        call = self.calls[key]
        value = self._samples(call, output, "is followed by")
        if value is not None:
            call.follows = " → ".join(path)
            self._add_plain(call, "output", value)

    def _samples(self, call: ReadCall, tensor: Tensor | None, doing: str) -> Tensor | None:
        """The tensor with samples first; a layer where that is impossible is left out, with the reason."""
        if call.left_out or self._batch is None:
            return None
        n_samples = len(self._batch.labels)
        found = None if tensor is None else self._batch.samples_first(tensor)
        if found is None:
            what = (
                "no tensor"
                if tensor is None
                else f"{tensor.dtype} of shape {tuple(tensor.shape)}".removeprefix("torch.")
            )
            call.left_out = f"it {doing} {what} where there are {n_samples} samples"
            call.stages.clear()
        return found

    def _add_plain(self, call: ReadCall, stage: str, tensor: Tensor) -> None:
        axis = pooling.channel_axis(call.module, tensor)
        assert self._batch is not None
        mask = self._batch.mask_for(tensor, axis)
        if self._batch.mask is not None and mask is None and tensor.ndim > 2:
            call.unmasked = tensor.numel() // (len(tensor) * tensor.shape[axis])
        flat = tensor.ndim <= 2 or self.pool == "flatten"
        reading = ("flat",) if flat else (self.pool, axis % tensor.ndim)
        self._add(call, stage, tensor, reading, lambda: pooling.pooled(tensor, axis, self.pool, mask))

    def _mean_patch(self, call: ReadCall, x: Tensor) -> Float[Tensor, "m d"]:
        assert self._batch is not None
        if self._batch.mask is None:
            return pooling.mean_patch(x, call.module)
        patches = pooling.patches(x, call.module)
        patches = patches.reshape(len(x), -1, patches.shape[1])
        mask = self._batch.mask_for(patches, -1)
        if mask is not None:
            return pooling.masked_mean(patches, mask)
        call.unmasked = patches.shape[1]
        return pooling.mean_patch(x, call.module)

    def _add(
        self,
        call: ReadCall,
        stage: str,
        tensor: Tensor,
        reading: tuple[Any, ...],
        rows: Callable[[], Float[Tensor, "m d"]],
    ) -> None:
        assert self._batch is not None
        wanted = self._wanted(stage)
        place = (id(tensor), tensor._version, wanted, *reading)
        owner = self._seen.get(place)
        same = owner[1] if owner is not None and owner[0]() is tensor else None
        mine = call.stages.setdefault(stage, same or StageSums(wanted))
        if mine is same:
            return
        if id(mine) in self._added:
            raise _checks.bad_value(
                "model",
                "the same flow of tensors between layers for every batch",
                f"another one at layer {call.name!r}",
                "profile one batch at a time",
            )
        values = rows()
        labels = self._batch.of_rows(len(values))
        if labels is None:
            there, wanted_there = len(values) / len(self._batch.labels), self._batch.positions
            told = f"{there:g} position{'s' * (there != 1)}"
            call.left_out = f"it has {told} a sample where the labels have {wanted_there}"
            call.stages.clear()
            return
        mine.add(values, labels, self._batch.n_classes, self._batch.picked)
        self._added.add(id(mine))
        self._seen[place] = (weakref.ref(tensor), mine)


def _applied(function: Callable[[Tensor], Tensor], y: Tensor, layer: str) -> Tensor:
    """What a function of the user's makes of a layer's output: as many samples."""
    result = function(y)
    if not isinstance(result, Tensor) or result.ndim < 2 or len(result) != len(y):
        got = f"shape {tuple(result.shape)}" if isinstance(result, Tensor) else type(result).__name__
        expected = f"for layer {layer!r} a function that gives {len(y)} rows"
        raise _checks.bad_value("nonlinearity", expected, got)
    return result


def _geometry(conv: nn.Module) -> tuple[Any, ...]:
    assert isinstance(conv, (nn.Conv1d, nn.Conv2d, nn.Conv3d))
    return (conv.kernel_size, conv.stride, conv.padding, conv.dilation, conv.padding_mode)


def _resolved(model: nn.Module, layer: str, value: Any) -> tuple[Any, str]:
    """A module or function (None: nothing follows), and what to call it."""
    if value is None:
        return None, ""
    if isinstance(value, str):
        try:
            return model.get_submodule(value), value
        except AttributeError:
            raise _checks.bad_value(
                "nonlinearity", f"for layer {layer!r} the name of a module of the model", repr(value)
            ) from None
    if callable(value):
        return value, getattr(value, "__name__", type(value).__name__)
    raise _checks.bad_type(
        "nonlinearity", "module names, functions or None, by layer", f"{value!r} for layer {layer!r}"
    )
