"""What a column of a table is taken for, from its values: a number, a category, a date or a text; or why it is of no use."""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from agop import _checks
from agop.tables import dates

KINDS = ("number", "category", "date", "text")

MOST_LEVELS = 100
"""Categories of a column that are told apart; rarer ones are one category together."""

OTHER = "(other)"

_NUMBERS = 0.9
"""A column of texts is one of numbers if at least this share of its entries are numbers, and the others are a few words such as "?"."""

_WORDS_FOR_MISSING = 3
_DIFFERENT = 0.95
"""A column of texts of which more than this share are different says nothing of a new row."""

_FEW = 20
"""Fewer rows than this decide nothing about identifiers."""

_IDENTIFIER = re.compile(
    r"(?:^|.*[\W_])(?:id|ids|uuid|guid|key|index|rowid|rownames?)$|.*[a-z]I[Dd]$|^Unnamed: \d+$", re.DOTALL
)
_IDENTIFIER_ANYCASE = re.compile(
    r"(?:^|.*[\W_])(?:id|ids|uuid|guid|index|rowid|rownames?)$", re.IGNORECASE | re.DOTALL
)


@dataclass(frozen=True)
class Column:
    """What was learned of a column.

    Attributes
    ----------
    name
        Of the column.
    kind
        One of `KINDS`.
    dropped
        Why the column is not used; "" if it is.
    notes
        What had to be decided about its values.
    levels
        Of a category: its values as texts, the most frequent first if there are more than `MOST_LEVELS`.
    other
        Whether values that are none of the levels are one category, `OTHER`; else they are missing.
    form
        Of dates that are texts: their format.
    parts
        Of a date: the parts that vary.
    """

    name: str
    kind: str
    dropped: str = ""
    notes: tuple[str, ...] = ()
    levels: tuple[str, ...] = ()
    other: bool = False
    form: str = ""
    parts: tuple[str, ...] = ()

    @property
    def used(self) -> bool:
        """Whether a model sees it."""
        return not self.dropped

    @property
    def encoded(self) -> list[str]:
        """Names of the columns that a model gets for it."""
        if not self.used:
            return []
        return [f"{self.name}: {part}" for part in self.parts] if self.kind == "date" else [self.name]


def column_of(values: pd.Series, name: str, *, kind: str | None = None, keep: bool = False) -> Column:
    """What a column is taken for.

    Parameters
    ----------
    values
        The column.
    kind
        "number" or "category", where somebody knows better.
    keep
        Whether it is used although it looks like an identifier.

    Raises
    ------
    ValueError
        If its values are of no kind that a table can hold, or not of the kind that is asked for.
    """
    if isinstance(values.dtype, pd.StringDtype):
        values = values.astype(object)  # several times faster to go through
    present = values[values.notna()]
    if not len(present):
        return Column(name, kind or "number", dropped="no values")
    found = _taken(present, name, kind)
    if found.kind == "number":
        return _number(found, as_numbers(values), keep, values.dtype.kind in "biu" or kind is None)
    if found.kind == "date":
        when = as_moments(found, values)
        varying = dates.varying(when)
        if not varying and not when.isna().any():
            return replace(found, dropped="constant")
        return replace(found, parts=varying or ("days",))
    return _texts(found, values, keep, forced=kind == "category")


def _taken(present: pd.Series, name: str, kind: str | None) -> Column:
    """The kind, before it is known whether the column is of use."""
    dtype = present.dtype
    if kind == "category":
        return Column(name, "category")
    if dtype.kind == "c":
        raise _checks.bad_value(
            "data", "columns of real numbers, texts or dates", f"complex numbers in {name!r}", "drop it"
        )
    if dtype.kind == "M" or isinstance(dtype, pd.DatetimeTZDtype | pd.PeriodDtype):
        return Column(name, "date")
    if isinstance(dtype, pd.CategoricalDtype) and kind is None:
        return Column(name, "category")
    if pd.api.types.is_bool_dtype(dtype) and kind is None:
        return Column(name, "category")
    if dtype.kind == "m" or pd.api.types.is_numeric_dtype(dtype):
        return Column(name, "number")
    _refuse_objects(present, name)
    if kind is None and all(isinstance(value, bool | np.bool_) for value in present):
        return Column(name, "category")
    numbers = as_numbers(present)
    share = float(numbers.notna().mean())
    if share == 1:
        return Column(name, "number")
    rest = present[numbers.isna()].map(_text)
    words = set(rest)
    first = heapq.nsmallest(3, words)
    told = f"{', '.join(map(repr, first))}{' …' if len(words) > 3 else ''} in {len(rest):,} row{'s' * (len(rest) > 1)}"
    if kind == "number" or (share >= _NUMBERS and len(words) <= _WORDS_FOR_MISSING):
        return Column(name, "number", notes=(f"{told}: no number, taken as missing",))
    if form := dates.date_format(present.map(_text)):
        return Column(name, "date", form=form[0], notes=(form[1],) if form[1] else ())
    mixed = (f"numbers and texts ({told}), all taken as texts",) if share > 0.05 else ()
    return Column(name, "category", notes=mixed)


def _refuse_objects(present: pd.Series, name: str) -> None:
    strange = [
        value
        for value in present
        if not isinstance(value, str | int | float | bool | np.generic | pd.Timestamp)
        and not _is_plain(value)
    ]
    if strange:
        got = f"{type(strange[0]).__name__} in column {name!r}"
        raise _checks.bad_value(
            "data", "numbers, texts or dates in a column", got, "drop it, or make columns of it"
        )


def _is_plain(value: Any) -> bool:
    """Whether it is one of the numbers and dates of the standard library, which have a text of their own."""
    return type(value).__module__ in ("datetime", "decimal", "fractions", "uuid")


def _number(column: Column, numbers: pd.Series, keep: bool, whole: bool) -> Column:
    present = numbers[numbers.notna()]
    if np.isinf(present).any():
        got = f"{int(np.isinf(present).sum()):,} infinite entries in column {column.name!r}"
        raise _checks.bad_value("data", "finite numbers", got, "mend them or drop it")
    if not len(present):
        return replace(column, dropped="no values")
    if present.nunique() == 1 and len(present) == len(numbers):
        return replace(column, dropped="constant")
    if not keep and _counts_rows(column.name, numbers):
        return replace(column, dropped="identifier-like: whole numbers, each once")
    return column


def _counts_rows(name: str, numbers: pd.Series) -> bool:
    """Whether whole numbers, none missing and none twice, number the rows or are called an identifier."""
    if len(numbers) < _FEW or numbers.isna().any() or numbers.duplicated().any() or (numbers % 1 != 0).any():
        return False
    steps = numbers.diff().iloc[1:]
    in_order = bool((steps == steps.iloc[0]).all())
    return in_order or _is_called_identifier(name)


def _is_called_identifier(name: str) -> bool:
    return bool(_IDENTIFIER.match(name) or _IDENTIFIER_ANYCASE.match(name))


def _texts(column: Column, values: pd.Series, keep: bool, forced: bool) -> Column:
    texts = as_texts(values)
    counts = texts.value_counts()
    present, different = int(counts.sum()), len(counts)
    if different == 1 and present == len(texts):
        return replace(column, dropped="constant")
    if present >= _FEW and different > _DIFFERENT * present and not forced and not keep:
        words = texts.dropna().str.count(r"\S+").mean()
        if words >= 3:
            return replace(
                column, kind="text", dropped=f"free text: {different:,} different values in {present:,} rows"
            )
        return replace(column, dropped=f"identifier-like: {different:,} different values in {present:,} rows")
    if different <= MOST_LEVELS:
        return replace(column, levels=tuple(sorted(counts.index)))
    order = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    kept = tuple(str(level) for level, _ in order[:MOST_LEVELS])
    rare = present - sum(count for _, count in order[:MOST_LEVELS])
    note = f"{different:,} categories: the {MOST_LEVELS} most frequent are told apart, the others ({rare:,} rows) are one"
    return replace(column, levels=kept, other=True, notes=(*column.notes, note))


def as_numbers(values: pd.Series) -> pd.Series:
    """The values as float64; NaN where there is none, or no number."""
    if values.dtype.kind == "m":
        return values.dt.total_seconds().astype("float64")
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.astype(object)
    if values.dtype.kind not in "biuf":
        values = values.map(lambda value: float(value) if isinstance(value, bool | np.bool_) else value)
    return pd.to_numeric(values, errors="coerce").astype("float64")


def as_moments(column: Column, values: pd.Series) -> pd.Series:
    """The values as moments; NaT where there is none, or no date of the column's format."""
    if values.dtype.kind == "M" or isinstance(values.dtype, pd.DatetimeTZDtype | pd.PeriodDtype):
        return dates.moments(values)
    texts = values.map(
        lambda value: value.isoformat() if hasattr(value, "isoformat") else value, na_action="ignore"
    )
    return dates.parsed(texts.astype(object).where(values.notna(), None), column.form or dates.ISO)


def as_texts(values: pd.Series) -> pd.Series:
    """The values as texts, the same for 1, 1.0 and "1"; missing ones stay so."""
    made = [None if missing else _text(value) for value, missing in zip(values.astype(object), values.isna())]
    return pd.Series(made, index=values.index, dtype=object)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, bool | np.bool_):
        return str(bool(value))
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value)


def asked_names(argument: str, value: Any) -> tuple[str, ...]:
    """Names of columns that somebody asked for: one, several, or none."""
    if value is None:
        return ()
    names = [value] if isinstance(value, str | int) else value
    if not isinstance(names, list | tuple | set | frozenset | np.ndarray | pd.Index):
        raise _checks.bad_type(argument, "names of columns", type(value).__name__)
    if not all(isinstance(name, str | int | np.str_ | np.integer) for name in names):
        raise _checks.bad_type(argument, "names of columns", _checks.shown(next(iter(names))))
    return tuple(str(name) for name in names)


def require_columns(argument: str, asked: Iterable[str], names: Iterable[str]) -> None:
    """Raise if a name is none of the columns'."""
    names = list(names)
    for name in asked:
        if name not in names:
            raise no_such_column(argument, name, names)


def no_such_column(argument: str, name: str, names: Iterable[str]) -> ValueError:
    """The sentence about a column that is not there, with the names that are near to it."""
    import difflib

    names = list(names)
    folded = {other.casefold(): other for other in names}
    near = [folded[word] for word in difflib.get_close_matches(name.casefold(), folded, n=3, cutoff=0.6)]
    listed = ", ".join(repr(other) for other in (near or names[:8])) + (
        "" if near or len(names) <= 8 else " …"
    )
    return _checks.bad_value(
        argument, "the name of a column", repr(name), f"{'near it' if near else 'columns'}: {listed}"
    )
