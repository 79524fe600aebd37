"""What a layer sweep records: every chosen use of a weight, and every chosen module, in a forward pass, and the gradients there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from agop import _checks
from agop.gradients.choosing import Choice
from agop.gradients.interception import Interception
from agop.gradients.linear_map import LinearMap
from agop.gradients.reads import at_input, map_of_input
from agop.gradients.recognising import Use
from agop.gradients.taps import Layers, hooked
from agop.gradients.wrapped import is_scripted


@dataclass(frozen=True)
class View:
    """One use of one layer in a forward pass: its name, and which one it is.

    The effective map of a module that computes it from several is another layer than its own weight.
    """

    layer: str
    index: int
    effective: bool = False


@dataclass(frozen=True)
class Place:
    """Where the gradient at a view is taken: a tensor of this shape and dtype, for so many samples."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    samples: int


Sink = Callable[[View, LinearMap, Tensor], None]
"""Takes the gradient at a view."""


class Recorder:
    """Watches the chosen layers; the gradients at every call go to a sink during backward passes.

    A tensor that needs no gradient where a layer is tapped starts a graph there (`leaves`), so that nothing
    upstream of the first chosen layer is recorded. Gradients come from tensor hooks that are set before the
    model goes on: they see the tensor as the layer wrote it, even if the next layer works on it in place.
    """

    def __init__(self, model: nn.Module, layers: Layers, *, exact: bool = True) -> None:
        self.maps = Interception(model, self)
        self.choice = Choice(model, layers, self.maps.seen.names)
        if not exact:
            self.choice.exact = set()
        self.leaves: list[Tensor] = []
        self.views: dict[View, LinearMap] = {}
        self.places: dict[View, Place] = {}
        self.fired: set[View] = set()
        self.unrecorded: dict[tuple[str, bool], View] = {}
        self._whole: dict[str, nn.Module] | None = None
        self._own: set[int] = set()
        self._counts: dict[tuple[str, bool], int] = {}
        self._phase = "forward"
        self._samples = 0
        self._checkpointed = False
        self._sink: Sink | None = None

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Have the hooks on the modules during this block."""

        def register(name: str, module: nn.Module) -> Callable[[], Any]:
            return lambda: at_input(module, partial(self._whole_reads, name, module))

        whole = [register(name, module) for name, module in self.choice.whole.items()]
        with self.maps.attached(), hooked(whole):
            yield

    @contextmanager
    def awake(self, model: nn.Module) -> Iterator[None]:
        """Start a graph at the first module that could have one.

        A reentrant checkpoint runs its layers without recording, and again with recording only if what enters
        it needs a gradient, which nothing does when the parameters are frozen and the model reads integers.
        """

        def after(_module: nn.Module, _args: Any, y: Any) -> Any:
            recording = self._phase == "forward" and torch.is_grad_enabled()
            if recording and isinstance(y, Tensor) and y.is_floating_point() and not y.requires_grad:
                return self._rooted(y)
            return None

        parts = [
            part for part in model.modules() if next(part.children(), None) is None and not is_scripted(part)
        ]
        with hooked([partial(part.register_forward_hook, after) for part in parts]):
            yield

    @contextmanager
    def forward(self, n_samples: int) -> Iterator[None]:
        """The block in which the model runs forward; forgets the views of the batch before."""
        self.leaves, self.views, self.places, self.fired = [], {}, {}, set()
        self._samples = n_samples
        self.unrecorded, self._counts, self._phase = {}, {}, "forward"
        self._checkpointed = False
        self.maps.start(n_samples)
        self.choice.start()
        try:
            with self.maps.active():
                yield
        finally:
            # from here on only a checkpoint calls the layers
            self._phase = "again"
        if self._whole is None:
            # what multiplies by its own weights is read there
            self._whole = {n: m for n, m in self.choice.whole.items() if id(m) not in self._own}
            self.views = {view: used for view, used in self.views.items() if not self._superseded(view.layer)}

    @contextmanager
    def backward(self, sink: Sink) -> Iterator[None]:
        """The block in which gradients are pulled back; they go to `sink`."""
        self._sink = sink
        try:
            # only a checkpoint runs layers here
            with self.maps.active() if self.unrecorded or self._checkpointed else nullcontext():
                yield
        finally:
            self._sink = None

    def release(self) -> None:
        """Let go of the graph of the last batch."""
        self.leaves = []

    def reads(self, uses: Sequence[Use], x: Tensor) -> Tensor:
        """Tap what an operation reads whose gradient is taken there."""
        chosen = self._chosen(uses) if uses[0].map.at_input else []
        return self._emit(chosen, x) if chosen else x

    def gives(self, uses: Sequence[Use], x: Tensor, y: Tensor) -> Tensor:
        """Tap what an operation gives."""
        chosen = [] if uses[0].map.at_input else self._chosen(uses)
        return self._emit(chosen, y) if chosen else y

    def _chosen(self, uses: Sequence[Use]) -> list[tuple[str, bool, LinearMap]]:
        chosen = self.choice.among(uses)
        self._own.update(id(use.name.module) for _, use in chosen)
        return [
            (name, use.effective, replace(use.map, time_first=True) if use.time_first else use.map)
            for name, use in chosen
        ]

    def _superseded(self, name: str) -> bool:
        return name in self.choice.whole and self._whole is not None and name not in self._whole

    def _whole_reads(self, name: str, module: nn.Module, tensor: Tensor) -> Tensor:
        if self._superseded(name):
            return tensor
        with self.maps.paused():
            return self._emit([(name, False, map_of_input(module))], tensor)

    def _emit(self, chosen: list[tuple[str, bool, LinearMap]], tensor: Tensor) -> Tensor:
        """Have the gradient at this tensor sent to the sink, for all layers that it belongs to."""
        recording = torch.is_grad_enabled()
        views: list[tuple[View, LinearMap]] = []
        for name, effective, used in chosen:
            key = name, effective
            if self._phase == "forward":
                view = View(name, self._counts.get(key, 0), effective)
                self._counts[key] = view.index + 1
                self.views[view] = used
                self.places[view] = Place(tuple(tensor.shape), tensor.dtype, self._samples)
                if not recording:
                    if key in self.unrecorded:
                        raise _checks.bad_value(
                            "model",
                            "layers that are called once inside reentrant checkpoints",
                            f"layer {name!r} called again",
                            "checkpoint with use_reentrant=False",
                        )
                    self.unrecorded[key] = view
                views.append((view, used))
            elif key in self.unrecorded:
                views.append((self.unrecorded[key], used))
            # only the reentrant kind of checkpoint pulls gradients through its second run; the other kind
            # compares what the two runs save, so that they have to be alike
        if not recording:
            return tensor
        self._checkpointed = self._checkpointed or _are_saved_otherwise()
        tensor = self._separate(chosen[0][2], tensor)
        for view, used in views:
            tensor.register_hook(partial(self._receive, view, used))
        return tensor

    def _separate(self, used: LinearMap, tensor: Tensor) -> Tensor:
        if not tensor.requires_grad:
            return self._rooted(tensor)
        # what enters a module may also go elsewhere (a skip connection): the copy is read by this module only;
        # and a view that is then changed in place gets a new place in the graph, which hooks do not follow
        return tensor.clone() if used.at_input or tensor._is_view() else tensor

    def _rooted(self, tensor: Tensor) -> Tensor:
        leaf = tensor.detach().requires_grad_()
        if self._phase == "forward":
            self.leaves.append(leaf)
        return leaf.clone()

    def _receive(self, view: View, used: LinearMap, gradient: Tensor) -> None:
        if self._sink is not None:
            self.fired.add(view)
            with self.maps.paused():
                self._sink(view, used, gradient.detach())


def _are_saved_otherwise() -> bool:
    """Whether what is saved for backward passes goes through hooks, as those of a checkpoint that is not reentrant."""
    top: Any = getattr(torch._C._autograd, "_top_saved_tensors_default_hooks", None)
    return top is None or top(True) is not None
