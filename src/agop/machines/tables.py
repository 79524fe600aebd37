"""Tables with categories and missing values as one matrix of numbers: categories as codes, what is missing or unknown as NaN.

The convention is that of scikit-learn's HistGradientBoosting: columns of categorical dtype are categories, or those that a mask, positions
or names say; a value that was not seen in `fit` is treated as missing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from agop import _checks

MOST_LEVELS = 1000
"""Categories that one column may have: each is a column of the matrix that is learned."""

REMEDY = "make it a categorical column (astype('category')), name it in categorical_features, or put skrub.TableVectorizer() first"


def is_table(X: Any) -> bool:
    """Whether `X` has named columns: a frame of pandas or polars, a table of pyarrow."""
    return isinstance(X, pd.DataFrame) or (_module(X) in ("polars", "pyarrow") and hasattr(X, "columns"))


def column_names(X: Any) -> list[Any]:
    """Names of the columns of a table."""
    names = X.column_names if _module(X) == "pyarrow" else X.columns
    return list(names)


def as_frame(X: Any) -> pd.DataFrame:
    """A table of any of the three libraries as one of pandas; nothing is copied that need not be."""
    if isinstance(X, pd.DataFrame):
        return X
    if _module(X) == "pyarrow":
        return pd.DataFrame(X.to_pandas())
    columns = {name: _from_polars(X.get_column(name)) for name in X.columns}
    return pd.DataFrame(columns)


def categorical_columns(asked: Any, X: Any, names: list[Any] | None, d: int) -> list[int]:
    """Positions of the columns that are categories: by dtype, mask, positions or names.

    Raises
    ------
    ValueError, TypeError
        If `asked` is none of these, or names what is not there.
    """
    if asked is None:
        return []
    expected = "'from_dtype', None, a mask, positions or names of columns"
    if isinstance(asked, str):
        _checks.one_of("categorical_features", asked, ("from_dtype",))
        if not isinstance(X, pd.DataFrame):
            return []
        return [place for place, kind in enumerate(X.dtypes) if isinstance(kind, pd.CategoricalDtype)]
    chosen = np.asarray(asked)
    if chosen.ndim != 1 or chosen.dtype.kind not in "biuUO":
        raise _checks.bad_type("categorical_features", expected, _checks.shown(asked))
    if chosen.size == 0:
        return []
    if chosen.dtype.kind == "b":
        if len(chosen) != d:
            raise _checks.bad_value(
                "categorical_features", f"a mask of {d} columns", f"{len(chosen)} entries"
            )
        return [int(place) for place in chosen.nonzero()[0]]
    if chosen.dtype.kind in "iu":
        if not ((chosen >= 0) & (chosen < d)).all():
            raise _checks.bad_value(
                "categorical_features", f"positions from 0 to {d - 1}", f"{chosen.tolist()}"
            )
        return sorted({int(place) for place in chosen})
    absent = [name for name in chosen.tolist() if names is None or name not in names]
    if absent:
        got = f"{absent[0]!r}" + ("" if names is not None else ", and X has no names")
        raise _checks.bad_value("categorical_features", "names of columns of X", got)
    assert names is not None
    return sorted({names.index(name) for name in chosen.tolist()})


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
        column = X.iloc[:, place] if isinstance(X, pd.DataFrame) else pd.Series(X[:, place])
        name = X.columns[place] if isinstance(X, pd.DataFrame) else place
        if levels is None and place in categorical:
            learned[place] = _levels(name, column if counts is None else column[counts])
        known = learned[place]
        numbers[:, place] = _numbers(name, column) if known is None else _codes(column, known)
    return numbers, learned


def _module(X: Any) -> str:
    return type(X).__module__.partition(".")[0]


def _from_polars(column: Any) -> pd.Series:
    kind = str(column.dtype)
    if kind.startswith(("Categorical", "Enum")):
        return pd.Series(column.to_list(), dtype="category")
    if kind.startswith(("String", "Object", "List", "Date", "Time", "Struct")):
        return pd.Series(column.to_list(), dtype=object)
    return pd.Series(column.to_numpy())


def _plain(column: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """The values of a column of categories as texts, numbers or truth values, and which are missing."""
    values = np.asarray(column.astype(object), dtype=object)
    missing = np.asarray(pd.isna(column))
    kept = [value.item() if isinstance(value, np.generic) else value for value in values]
    return np.array(
        [v if isinstance(v, str | int | float | bool) else str(v) for v in kept] + [None], dtype=object
    )[:-1], missing


def _levels(name: Any, column: pd.Series) -> list[Any]:
    """The different values of a column in their order, None last where some are missing."""
    values, missing = _plain(column)
    return ordered_levels(name, set(values[~missing].tolist()), bool(missing.any()))


def ordered_levels(name: Any, present: set[Any], missing: bool) -> list[Any]:
    """Levels in their order, None last where some are missing; few enough, or an error."""
    if len(present) > MOST_LEVELS:
        got = f"{len(present):,} in column {name!r}"
        raise _checks.bad_value(
            "X", f"at most {MOST_LEVELS:,} categories in a column", got, "drop it, or group what is rare"
        )
    kinds = {isinstance(value, str) for value in present}
    ordered = sorted(present, key=str) if len(kinds) > 1 else sorted(present)
    return [*ordered, *([None] if missing else [])]


def level_masses(column: pd.Series, weight: np.ndarray | None) -> dict[Any, float]:
    """The weight of each different value of a column, that of what is missing under None."""
    values, missing = _plain(column)
    mass = np.ones(len(values)) if weight is None else weight
    found: dict[Any, float] = {}
    for value, gone, own in zip(values.tolist(), missing.tolist(), mass.tolist(), strict=True):
        key = None if gone else value
        found[key] = found.get(key, 0.0) + own
    return found


def _codes(column: pd.Series, levels: list[Any]) -> np.ndarray:
    """Positions among the levels; NaN where a value is missing or none of them."""
    values, missing = _plain(column)
    place = {value: float(code) for code, value in enumerate(levels) if value is not None}
    codes = np.array([place.get(value, np.nan) for value in values.tolist()], dtype=np.float64)
    codes[missing] = np.nan
    return codes


def _numbers(name: Any, column: pd.Series) -> np.ndarray:
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
