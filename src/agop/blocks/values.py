"""A column of a frame as numbers, or as codes of the levels of a category; what is missing or unknown is NaN."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from agop import _checks

MOST_LEVELS = 1000
"""Categories that one column may have: each is a column of the matrix that is learned."""

REMEDY = "make it a categorical column (astype('category')), name it in categorical_features, or put skrub.TableVectorizer() first"


def as_numbers(
    X: Any, levels: list[list[Any] | None] | None, categorical: list[int], counts: np.ndarray | None
) -> tuple[np.ndarray, list[list[Any] | None]]:
    """A frame or array as float64, with codes in the columns of categories; and the levels of these.

    Parameters
    ----------
    X
        A frame of pandas, or an array with two axes.
    levels
        Of each column (None: numbers), as `fit` learned them; None to learn them now, for the `categorical` columns, from the rows that
        `counts` (None: all).
    """
    learned: list[list[Any] | None] = [None] * X.shape[1] if levels is None else levels
    numbers = np.empty(X.shape, dtype=np.float64)
    for place in range(X.shape[1]):
        name, column = column_of(X, place)
        if levels is None and place in categorical:
            learned[place] = _levels(name, column if counts is None else column[counts])
        known = learned[place]
        numbers[:, place] = as_floats(name, column) if known is None else _codes(column, known)
    return numbers, learned


def column_of(X: Any, place: int) -> tuple[Any, pd.Series[Any]]:
    """The name and the values of a column of a frame, or of an array with two axes."""
    if isinstance(X, pd.DataFrame):
        return X.columns[place], X.iloc[:, place]
    return place, pd.Series(X[:, place])


def plain(column: pd.Series[Any]) -> tuple[np.ndarray, np.ndarray]:
    """The values of a column of categories as texts, numbers or truth values, and which are missing."""
    values = np.asarray(column.astype(object), dtype=object)
    missing = np.asarray(pd.isna(column))
    kept = [value.item() if isinstance(value, np.generic) else value for value in values]
    return np.array(
        [v if isinstance(v, str | int | float | bool) else str(v) for v in kept] + [None], dtype=object
    )[:-1], missing


def in_order(name: Any, present: set[Any], *, missing: bool) -> list[Any]:
    """Different values as levels: sorted, None last where some are missing.

    Raises
    ------
    ValueError
        If there are too many.
    """
    if len(present) > MOST_LEVELS:
        got = f"{len(present):,} in column {name!r}"
        raise _checks.bad_value(
            "X", f"at most {MOST_LEVELS:,} categories in a column", got, "drop it, or group what is rare"
        )
    kinds = {isinstance(value, str) for value in present}
    ordered = sorted(present, key=str) if len(kinds) > 1 else sorted(present)
    return [*ordered, *([None] if missing else [])]


def _levels(name: Any, column: pd.Series[Any]) -> list[Any]:
    values, missing = plain(column)
    return in_order(name, set(values[~missing].tolist()), missing=bool(missing.any()))


def _codes(column: pd.Series[Any], levels: list[Any]) -> np.ndarray:
    """Positions among the levels; NaN where a value is missing or none of them."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        own = _codes(pd.Series(column.cat.categories), levels)
        return np.append(own, np.nan)[column.cat.codes.to_numpy()]  # −1, the last, is what is missing
    values, missing = plain(column)
    place = {value: float(code) for code, value in enumerate(levels) if value is not None}
    codes = np.array([place.get(value, np.nan) for value in values.tolist()], dtype=np.float64)
    codes[missing] = np.nan
    return codes


def as_floats(name: Any, column: pd.Series[Any]) -> np.ndarray:
    """A column of numbers in float64.

    Raises
    ------
    ValueError
        One sentence, if it holds something else.
    """
    kind = "dates" if column.dtype.kind in "mM" else "complex numbers" if column.dtype.kind == "c" else None
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(column.cat.categories.dtype)  # asked to be taken as the numbers they may be
    try:
        if kind is None:
            return np.asarray(column.to_numpy(dtype=np.float64, na_value=np.nan))
    except (TypeError, ValueError):
        found = column[~column.isna()]
        first = found.iloc[0] if len(found) else None
        kind = "text" if any(isinstance(value, str) for value in found) else type(first).__name__
    raise _checks.bad_value("X", "columns of numbers or categories", f"{kind} in column {name!r}", REMEDY)
