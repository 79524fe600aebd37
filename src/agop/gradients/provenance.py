"""Which tensors of a forward pass are weights, that is, computed from parameters and from nothing of the samples?

| kind     | what                                                                    | as a factor              |
|----------|-------------------------------------------------------------------------|--------------------------|
| weight   | parameters, buffers, tensors that the model holds, and what is made of them | W                    |
| spread   | a weight that `expand` or `repeat` has repeated, maybe for every sample | W beside data, else data |
| constant | made on the way from no tensor (zeros for a first state)                | data beside a weight     |
| data     | all else                                                                | data                     |

What is not known counts as data: an operation that cannot be seen hides a weight, and the weight is then listed as unseen.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

CONSTANT, WEIGHT, SPREAD, DATA = range(4)

_SPREADING = frozenset({"expand", "expand_as", "broadcast_to", "repeat", "repeat_interleave", "tile"})
_ASKING = frozenset(
    {"size", "dim", "is_floating_point", "numel", "stride", "is_contiguous", "storage_offset", "data_ptr"}
)


@dataclass(frozen=True)
class Origin:
    """What a tensor was made of: its kind, and the stored tensors that went into it, by id."""

    kind: int
    sources: frozenset[int] = frozenset()


_UNKNOWN = Origin(DATA)


class Provenance:
    """The origins of tensors, by identity, for one forward pass."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self.stored: dict[int, Tensor] = {}
        self.parameters: dict[tuple[int, str], Tensor] = {}
        self._made: dict[int, tuple[weakref.ref[Tensor], Origin]] = {}
        self.uses: dict[int, dict[str, None]] = {}

    def start(self) -> None:
        """Forget what was made in the pass before, and take stock of what the model holds."""
        self._made.clear()
        self.stored.clear()
        self.parameters.clear()
        for module in self._model.modules():
            self.see(module, everything=True)

    def see(self, module: nn.Module, *, everything: bool = False) -> None:
        """Take stock of one module: its parameters may have been exchanged since."""
        self.parameters.update(
            {(id(module), name): p for name, p in module._parameters.items() if isinstance(p, Tensor)}
        )
        held: Iterable[Any] = module._parameters.values()
        if everything:
            held = (*module._parameters.values(), *module._buffers.values(), *vars(module).values())
        for tensor in held:
            if isinstance(tensor, Tensor):
                self.stored[id(tensor)] = tensor

    def of(self, tensor: Tensor) -> Origin:
        """Where the tensor comes from."""
        made = self._made.get(id(tensor))
        if made is not None and made[0]() is tensor:
            return made[1]
        if id(tensor) in self.stored and self.stored[id(tensor)] is tensor:
            return Origin(WEIGHT, frozenset((id(tensor),)))
        return _UNKNOWN

    def note(self, tensor: Tensor, origin: Origin) -> None:
        """Say where a tensor comes from; what is data needs no word."""
        self._made[id(tensor)] = weakref.ref(tensor), origin

    def data(self, tensor: Tensor) -> None:
        """Say that a tensor holds something of the samples."""
        if self.of(tensor) is not _UNKNOWN:
            self.note(tensor, _UNKNOWN)

    def follow(self, name: str, args: Any, kwargs: Any, result: Any) -> None:
        """What an operation made has the origin of its arguments."""
        kind, sources = CONSTANT, frozenset[int]()
        for tensor in tensors_in((args, kwargs)):
            origin = self.of(tensor)
            kind, sources = max(kind, origin.kind), sources | origin.sources
        if sources and name not in _ASKING and kind != WEIGHT:
            self._used(sources, name)
        if kind == DATA:
            if name.endswith("_") or name == "__setitem__":
                # data written into a weight make data of it
                for tensor in tensors_in(args[:1]):
                    self.data(tensor)
            return
        if name in _SPREADING and kind == WEIGHT:
            kind = SPREAD
        for tensor in tensors_in((result,)):
            if id(tensor) not in self.stored:
                self.note(tensor, Origin(kind, sources))

    def _used(self, sources: Iterable[int], name: str) -> None:
        for source in sources:
            self.uses.setdefault(source, {})[name] = None


def tensors_in(value: Any) -> Iterator[Tensor]:
    """The tensors among the arguments of an operation, one list or tuple deep and more."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from tensors_in(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from tensors_in(item)
