"""What a model returned, and which tensor of it is its output: by name, by place, or the only one that can be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from jaxtyping import Bool, Float
from torch import Tensor

from agop import _checks

OutputPick = str | int | Callable[[Any], Any] | None
"""What picks a tensor from what a model returns: a key, an index, an attribute name, or a function."""

NAMES = ("logits", "out")
"""What libraries call the output of a model that returns more than that."""


def rows_of_output(
    returned: Any, output: OutputPick, mask: Bool[Tensor, "b *p"] | None = None
) -> Float[Tensor, "b c"]:
    """The (b, c) outputs in what a model returned; (b,) becomes one column, and the outputs at positions lie side by side.

    With `mask`, (b, positions), outputs at the positions where it is False are constant zero.
    """
    y = picked(returned, output)
    if not isinstance(y, Tensor):
        remedy = "pick one with output=" if output is None else "pick a tensor with output="
        raise _checks.bad_type("output", "a tensor from the model", told(y), remedy)
    if not y.is_floating_point():
        raise _checks.bad_type("output", "a floating-point tensor from the model", f"dtype {y.dtype}")
    if y.ndim == 0:
        raise _checks.bad_value(
            "output",
            "one row of outputs per sample, (b, c) or (b,)",
            "one number",
            "pick another with output=",
        )
    if mask is not None:
        y = _masked(y, mask)
    y = y[:, None] if y.ndim == 1 else y.flatten(1)
    if y.shape[1] == 0:
        raise _checks.bad_value("output", "at least one output of the model", "none")
    return y


def default_output(returned: Any) -> tuple[str | int | None, Any]:
    """The output where nobody says which it is, and what it is called (None: all that was returned).

    That is a tensor; or what is called logits; or the only floating tensor with a row per sample, so that a loss beside it is passed over,
    and so are tuples that come after it (the states of a recurrent layer, hidden states, attentions).

    Raises
    ------
    TypeError
        If there is none or more than one, with the list of what was found.
    """
    if isinstance(returned, Tensor):
        return None, returned
    found = candidates(returned)
    for name in NAMES:
        if name in found:
            return name, found[name]
    if len(found) == 1 and not _nested_before(returned, next(iter(found))):
        return next(iter(found.items()))
    pick = (
        f"pick one with output=, for instance output={next(iter(found))!r}"
        if found
        else "pick one with output="
    )
    raise _checks.bad_type("output", "a tensor from the model", told(returned), pick)


def candidates(returned: Any) -> dict[str | int, Tensor]:
    """The floating tensors with samples along their first axis in a tuple, a mapping or an object, by name or place."""
    return {
        name: value
        for name, value in _entries(returned).items()
        if isinstance(value, Tensor) and value.is_floating_point() and value.ndim and name != "loss"
    }


def _nested_before(returned: Any, name: str | int) -> bool:
    """Whether a group of tensors comes before this entry, which may as well be the output."""
    entries = _entries(returned)
    before = list(entries.values())[: list(entries).index(name)]
    return any(isinstance(value, (tuple, list, Mapping)) and candidates(value) for value in before)


def told(returned: Any) -> str:
    """What was returned, in words: `a dict of logits (8, 3), loss ()`."""
    if isinstance(returned, Tensor):
        return f"a tensor of shape {tuple(returned.shape)}"
    entries = _entries(returned)
    if not entries:
        return f"a {type(returned).__name__}"
    listed = ", ".join(f"{name} {_shape(value)}" for name, value in list(entries.items())[:12])
    return f"a {type(returned).__name__} of {listed}"


def _shape(value: Any) -> str:
    return str(tuple(value.shape)) if isinstance(value, Tensor) else type(value).__name__


def _entries(returned: Any) -> dict[str | int, Any]:
    """What lies in a returned object at the first level, in its order."""
    if isinstance(returned, Mapping):
        return {key if isinstance(key, (str, int)) else str(key): value for key, value in returned.items()}
    if isinstance(returned, tuple) and hasattr(returned, "_fields"):
        return dict(zip(returned._fields, returned, strict=True))
    if isinstance(returned, (tuple, list)):
        return dict(enumerate(returned))
    if is_dataclass(returned) and not isinstance(returned, type):
        return {field.name: getattr(returned, field.name, None) for field in fields(returned)}
    own = getattr(returned, "__dict__", {})
    return {
        name: value for name, value in own.items() if not name.startswith("_") and isinstance(value, Tensor)
    }


def picked(returned: Any, output: OutputPick) -> Any:
    """What `output` takes of what a model returned, or the default output."""
    if output is None:
        return default_output(returned)[1]
    if not isinstance(output, (str, int)) or isinstance(output, bool):
        if not callable(output):
            raise _checks.bad_type(
                "output", "a name, an index or a function of what the model returns", repr(output)
            )
        return output(returned)
    if isinstance(output, str) and not isinstance(returned, Mapping) and hasattr(returned, output):
        return getattr(returned, output)
    try:
        return returned[output]
    except (KeyError, IndexError, TypeError):
        raise _checks.bad_value(
            "output",
            "a name, an index or a key in what the model returned",
            f"{output!r} for {told(returned)}",
        ) from None


def _masked(y: Float[Tensor, "b *rest"], mask: Bool[Tensor, "b *p"]) -> Float[Tensor, "b *rest"]:
    """The outputs with those at masked positions out of the graph; outputs that have other positions stay as they are."""
    if y.ndim > mask.ndim and y.shape[: mask.ndim] == mask.shape:
        whole = mask.reshape(*mask.shape, *[1] * (y.ndim - mask.ndim))
    elif y.ndim == mask.ndim + 1 and (y.shape[0], *y.shape[2:]) == tuple(mask.shape):
        whole = mask.unsqueeze(1)
    else:
        return y
    return y.masked_fill(~whole.to(y.device), 0)
