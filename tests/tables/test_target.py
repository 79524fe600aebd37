"""The column to predict: which task it makes, what it can't be, and columns that give it away."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from agop.tables.model import prepare
from agop.tables.target import target_of

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("values", "task", "kind"),
    [
        (RNG.normal(size=30), "regression", "f"),
        ([1, 2, 3] * 10, "classification", "i"),
        ([1.0, 2.0, np.nan] * 10, "classification", "i"),
        ([0.5, 1.5] * 15, "regression", "f"),
        (list(range(30)), "regression", "f"),
        (["a", "b", None] * 10, "classification", "U"),
        ([True, False] * 15, "classification", "U"),
        (pd.Categorical([1, 2] * 15), "classification", "i"),
        (["1", "2"] * 15, "classification", "U"),
        (["1.5", "2", "3"] * 10, "regression", "f"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_task_follows_from_the_values(values, task, kind):
    found = target_of(pd.Series(values), "y")
    assert found.task == task
    assert found.values.dtype.kind == kind
    assert len(found.values) == found.rows.sum() == pd.Series(values).notna().sum()


def test_the_task_can_be_said():
    assert target_of(pd.Series([1, 2, 3] * 10), "y", "regression").values.tolist() == [1.0, 2.0, 3.0] * 10
    assert target_of(pd.Series(range(12)).repeat(3), "y", "classification").values.dtype.kind == "i"


@pytest.mark.parametrize(
    ("values", "task", "says"),
    [
        ([None, np.nan], "auto", "target: expected values to learn, got none in column 'y'; choose another column."),
        (["a"] * 9, "auto", "target: expected at least two classes, got only a in column 'y'; choose another column."),
        ([3] * 9, "classification", "target: expected at least two classes, got only 3 in column 'y'"),
        ([3] * 9, "regression", "target: expected numbers that differ, got only 3 in column 'y'"),
        (["high", "1", "low"], "regression", "target: expected numbers for a regression, got 'high' in column 'y' (2 such rows);"),
        ([1.0, np.inf, 2.0], "regression", "target: expected finite numbers, got 1 infinite entries in column 'y'; mend them."),
        (pd.date_range("2020-01-01", periods=9), "regression", "target: expected numbers for a regression, got dates in column 'y'"),
        ([f"k{i}" for i in range(9)], "auto", "target: expected classes that come again, got 9 different ones in 9 rows of column 'y'"),
        (["a", "b"], "auto", "target: expected two rows of a class, got one of each"),
    ],
)  # fmt: skip
def test_what_can_not_be_predicted_is_one_sentence(values, task, says):
    with pytest.raises(ValueError) as caught:
        target_of(pd.Series(values), "y", task)
    assert str(caught.value).startswith(says)
    assert str(caught.value).endswith(".")


def frame(n=60):
    x = RNG.normal(size=(n, 2))
    return pd.DataFrame({"a": x[:, 0], "b": x[:, 1], "y": x[:, 0] + x[:, 1] ** 2})


def dropped(ready):
    return {column.name: column.dropped for column in ready.encoder.columns_ if column.dropped}


def test_columns_that_are_the_target_are_left_out():
    table = frame()
    table = table.assign(
        same=table["y"],
        cents=100 * table["y"] + 7,
        logged=np.log(table["y"] + 10),
        near=table["y"] + 1e-3 * table["a"],
    )
    ready = prepare(table, "y")
    assert dropped(ready) == {"same": "equal to the target", "cents": "a linear function of the target"}
    assert ready.notes == ("logged orders the rows exactly as y does: drop it if it is made from it.",)


def test_codes_of_classes_are_the_target():
    table = frame().assign(y=lambda t: np.where(t["a"] > 0, "yes", "no"))
    table = table.assign(
        code=(table["y"] == "yes").astype(int), word=table["y"].str.upper(), half=table["a"] > 0.5
    )
    assert dropped(prepare(table, "y")) == {"code": "equal to the target", "word": "equal to the target"}


def test_rows_without_a_target_are_left_out_and_told():
    table = frame().assign(g=np.arange(60) // 6)
    table.loc[::20, "y"] = np.nan
    ready = prepare(table, "y", group_by="g")
    assert ready.notes[0] == "3 rows without y left out."
    assert len(ready.frame) == len(ready.target.values) == len(ready.groups) == 57
    assert "g" not in ready.frame


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"target": "Y"}, "target: expected the name of a column, got 'Y'; near it: 'y'."),
        ({"target": "price"}, "target: expected the name of a column, got 'price'; columns: 'a', 'b', 'y'."),
        ({"drop": ["aa"]}, "drop: expected the name of a column, got 'aa'; near it: 'a'."),
        ({"group_by": "g"}, "group_by: expected the name of a column"),
        ({"drop": ["y"]}, "target: expected a column that is not dropped, got 'y'."),
        ({"drop": ["a", "b"]}, "data: expected a column that can be learned from, got none ('a': as asked; 'b': as asked)"),
        ({"task": "ranking"}, "task: expected one of 'auto', 'classification', 'regression', got 'ranking'."),
    ],
)  # fmt: skip
def test_what_is_not_there_is_one_sentence(options, says):
    with pytest.raises(ValueError) as caught:
        prepare(frame(), **{"target": "y"} | options)
    assert str(caught.value).startswith(says)


def test_one_group_is_none():
    with pytest.raises(
        ValueError, match="group_by: expected at least two groups, got one in column 'g'; leave it out"
    ):
        prepare(frame().assign(g=1), "y", group_by="g")
    with pytest.raises(ValueError, match="data: expected columns beside the target, got none"):
        prepare(frame()[["y"]], "y")
