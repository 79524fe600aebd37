"""Errors for users' input: one sentence with the argument, what was expected, what came, and what to do.

torch is imported by the checks of tensors and devices only: the options of a command are checked without it.
"""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import torch

_T = TypeVar("_T")


def bad_value(name: str, expected: str, got: object, remedy: str = "") -> ValueError:
    """The `ValueError` to raise for an argument of the right type with an unusable value."""
    return ValueError(_sentence(name, expected, got, remedy))


def bad_type(name: str, expected: str, got: object, remedy: str = "") -> TypeError:
    """The `TypeError` to raise for an argument of an unusable type."""
    return TypeError(_sentence(name, expected, got, remedy))


def _sentence(name: str, expected: str, got: object, remedy: str) -> str:
    sentence = f"{name}: expected {expected}, got {got}"
    return f"{sentence}; {remedy}." if remedy else f"{sentence}."


def shown(value: object) -> str:
    """A value that may be anybody's in a few printable characters, for a sentence about it."""
    return ascii(value)[:60] if isinstance(value, str | int | float | None) else type(value).__name__


def plain(value: Any) -> Any:
    """A NumPy scalar, or an array or tensor without axes, as the Python value that it holds; anything else as it is."""
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        return value.item()
    return value


def one_of(name: str, value: _T, allowed: Iterable[_T]) -> _T:
    """Return `value` if it is among `allowed`, else raise with the list."""
    allowed = list(allowed)
    if not any(value is item or (type(value) is type(item) and value == item) for item in allowed):
        raise bad_value(name, "one of " + ", ".join(repr(item) for item in allowed), repr(value))
    return value


def real(
    name: str,
    value: Any,
    *,
    above: float | None = None,
    at_least: float | None = None,
    at_most: float | None = None,
    remedy: str = "",
) -> float:
    """Return `value` as a float if it is a finite real number within the bounds, else raise."""
    bounds = [
        text
        for bound, text in ((above, f"> {above}"), (at_least, f">= {at_least}"), (at_most, f"<= {at_most}"))
        if bound is not None
    ]
    expected = " ".join(["a finite number", " and ".join(bounds)]).strip()
    value = plain(value)
    if isinstance(value, bool) or not isinstance(value, Real):
        raise bad_type(name, expected, f"{value!r} ({type(value).__name__})", remedy)
    try:
        number = float(value)
    except OverflowError:  # an integer beyond the range of floats
        number = float("inf")
    within = (
        (above is None or number > above)
        and (at_least is None or number >= at_least)
        and (at_most is None or number <= at_most)
    )
    if not (within and abs(number) != float("inf") and number == number):
        raise bad_value(name, expected, repr(value), remedy)
    return number


def integer(name: str, value: Any, *, at_least: int | None = None, remedy: str = "") -> int:
    """Return `value` as an int if it is an integer and not below `at_least`, else raise."""
    expected = "an integer" + (f" >= {at_least}" if at_least is not None else "")
    value = plain(value)
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise bad_type(name, expected, f"{value!r} ({type(value).__name__})", remedy)
    if at_least is not None and int(value) < at_least:
        raise bad_value(name, expected, repr(value), remedy)
    return int(value)


def floating(name: str, value: Any, *, ndim: int | None = None, finite: bool = True) -> torch.Tensor:
    """Return `value` if it is a real floating tensor of rank `ndim` without NaN or inf, else raise."""
    import torch

    shape = f"a floating-point tensor with {ndim} axes" if ndim is not None else "a floating-point tensor"
    if not isinstance(value, torch.Tensor):
        raise bad_type(name, shape, type(value).__name__, "convert it with torch.as_tensor")
    if value.layout != torch.strided:
        raise bad_type(name, shape, f"layout {value.layout}", "convert it with .to_dense()")
    if not value.is_floating_point():
        raise bad_type(name, shape, f"dtype {value.dtype}", "convert it with .double() or .float()")
    if ndim is not None and value.ndim != ndim:
        raise bad_value(name, shape, f"shape {tuple(value.shape)}", "reshape it")
    if finite and not bool(torch.isfinite(value).all()):
        count = int((~torch.isfinite(value)).sum())
        raise bad_value(
            name, "finite values", f"{count} NaN or infinite entries", "clean or impute them first"
        )
    return value


def same_length(first: str, n_first: int, second: str, n_second: int) -> None:
    """Raise unless two arguments have as many rows."""
    if n_first != n_second:
        raise bad_value(second, f"as many rows as {first} ({n_first})", f"{n_second}", "pass matching rows")


def device(name: str, value: Any) -> torch.device:
    """Return `value` (None is the CPU) as a device that this machine has, else raise."""
    import torch

    if value is None:
        return torch.device("cpu")
    try:
        wanted = torch.device(value)
    except (RuntimeError, TypeError):
        raise bad_value(name, "a torch device such as 'cpu' or 'cuda:0'", repr(value)) from None
    if wanted.type == "meta":
        raise bad_value(name, "a device that computes", "'meta'", "use 'cpu'")
    if wanted.type == "cuda" and (wanted.index or 0) >= torch.cuda.device_count():
        raise bad_value(
            name,
            "a device of this machine",
            f"{str(wanted)!r} with {torch.cuda.device_count()} CUDA devices",
            "use 'cpu'",
        )
    if wanted.type == "mps" and not torch.backends.mps.is_available():
        raise bad_value(name, "a device of this machine", "'mps' where there is none", "use 'cpu'")
    return wanted
