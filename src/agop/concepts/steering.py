"""Steering: hidden states moved along a direction while a model runs, and the model as it was afterwards."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from agop import _checks
from agop.concepts.feeding import MASK
from agop.concepts.result import ConceptDirections
from agop.gradients.taps import eagerly, hooked, select_layers
from agop.profiles.pooling import channel_axis

WHERE = ("all", "last")
UNITS = ("absolute", "spread")


@contextmanager
def steer(
    model: nn.Module,
    directions: ConceptDirections | Mapping[str, Tensor],
    strength: float | Mapping[str, float],
    *,
    layers: str | list[str] | None = None,
    position: str = "all",
    unit: str = "absolute",
    label: Any = None,
    component: int = 0,
) -> Iterator[None]:
    r"""Inside this block the outputs of the chosen blocks are :math:`h + \varepsilon v`.

    What the model gives, generates or is trained with inside follows from that. Its hooks are gone when the block ends, also when
    something raises; nothing else of it is touched. Blocks can be steered in nested `with` statements, whose shifts add up.

    Parameters
    ----------
    model
        The model that the directions are of.
    directions
        Of a concept; or vectors (d,) by names of modules, which are taken as they are, not normalised.
    strength
        :math:`\varepsilon`, one for all blocks or by name; negative for the other way.
    layers
        Blocks by name or glob (`"*"`: all of them). None: of `ConceptDirections` the chosen one, of vectors all.
    position
        "all" positions, or the "last" one: the last whose `attention_mask` is one, if the model is called with such a keyword, as
        for padded batches; while text is generated, the newest token.
    unit
        "absolute", or "spread": multiples of the standard deviation that the projections on the direction had.
    label, component
        Which class's direction, where there are more than two; which of its components.

    Raises
    ------
    ValueError, TypeError
        If a block or direction isn't there; in the forward pass, if the vector has not as many features as the block's output.

    Examples
    --------
    >>> net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    >>> x, v = torch.ones(1, 2), torch.tensor([1.0, 0.0])
    >>> before = net(x)
    >>> with steer(net, {"0": v}, 3.0):
    ...     shift = net(x) - before
    >>> bool(torch.isclose(shift, 3 * net[1].weight[:, 0]))
    True
    """
    _checks.one_of("position", position, WHERE)
    _checks.one_of("unit", unit, UNITS)
    if not isinstance(model, nn.Module):
        raise _checks.bad_type("model", "a torch module", type(model).__name__)
    vectors = _vectors(directions, layers, unit, label, component)
    shifts = {name: vector * _strength(strength, name) for name, vector in vectors.items()}
    wanted = {name.partition("#")[0] for name in shifts}
    modules = select_layers(model, sorted(wanted), default=())
    seen = _Seen()
    attach: list[Callable[[], Any]] = [lambda: model.register_forward_pre_hook(seen.begins, with_kwargs=True)]
    for name, module in modules.items():
        own = {key: shift for key, shift in shifts.items() if key.partition("#")[0] == name}
        attach.append(_shifting(name, module, own, position, seen))
    with eagerly(), hooked(attach):
        yield


class _Seen:
    """What is known of the forward pass that is going on: its mask, and how often each block was called."""

    def __init__(self) -> None:
        self.mask: Tensor | None = None
        self.calls: dict[str, int] = {}

    def begins(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        mask = kwargs.get(MASK)
        self.mask = mask if isinstance(mask, Tensor) and mask.ndim == 2 else None
        self.calls.clear()


def _shifting(
    name: str, module: nn.Module, own: dict[str, Tensor], position: str, seen: _Seen
) -> Callable[[], Any]:
    def after(part: nn.Module, args: Any, output: Any) -> Any:
        index = seen.calls.get(name, 0)
        seen.calls[name] = index + 1
        shift = own.get(f"{name}#{index}", own.get(name))
        if shift is None:
            return output
        changed, done = _replaced(output, lambda h: _moved(name, part, h, shift, position, seen.mask))
        if not done:
            got = f"a {type(output).__name__} without one"
            raise _checks.bad_value(
                "layers", f"a floating tensor from block {name!r}", got, "choose other blocks"
            )
        return changed

    return lambda: module.register_forward_hook(after)


def _moved(
    name: str, module: nn.Module, h: Tensor, shift: Tensor, position: str, mask: Tensor | None
) -> Tensor:
    axis = channel_axis(module, h) % h.ndim
    if h.shape[axis] != len(shift):
        got = f"{len(shift)} for block {name!r}"
        raise _checks.bad_value("directions", f"vectors with {h.shape[axis]} entries", got)
    along = shift.to(h).reshape([-1 if k == axis else 1 for k in range(h.ndim)])
    if position == "all" or h.ndim == 2:
        return h + along
    if h.ndim > 3 or axis != 2:
        raise _checks.bad_value("position", f"'all' for block {name!r} without tokens", f"{position!r}")
    counts = torch.zeros(h.shape[:2], dtype=h.dtype, device=h.device)
    if mask is not None and mask.shape == h.shape[:2]:
        places = torch.arange(h.shape[1], device=h.device)
        last = torch.where(mask.to(h.device).bool(), places, -1).amax(1)
        counts[last >= 0, last[last >= 0]] = 1
    else:
        counts[:, -1] = 1
    return h + along * counts[:, :, None]


def _replaced(output: Any, change: Callable[[Tensor], Tensor]) -> tuple[Any, bool]:
    """`output` with its first tensor changed, and whether there was one."""
    if isinstance(output, Tensor):
        return (change(output), True) if output.is_floating_point() else (output, False)
    if isinstance(output, Mapping):
        for key, value in output.items():
            changed, done = _replaced(value, change)
            if done:
                other = copy.copy(output)
                other[key] = changed  # type: ignore[index]
                return other, True
        return output, False
    if isinstance(output, tuple | list):
        for place, value in enumerate(output):
            changed, done = _replaced(value, change)
            if done:
                items = [*output[:place], changed, *output[place + 1 :]]
                named = isinstance(output, tuple) and hasattr(output, "_fields")
                return (type(output)(*items) if named else type(output)(items)), True
    return output, False


def _vectors(directions: Any, layers: Any, unit: str, label: Any, component: int) -> dict[str, Tensor]:
    if isinstance(directions, ConceptDirections):
        names = _chosen(list(directions.directions), layers, directions.chosen)
        found = {}
        for name in names:
            row = directions.row_of(name, label, component)
            scale = float(directions.spreads[name][row]) if unit == "spread" else 1.0
            found[name] = directions.directions[name][row] * scale
        return found
    if not isinstance(directions, Mapping) or not directions:
        expected = "ConceptDirections, or vectors by names of modules"
        raise _checks.bad_type("directions", expected, type(directions).__name__)
    for option, value, default in (
        ("label", label, None),
        ("component", component, 0),
        ("unit", unit, "absolute"),
    ):
        if value != default:
            raise _checks.bad_value(option, f"{default!r} for vectors of one's own", repr(value))
    for name, vector in directions.items():
        if not isinstance(name, str):
            raise _checks.bad_type("directions", "names of modules", type(name).__name__)
        _checks.floating(f"directions[{name}]", vector, ndim=1)
    return {name: directions[name] for name in _chosen(list(directions), layers, None)}


def _chosen(names: list[str], layers: Any, default: str | None) -> list[str]:
    if layers is None:
        return names if default is None else [default]
    patterns = [layers] if isinstance(layers, str) else layers
    if (
        not isinstance(patterns, list | tuple)
        or not patterns
        or not all(isinstance(pattern, str) for pattern in patterns)
    ):
        raise _checks.bad_type("layers", "names or globs of blocks", _checks.shown(layers))
    for pattern in patterns:
        if not any(name == pattern or fnmatchcase(name, pattern) for name in names):
            raise _checks.bad_value("layers", "blocks among " + ", ".join(names[:40]), repr(pattern))
    return [name for name in names if any(name == p or fnmatchcase(name, p) for p in patterns)]


def _strength(strength: Any, name: str) -> float:
    if isinstance(strength, Mapping):
        if name not in strength:
            raise _checks.bad_value("strength", f"one for block {name!r}", f"{list(strength)}")
        return _checks.real(f"strength[{name}]", strength[name])
    return _checks.real("strength", strength)
