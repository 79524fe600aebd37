"""Which columns of a table are learned from, and which are target and weight: by their names."""

from __future__ import annotations

from typing import Any

from agop import _checks


def target_names(target: Any) -> list[str]:
    """The columns of a target that is given by a name or several; none of one that is given by its values."""
    if isinstance(target, str):
        return [target]
    return list(target) if named(target) else []


def named(target: Any) -> bool:
    """Whether a target is given by names of columns."""
    return (
        isinstance(target, list | tuple) and len(target) > 0 and all(isinstance(name, str) for name in target)
    )


def feature_columns(names: list[Any], target: Any, weight: Any, columns: Any) -> list[Any]:
    """The columns to learn from.

    Raises
    ------
    ValueError
        If a name is not among the columns, or the target is to be learned from.
    """
    targets = target_names(target)
    left_out = [*targets, *([weight] if isinstance(weight, str) else [])]
    if isinstance(columns, str) or not (columns is None or hasattr(columns, "__iter__")):
        raise _checks.bad_type("columns", "a list of names, or None", _checks.shown(columns))
    asked = [name for name in names if name not in left_out] if columns is None else list(columns)
    for kind, listed in (("target", targets), ("weight", left_out[len(targets) :]), ("columns", asked)):
        absent = [name for name in listed if name not in names]
        if absent:
            some = ", ".join(map(repr, names[:8])) + (", …" if len(names) > 8 else "")
            raise _checks.bad_value(kind, "columns of the table", f"{absent[0]!r}", f"it has {some}")
    both = [name for name in asked if name in left_out]
    if both:
        raise _checks.bad_value("columns", "columns without target and weight", repr(both[0]), "leave it out")
    if not asked:
        raise _checks.bad_value("columns", "at least one column to learn from", "none")
    return asked
