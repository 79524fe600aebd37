"""Tables with categories and missing values as one matrix of numbers: categories as codes, what is missing or unknown as NaN.

The convention is that of scikit-learn's HistGradientBoosting: columns of categorical dtype are categories, or those that a mask, positions
or names say; a value that was not seen in `fit` is treated as missing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from agop import _checks


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


def _module(X: Any) -> str:
    return type(X).__module__.partition(".")[0]


def _from_polars(column: Any) -> pd.Series[Any]:
    kind = str(column.dtype)
    if kind.startswith(("Categorical", "Enum")):
        return pd.Series(column.to_list(), dtype="category")
    if kind.startswith(("String", "Object", "List", "Date", "Time", "Struct")):
        return pd.Series(column.to_list(), dtype=object)
    return pd.Series(column.to_numpy())
