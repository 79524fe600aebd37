"""Every stage of every layer while a network runs: summed or sampled, so that memory does not grow with the samples."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from agop import _checks
from agop.gradients.choosing import Choice
from agop.gradients.interception import Interception
from agop.gradients.linear_map import Geometry, LinearMap
from agop.gradients.positions import Positions
from agop.gradients.recognising import Use
from agop.gradients.taps import Layers, hooked, tensor_in
from agop.profiles import pooling
from agop.profiles.follow import Follower
from agop.profiles.positions import BatchLabels
from agop.profiles.read_call import (
    Key,
    Nonlinearity,
    ReadCall,
    applied,
    belongs_to_layer,
    named_calls,
    resolved,
)
from agop.profiles.stage import StageSums, Wanted


class Reader:
    """Watches the chosen layers and reads their stages.

    Everything is read the moment it exists, so that later operations may work in place. A tensor that is the
    output of one layer and the input of the next is read once.

    Parameters
    ----------
    layers
        Which layers, see `agop.gradients.choosing`.
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
        layers: Layers,
        pool: str,
        nonlinearity: Mapping[str, Nonlinearity],
        wanted: Callable[[str], Wanted],
    ) -> None:
        self._positions = Positions()
        self.maps = Interception(model, self, self._positions)
        self.choice = Choice(model, layers, self.maps.seen.names)
        self._wanted = wanted
        self.pool = pool
        self.calls: dict[Key, ReadCall] = {}
        self.n_samples = 0
        self._given = {name: resolved(model, name, value) for name, value in nonlinearity.items()}
        matrices = (name for name, _ in self.maps.seen.matrices().values())
        known = list(dict.fromkeys([*self.choice.modules, *matrices]))
        for name in self._given:
            _checks.one_of("nonlinearity", name, known)
        self._follower = Follower(self._reached, self._is_looked_through)
        self._counts: dict[tuple[str, str], int] = {}
        self._waiting: dict[nn.Module, list[tuple[Key, ReadCall]]] = {}
        self._batch: BatchLabels | None = None
        self._open: list[tuple[Key, ReadCall]] = []
        self._seen: dict[tuple[Any, ...], tuple[weakref.ref[Tensor], StageSums]] = {}
        self._added: set[int] = set()

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Have the hooks on the layers during this block; they do nothing outside of `batch`."""
        attach: list[Callable[[], Any]] = []
        for name, module in self.choice.whole.items():
            attach.append(
                partial(module.register_forward_pre_hook, partial(self._before, name), with_kwargs=True)
            )
            attach.append(partial(module.register_forward_hook, partial(self._after, name), prepend=True))
        for value, _ in self._given.values():
            if isinstance(value, nn.Module):
                attach.append(partial(value.register_forward_hook, self._given_output))
        with self.maps.attached(), hooked(attach):
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
        self.maps.start(len(batch.labels))
        self.choice.start()
        try:
            # the innermost sees the operations first, and the follower those that it makes of them
            with self._follower, self.maps.active():
                yield
            with self.maps.paused():
                self._follower.finish()
            self.n_samples += len(batch.labels)
        finally:
            self._follower.forget()
            self._counts, self._seen, self._added, self._waiting, self._open = {}, {}, set(), {}, []
            self._batch = None

    def named_calls(self) -> dict[str, ReadCall]:
        """The calls in their order, by name (`name#0`, `name#1` for a layer that is called twice)."""
        return named_calls(self.calls)

    def bytes_per_sample(self) -> int:
        """What the kept rows of one sample take, all stages of all layers together."""
        kept = {id(stage): stage.rows for call in self.calls.values() for stage in call.stages.values()}
        return sum(rows.bytes_per_sample for rows in kept.values() if rows is not None)

    def _call(self, name: str, how: str, module: nn.Module, used: LinearMap | None) -> tuple[Key, ReadCall]:
        index = self._counts.get((name, how), 0)
        self._counts[name, how] = index + 1
        key = name, index, how
        if key not in self.calls:
            self.calls[key] = ReadCall(name, index, module, used)
        return key, self.calls[key]

    def reads(self, uses: Sequence[Use], x: Tensor) -> Tensor:
        """Read the input stages of the layers that this operation is."""
        self._open = []
        if self._batch is None:
            return x
        with self._paused():
            for name, use in self.choice.among(uses):
                how = "effective" if use.effective else "use"
                key, call = self._call(name, how, use.name.module, use.map)
                call.time_first = use.time_first
                self._open.append((key, call))
                self._read_input(call, use.map, x)
        return x

    def gives(self, uses: Sequence[Use], x: Tensor, y: Tensor) -> Tensor:
        """Read the other stages, or wait for the nonlinearity."""
        if any(use.effective for use in uses):
            self.reads(uses, x)
        taken, self._open = self._open, []
        with self._paused():
            for key, call in taken:
                used = call.map
                assert used is not None
                call.ndim, call.merged = y.ndim, self._positions.are_merged(y)
                value = self._samples(call, used.outputs(y), "gives", y)
                if value is not None:
                    self._give(key, call, value, y)
        return y

    def _read_input(self, call: ReadCall, used: LinearMap, x: Tensor) -> None:
        geometry = used.geometry
        if geometry is not None and self.pool == "flatten":
            # as it is, before a circular or reflecting padding
            x = self.maps.unpadded(x)
        h = self._samples(call, used.inputs(x), "reads", x)
        if h is None:
            return
        if geometry is not None and self.pool in ("mean", *pooling.ONE_TOKEN):
            self._add(call, "input", h, (geometry,), lambda: self._mean_patch(call, h, geometry))
        elif geometry is not None and self.pool == "none":
            self._add(call, "input", h, (geometry, "each"), lambda: pooling.patches(h, geometry))
        else:
            self._add_plain(call, "input", h)

    def _give(self, key: Key, call: ReadCall, value: Tensor, y: Tensor) -> None:
        """A layer has given `value`, which is the tensor `y` with samples first."""
        if call.linear:
            self._add_plain(call, "projected", value)
        given, told = self._given.get(call.name, (Ellipsis, ""))
        if given is not Ellipsis:
            call.follows = told
        if isinstance(given, nn.Module):
            self._waiting.setdefault(given, []).append((key, call))
        elif given is not Ellipsis:
            self._add_plain(call, "output", value if given is None else applied(given, value, call.name))
        elif not call.linear:
            self._add_plain(call, "output", value)
        else:
            self._follower.watch(key, y)

    @contextmanager
    def _paused(self) -> Iterator[None]:
        with self._follower.paused(), self.maps.paused():
            yield

    def _before(self, name: str, module: nn.Module, args: Any, kwargs: Any) -> None:
        if self._batch is None:
            return
        with self._paused():
            _, call = self._call(name, "whole", module, None)
            x = self._samples(call, tensor_in([*args, *kwargs.values()]), "reads")
            if x is not None:
                self._add_plain(call, "input", x)

    def _after(self, name: str, module: nn.Module, _args: Any, output: Any) -> None:
        if self._batch is None:
            return
        # calls nest only in modules that contain themselves; the last that began is the one that ends
        key = name, self._counts[name, "whole"] - 1, "whole"
        call = self.calls[key]
        found = tensor_in(output)
        with self._paused():
            y = self._samples(call, found, "gives")
            if y is not None and found is not None:
                self._give(key, call, y, found)

    def _given_output(self, module: nn.Module, _args: Any, output: Any) -> None:
        with self._paused():
            for _, call in self._waiting.pop(module, []):
                value = self._samples(call, tensor_in(output), "is followed by")
                if value is not None:
                    self._add_plain(call, "output", value)

    def _reached(self, key: Any, output: Tensor, path: tuple[str, ...]) -> None:
        call = self.calls[key]
        with self.maps.paused():
            shaped = call.map is not None and output.ndim == call.ndim
            value = self._samples(
                call, call.map.outputs(output) if shaped and call.map else output, "is followed by", output
            )
            if value is not None:
                call.follows = " → ".join(path)
                self._add_plain(call, "output", value)

    def _is_looked_through(self, name: str, args: Any, kwargs: Any, keys: Sequence[Any]) -> bool:
        return belongs_to_layer(name, args, [self.calls[key] for key in keys], self.maps.seen.origins)

    def _samples(
        self, call: ReadCall, tensor: Tensor | None, doing: str, source: Tensor | None = None
    ) -> Tensor | None:
        """The tensor with samples first; a layer where that is impossible is left out, with the reason.

        `source` is the tensor of the model that it comes from.
        """
        if call.left_out or self._batch is None:
            return None
        n_samples = len(self._batch.labels)
        if call.time_first and tensor is not None and tensor.ndim == 2 and tensor.shape[0] % n_samples == 0:
            tensor = tensor.reshape(-1, n_samples, tensor.shape[1])
        if call.time_first and tensor is not None and tensor.ndim == 3 and tensor.shape[1] == n_samples:
            tensor = tensor.transpose(0, 1)
        found = None if tensor is None else self._batch.samples_first(tensor)
        if found is None and tensor is not None and tensor.is_floating_point():
            merged = self._positions.are_merged(tensor if source is None else source)
            # what follows a layer is seen before its positions are
            if merged or (doing == "is followed by" and call.merged and len(tensor) % n_samples == 0):
                found = tensor.reshape(n_samples, -1, *tensor.shape[1:])
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
        axis = pooling.channel_axis(call.module, tensor) if call.map is None else call.map.channels
        assert self._batch is not None
        mask = self._batch.mask_for(tensor, axis)
        if self._batch.mask is not None and mask is None and tensor.ndim > 2:
            call.unmasked = tensor.numel() // (len(tensor) * tensor.shape[axis])
        flat = tensor.ndim <= 2 or self.pool == "flatten"
        reading = ("flat",) if flat else (self.pool, axis % tensor.ndim)
        self._add(call, stage, tensor, reading, lambda: pooling.pooled(tensor, axis, self.pool, mask))

    def _mean_patch(self, call: ReadCall, x: Tensor, geometry: Geometry) -> Float[Tensor, "m d"]:
        assert self._batch is not None
        if self._batch.mask is None:
            return pooling.mean_patch(x, geometry)
        patches = pooling.patches(x, geometry)
        patches = patches.reshape(len(x), -1, patches.shape[1])
        mask = self._batch.mask_for(patches, -1)
        if mask is not None:
            return pooling.masked_mean(patches, mask)
        call.unmasked = patches.shape[1]
        return pooling.mean_patch(x, geometry)

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
