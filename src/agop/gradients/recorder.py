"""The hooks of a layer sweep: they see every call of every chosen layer and receive the gradients there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from agop import _checks
from agop.gradients.reads import Read, reads_of
from agop.gradients.taps import hooked


@dataclass(frozen=True)
class View:
    """One call of one layer in a forward pass: its name with the suffix of the read, and which call it is."""

    layer: str
    index: int


Sink = Callable[[View, Read, Tensor], None]
"""Takes the gradient at a view."""


def reads_by_name(model: nn.Module, modules: dict[str, nn.Module]) -> dict[str, tuple[nn.Module, Read]]:
    """The reads of the chosen modules, by the name of their view.

    Attention uses the weight of its `out_proj` without calling that module, so it is tapped at the attention
    itself.
    """
    attention = {id(m.out_proj): m for m in model.modules() if isinstance(m, nn.MultiheadAttention)}
    reads: dict[str, tuple[nn.Module, Read]] = {}
    for name, module in modules.items():
        if id(module) in attention:
            parent = attention[id(module)]
            reads[name] = (parent, reads_of(parent)[1])
        else:
            reads.update({name + read.suffix: (module, read) for read in reads_of(module)})
    return reads


class Recorder:
    """Hooks on the chosen reads; the gradients at every call go to a sink during backward passes.

    A tensor that needs no gradient where a layer is tapped starts a graph there (`leaves`), so that nothing
    upstream of the first chosen layer is recorded. Gradients come from tensor hooks that are set before the
    model goes on: they see the tensor as the layer wrote it, even if the next layer works on it in place.
    """

    def __init__(self, reads: dict[str, tuple[nn.Module, Read]]) -> None:
        self.reads = reads
        self.leaves: list[Tensor] = []
        self.views: dict[View, Read] = {}
        self.fired: set[View] = set()
        self.unrecorded: dict[str, View] = {}
        self._counts: dict[str, int] = {}
        self._phase = "forward"
        self._sink: Sink | None = None

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Have the hooks on the modules during this block."""

        def register(name: str, module: nn.Module, read: Read) -> Callable[[], Any]:
            return lambda: read.attach(module, partial(self._emit, name, read))

        with hooked([register(name, module, read) for name, (module, read) in self.reads.items()]):
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

        parts = [part for part in model.modules() if next(part.children(), None) is None]
        with hooked([partial(part.register_forward_hook, after) for part in parts]):
            yield

    @contextmanager
    def forward(self) -> Iterator[None]:
        """The block in which the model runs forward; forgets the views of the batch before."""
        self.leaves, self.views, self.fired = [], {}, set()
        self.unrecorded, self._counts, self._phase = {}, {}, "forward"
        try:
            yield
        finally:
            # from here on only a checkpoint calls the layers
            self._phase = "again"

    @contextmanager
    def backward(self, sink: Sink) -> Iterator[None]:
        """The block in which gradients are pulled back; they go to `sink`."""
        self._sink = sink
        try:
            yield
        finally:
            self._sink = None

    def release(self) -> None:
        """Let go of the graph of the last batch."""
        self.leaves = []

    def _emit(self, name: str, read: Read, tensor: Tensor, part: str) -> Tensor:
        layer, recording = name + part, torch.is_grad_enabled()
        if self._phase == "forward":
            view = View(layer, self._counts.get(layer, 0))
            self._counts[layer] = view.index + 1
            self.views[view] = read
            if not recording:
                if layer in self.unrecorded:
                    raise _checks.bad_value(
                        "model",
                        "layers that are called once inside reentrant checkpoints",
                        f"layer {layer!r} called again",
                        "checkpoint with use_reentrant=False",
                    )
                self.unrecorded[layer] = view
        else:
            # only the reentrant kind of checkpoint pulls gradients through its second run; the other kind
            # compares what the two runs save, so that they have to be alike
            if layer not in self.unrecorded:
                return self._separate(read, tensor) if recording else tensor
            view = self.unrecorded[layer]
        if not recording:
            return tensor
        tensor = self._separate(read, tensor)
        tensor.register_hook(partial(self._receive, view, read))
        return tensor

    def _separate(self, read: Read, tensor: Tensor) -> Tensor:
        if not tensor.requires_grad:
            return self._rooted(tensor)
        # what enters a module may also go elsewhere (a skip connection): the copy is read by this module only;
        # and a view that is then changed in place gets a new place in the graph, which hooks do not follow
        return tensor.clone() if read.weight is None or tensor._is_view() else tensor

    def _rooted(self, tensor: Tensor) -> Tensor:
        leaf = tensor.detach().requires_grad_()
        if self._phase == "forward":
            self.leaves.append(leaf)
        return leaf.clone()

    def _receive(self, view: View, read: Read, gradient: Tensor) -> None:
        if self._sink is not None:
            self.fired.add(view)
            self._sink(view, read, gradient.detach())
