"""The column that is to be predicted: classes or numbers, and what else in the table gives it away."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from agop import _checks
from agop.tables.encoder import TableEncoder
from agop.tables.kinds import as_numbers, as_texts

TASKS = ("auto", "classification", "regression")
MOST_CLASSES_OF_NUMBERS = 10
"""Whole numbers of at most so many different values are classes, unless a regression is asked for."""

_DIFFERENT = 0.5
"""Texts of which more than this share are different are no classes."""


@dataclass(frozen=True, eq=False)
class Target:
    """What is predicted: the name of its column, "classification" or "regression", values of the rows that have one, and which rows."""

    name: str
    task: str
    values: np.ndarray
    rows: np.ndarray
    why: str = ""


def target_of(values: pd.Series, name: str, task: str = "auto") -> Target:
    """The target in a column, without the rows in which it is missing.

    Raises
    ------
    ValueError
        One sentence, if no row has one, all have the same, or the values don't suit the task.
    """
    _checks.one_of("task", task, TASKS)
    rows = values.notna().to_numpy()
    present = values[rows]
    if not len(present):
        raise _checks.bad_value(
            "target", "values to learn", f"none in column {name!r}", "choose another column"
        )
    numbers = as_numbers(present)
    is_number = bool(numbers.notna().all()) and not _holds_dates(present)
    why = ""
    if task == "auto":
        task, why = _guessed(present, numbers, is_number)
    if task == "regression":
        return Target(name, task, _numbers(present, numbers, is_number, name), rows, why)
    return Target(name, task, _classes(present, numbers, is_number, name), rows, why)


def _holds_dates(present: pd.Series) -> bool:
    return present.dtype.kind in "mM" or isinstance(present.dtype, pd.DatetimeTZDtype | pd.PeriodDtype)


def _guessed(present: pd.Series, numbers: pd.Series, is_number: bool) -> tuple[str, str]:
    if (
        pd.api.types.is_bool_dtype(present.dtype)
        or isinstance(present.dtype, pd.CategoricalDtype)
        or not is_number
    ):
        return "classification", "its values are no numbers"
    different = numbers.nunique()
    if different <= MOST_CLASSES_OF_NUMBERS and (numbers % 1 == 0).all():
        return "classification", f"it has {different} different whole numbers"
    return "regression", f"it has {different:,} different numbers"


def _numbers(present: pd.Series, numbers: pd.Series, is_number: bool, name: str) -> np.ndarray:
    if _holds_dates(present):
        raise _checks.bad_value(
            "target",
            "numbers for a regression",
            f"dates in column {name!r}",
            "make numbers of them, such as days",
        )
    if not is_number:
        strange = as_texts(present)[numbers.isna()]
        got = f"{strange.iloc[0]!r} in column {name!r} ({len(strange):,} such row{'s' * (len(strange) > 1)})"
        raise _checks.bad_value(
            "target", "numbers for a regression", got, "mend them, or ask for a classification"
        )
    made = numbers.to_numpy()
    if not np.isfinite(made).all():
        got = f"{int((~np.isfinite(made)).sum()):,} infinite entries in column {name!r}"
        raise _checks.bad_value("target", "finite numbers", got, "mend them")
    if len(np.unique(made)) < 2:
        raise _checks.bad_value(
            "target", "numbers that differ", f"only {made[0]:g} in column {name!r}", "choose another column"
        )
    return np.asarray(made, dtype=np.float64)


def _classes(present: pd.Series, numbers: pd.Series, is_number: bool, name: str) -> np.ndarray:
    values: Any
    if isinstance(present.dtype, pd.CategoricalDtype):
        present = present.astype(present.dtype.categories.dtype)
    if pd.api.types.is_bool_dtype(present.dtype):
        values = as_texts(present).to_numpy()
    elif (
        is_number and present.dtype.kind in "iuf" and (numbers % 1 == 0).all() and numbers.abs().max() < 2**53
    ):
        values = numbers.to_numpy().astype(np.int64)
    else:
        values = as_texts(present).to_numpy()
    classes, counts = np.unique(values.astype(str) if values.dtype == object else values, return_counts=True)
    values = values.astype(str) if values.dtype == object else values
    if len(classes) < 2:
        raise _checks.bad_value(
            "target",
            "at least two classes",
            f"only {classes[0]!s} in column {name!r}",
            "choose another column",
        )
    if len(classes) > _DIFFERENT * len(values) and len(classes) > 2:
        got = f"{len(classes):,} different ones in {len(values):,} rows of column {name!r}"
        raise _checks.bad_value(
            "target",
            "classes that come again",
            got,
            "ask for a regression if they are numbers, or group them",
        )
    if counts.max() < 2:
        raise _checks.bad_value("target", "two rows of a class", "one of each", "add rows")
    return np.asarray(values)


def leaks(encoder: TableEncoder, frame: pd.DataFrame, target: Target) -> tuple[dict[str, str], list[str]]:
    """Columns that are the target by another name, with the reason; and sentences about those that look like it.

    A column is the target if each of its values belongs to one value of the target and the other way round (classes), or if it is a
    linear function of it (numbers). One that only orders the rows as the target does is told, not dropped.
    """
    reasons, told = {}, []
    values = target.values
    codes = np.unique(values, return_inverse=True)[1]
    for column in encoder.columns_:
        if not column.used or column.kind == "date" or len(values) < 3:
            continue
        own = frame[column.name]
        if own.isna().any():
            continue
        if target.task == "classification":
            pairs = pd.DataFrame({"own": as_texts(own).to_numpy(), "target": codes}).drop_duplicates()
            if not pairs["own"].duplicated().any() and not pairs["target"].duplicated().any():
                reasons[column.name] = "equal to the target"
        elif column.kind == "number":
            numbers = as_numbers(own).to_numpy()
            if _is_linear(numbers, values):
                reasons[column.name] = (
                    "equal to the target"
                    if np.array_equal(numbers, values)
                    else "a linear function of the target"
                )
            elif _orders_alike(numbers, values):
                told.append(
                    f"{column.name} orders the rows exactly as {target.name} does: drop it if it is made from it."
                )
    return reasons, told


def _is_linear(numbers: np.ndarray, values: np.ndarray) -> bool:
    if not np.isfinite(numbers).all():
        return False
    a, b = numbers - numbers.mean(), values - values.mean()
    top = float(np.abs(a).max()), float(np.abs(b).max())
    if not min(top) > 0 or not np.isfinite(top).all():
        return False
    a, b = a / top[0], b / top[1]
    slope = float(a @ b) / float(a @ a)
    return bool(np.abs(b - slope * a).max() < 1e-9)


def _orders_alike(numbers: np.ndarray, values: np.ndarray) -> bool:
    if len(np.unique(values)) < 20:
        return False
    ranks = rankdata(numbers), rankdata(values)
    return bool(np.array_equal(*ranks) or np.array_equal(ranks[0], len(values) + 1 - ranks[1]))
