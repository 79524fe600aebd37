"""Raw columns to what estimators of tables take: numbers, categories and gaps; matched by name, and as they were learned."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from agop import _checks
from agop.machines.tables import as_frame, is_table
from agop.tables.kinds import (
    OTHER,
    Column,
    as_moments,
    as_numbers,
    as_texts,
    asked_names,
    column_of,
    require_columns,
)
from agop.tables.reading import named


class TableEncoder(TransformerMixin, BaseEstimator):
    """Raw columns to numbers, categories and gaps, by name.

    A number stays one. A category keeps its values (the 100 most frequent; the others are one more). A date becomes days since 1970, month,
    day, weekday and hour, as far as they vary. A constant column, one without values, one that looks like an identifier, and free text are
    dropped. Missing values stay missing: RFM takes them.

    Parameters
    ----------
    drop, categories, numbers, keep
        Names of columns that are dropped; taken as categories; taken as numbers, what is none being missing; used although they look like
        identifiers.

    Attributes
    ----------
    columns_ : list of Column
        Of each column of `fit`: name, kind ("number", "category", "date", "text"), why it is dropped ("" if it is not), notes.
    feature_names_in_, n_features_in_
        Names and number of the columns of `fit`.
    """

    def __init__(self, drop: Any = (), categories: Any = (), numbers: Any = (), keep: Any = ()) -> None:
        self.drop = drop
        self.categories = categories
        self.numbers = numbers
        self.keep = keep

    def fit(self, X: Any, y: Any = None) -> TableEncoder:
        """Learn what each column is.

        Raises
        ------
        ValueError
            If names are not there or twice, a column holds what no table can, or none is left.
        """
        frame = _frame(X)
        names = list(frame.columns)
        asked = {
            name: asked_names(name, getattr(self, name)) for name in ("drop", "categories", "numbers", "keep")
        }
        for argument, given in asked.items():
            require_columns(argument, given, names)
        kinds = dict.fromkeys(asked["categories"], "category") | dict.fromkeys(asked["numbers"], "number")
        self.columns_ = [
            Column(name, "unread", dropped="as asked")
            if name in asked["drop"]
            else column_of(frame[name], name, kind=kinds.get(name), keep=name in asked["keep"])
            for name in names
        ]
        self.feature_names_in_, self.n_features_in_ = np.array(names, dtype=object), len(names)
        self.require_some()
        return self

    def require_some(self) -> None:
        """Raise if no column is left."""
        if not any(column.used for column in self.columns_):
            why = "; ".join(f"{column.name!r}: {column.dropped}" for column in self.columns_[:3])
            raise _checks.bad_value(
                "data",
                "a column that can be learned from",
                f"none ({why})",
                "add columns, or name one in keep",
            )

    def without(self, reasons: dict[str, str]) -> TableEncoder:
        """Drop further columns, by name with the reason."""
        from dataclasses import replace

        self.columns_ = [
            replace(column, dropped=reasons.get(column.name, column.dropped)) for column in self.columns_
        ]
        self.require_some()
        return self

    def transform(self, X: Any) -> pd.DataFrame:
        """Encoded columns, in the order of `fit` whatever the order of X.

        Raises
        ------
        ValueError
            If a column that is used is not in X.
        """
        check_is_fitted(self, "columns_")
        frame = _frame(X)
        self._require(frame)
        made: dict[str, Any] = {}
        for column in self.columns_:
            if not column.used:
                continue
            values = frame[column.name]
            if column.kind == "date":
                when = as_moments(column, values)
                from agop.tables.dates import parts

                made |= {f"{column.name}: {part}": v for part, v in parts(when, column.parts).items()}
            elif column.kind == "category":
                made[column.name] = _categories(column, values)
            else:
                made[column.name] = as_numbers(values)
        return pd.DataFrame(made, index=frame.index)

    def _require(self, frame: pd.DataFrame) -> None:
        there = set(frame.columns)
        absent = [column.name for column in self.columns_ if column.used and column.name not in there]
        if not absent:
            return
        names = ", ".join(map(repr, absent[:5])) + (f" and {len(absent) - 5} more" if len(absent) > 5 else "")
        known = {column.name for column in self.columns_}
        spare = [name for name in frame.columns if name not in known]
        remedy = f"add {'it' if len(absent) == 1 else 'them'}, empty if unknown"
        if spare:
            remedy += f"; columns that the model does not know: {', '.join(map(repr, spare[:5]))}"
        raise _checks.bad_value("data", "every column that the model uses", f"none called {names}", remedy)

    def differences(self, X: Any) -> list[str]:
        """How X differs from what was learned, in sentences: other columns, another order, unseen categories, what is no number or date."""
        check_is_fitted(self, "columns_")
        frame = _frame(X)
        self._require(frame)
        known = [column.name for column in self.columns_]
        extra = [name for name in frame.columns if name not in known]
        told = []
        if extra:
            told.append(
                f"Columns that the model does not know, left out: {', '.join(map(repr, extra[:8]))}{' …' if len(extra) > 8 else ''}."
            )
        there = [name for name in frame.columns if name in known]
        if there != [name for name in known if name in set(there)]:
            told.append("The columns come in another order; they are matched by name.")
        for column in self.columns_:
            if column.used and (sentence := _unlike(column, frame[column.name])):
                told.append(sentence)
        return told

    @property
    def notes_(self) -> list[str]:
        """What had to be decided, a sentence a column."""
        return [f"{column.name}: {note}." for column in self.columns_ for note in column.notes if column.used]

    @property
    def sources_(self) -> list[str]:
        """The column that each encoded column comes from."""
        return [column.name for column in self.columns_ for _ in column.encoded]

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Names of the encoded columns."""
        check_is_fitted(self, "columns_")
        return np.array([name for column in self.columns_ for name in column.encoded], dtype=object)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        tags.input_tags.string = True
        tags.no_validation = True
        return tags


def _frame(X: Any) -> pd.DataFrame:
    if not is_table(X):
        got = type(X).__name__
        raise _checks.bad_type(
            "X", "a frame with named columns", got, "make one: pandas.DataFrame(X, columns=[...])"
        )
    return named(as_frame(X))


def _categories(column: Column, values: pd.Series) -> pd.Categorical:
    texts = as_texts(values)
    known, rest = set(column.levels), OTHER if column.other else None
    made = [text if text is None or text in known else rest for text in texts]
    return pd.Categorical(made, categories=[*column.levels, *([OTHER] if column.other else [])])


def _unlike(column: Column, values: pd.Series) -> str:
    """What is in a column that was not there when it was learned."""
    if column.kind == "category":
        strange = [] if column.other else sorted(set(as_texts(values).dropna()) - set(column.levels))
        listed = ", ".join(map(repr, strange[:5])) + (" …" if len(strange) > 5 else "")
        return f"{column.name}: {listed} did not occur in training, taken as missing." if strange else ""
    is_date = column.kind == "date"
    found = as_moments(column, values) if is_date else as_numbers(values)
    lost = as_texts(values)[(found.isna() & values.notna()).to_numpy()]
    if not len(lost):
        return ""
    what = "no date as in training" if is_date else "no number"
    return f"{column.name}: {lost.iloc[0]!r} in {len(lost):,} row{'s' * (len(lost) > 1)} is {what}, taken as missing."
