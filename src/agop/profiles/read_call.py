"""One call of a layer while the data pass, and what the user said follows it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from agop import _checks
from agop.gradients.linear_map import Geometry, LinearMap
from agop.gradients.provenance import WEIGHT, Provenance
from agop.gradients.reads import is_one_linear_map
from agop.gradients.taps import call_name
from agop.profiles.stage import StageSums

_ADDING = frozenset({"add", "__add__", "__radd__", "add_", "__iadd__"})
_RESHAPING = frozenset({"view", "reshape"})

Nonlinearity = str | Callable[[Tensor], Tensor] | None
"""What follows a layer: the name of the module whose output it is, a function of the layer's output, or nothing."""


@dataclass(eq=False)
class ReadCall:
    """One call of one layer in the forward pass, and what was summed there.

    `map` is the linear map that the layer is, None for a module that is read as a whole.
    """

    name: str
    index: int
    module: nn.Module
    map: LinearMap | None
    stages: dict[str, StageSums] = field(default_factory=dict)
    follows: str = ""
    left_out: str = ""
    time_first: bool = False
    merged: bool = False
    ndim: int = -1
    unmasked: int = 0
    """At how many positions it was read where a mask tells other ones apart, which is to be told."""

    @property
    def linear(self) -> bool:
        """Whether the layer has a projected stage."""
        return self.map is not None and self.map.projects and self.map.matrix is not None

    @property
    def patches(self) -> Geometry | None:
        """Where the patches of a convolution lie; None for another layer."""
        return None if self.map is None else self.map.geometry


Key = tuple[str, int, str]
"""A call: the name of the layer, which of its calls it is, and how it was found: as a "use", an "effective" map, a "whole" module."""


def applied(function: Callable[[Tensor], Tensor], y: Tensor, layer: str) -> Tensor:
    """What a function of the user's makes of a layer's output: as many samples."""
    result = function(y)
    if not isinstance(result, Tensor) or result.ndim < 2 or len(result) != len(y):
        got = f"shape {tuple(result.shape)}" if isinstance(result, Tensor) else type(result).__name__
        expected = f"for layer {layer!r} a function that gives {len(y)} rows"
        raise _checks.bad_value("nonlinearity", expected, got)
    return result


def resolved(model: nn.Module, layer: str, value: Any) -> tuple[Any, str]:
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


def named_calls(calls: Mapping[Key, ReadCall]) -> dict[str, ReadCall]:
    """Calls by the names of their layers; modules that multiply by weights of their own are not read as a whole."""
    own = {id(call.module) for (_, _, how), call in calls.items() if how != "whole"}
    apart = {name for name, _, how in calls if how == "effective"}
    kept = {key: call for key, call in calls.items() if key[2] != "whole" or id(call.module) not in own}

    def named(key: Key) -> str:
        # where a module has an effective map, its own weight is told by its full name
        return f"{key[0]}.weight" if key[0] in apart and key[2] == "use" else key[0]

    counts: dict[str, int] = {}
    for key in kept:
        counts[named(key)] = max(counts.get(named(key), 0), key[1] + 1)
    return {call_name(named(key), key[1], counts[named(key)]): call for key, call in kept.items()}


def belongs_to_layer(name: str, args: Any, calls: Sequence[ReadCall], origins: Provenance) -> bool:
    """Whether an operation is part of a layer that is written out: its bias, or another shape of its rows."""
    if any(is_one_linear_map(call.module) for call in calls):
        return False
    if name in _RESHAPING:
        return _keeps_last(args)
    if (
        name not in _ADDING
        or len(args) < 2
        or any(call.map is None or call.map.bias is not None for call in calls)
    ):
        return False
    return any(origins.of(value).kind == WEIGHT for value in args[:2] if isinstance(value, Tensor))


def _keeps_last(args: Any) -> bool:
    """Whether a change of shape leaves the features of each row together."""
    sizes = args[1] if len(args) == 2 and isinstance(args[1], (tuple, list)) else args[1:]
    return bool(sizes) and isinstance(args[0], Tensor) and sizes[-1] == args[0].shape[-1]
