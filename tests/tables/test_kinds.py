"""What columns are taken for, what of them is left out and why."""

from __future__ import annotations

import datetime as dt
import decimal

import numpy as np
import pandas as pd
import pytest

from agop import TableEncoder
from agop.tables.dates import parts
from agop.tables.kinds import MOST_LEVELS, OTHER, column_of

RNG = np.random.default_rng(0)
DAYS = pd.Series(pd.date_range("2019-12-25", periods=40))


def taken(values, name="c", **options):
    return column_of(pd.Series(values), name, **options)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (RNG.normal(size=40), "number"),
        (RNG.integers(9, size=40), "number"),
        (pd.array([1, None, 3] * 10, dtype="Int64"), "number"),
        (["1.5", "2", None] * 10, "number"),
        ([decimal.Decimal("1.5"), decimal.Decimal(2)] * 10, "number"),
        (pd.to_timedelta(RNG.integers(1, 100, 40), unit="h"), "number"),
        (["a", "b", None] * 10, "category"),
        ([True, False] * 10, "category"),
        ([True, None, False] * 10, "category"),
        (pd.Categorical([1, 2] * 10), "category"),
        (DAYS, "date"),
        (DAYS.dt.tz_localize("Europe/Oslo"), "date"),
        (DAYS.dt.to_period("D"), "date"),
        (DAYS.dt.strftime("%Y-%m-%d"), "date"),
        (DAYS.dt.strftime("%d.%m.%Y %H:%M"), "date"),
        (DAYS.dt.strftime("%b %d, %Y"), "date"),
        ([dt.date(2020, 1, day) for day in range(1, 29)], "date"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_values_are_taken_for(values, kind):
    column = taken(values)
    assert column.kind == kind
    assert column.used, column.dropped


@pytest.mark.parametrize(
    ("values", "name", "why"),
    [
        ([None] * 30, "c", "no values"),
        ([np.nan] * 30, "c", "no values"),
        ([7.0] * 30, "c", "constant"),
        (["a"] * 30, "c", "constant"),
        ([pd.Timestamp("2020-01-01")] * 30, "c", "constant"),
        (range(30), "c", "identifier-like: whole numbers, each once"),
        (range(30, 0, -1), "Unnamed: 0", "identifier-like: whole numbers, each once"),
        (RNG.permutation(1000)[:30], "customer_id", "identifier-like: whole numbers, each once"),
        (RNG.permutation(1000)[:30], "ID", "identifier-like: whole numbers, each once"),
        ([f"k{i}" for i in range(30)], "c", "identifier-like: 30 different values in 30 rows"),
        ([f"some words, and {i}" for i in range(30)], "c", "free text: 30 different values in 30 rows"),
    ],
)
def test_what_is_of_no_use_is_left_out_with_the_reason(values, name, why):
    assert taken(list(values), name).dropped == why


def test_what_looks_like_an_identifier_can_be_kept():
    assert taken(
        RNG.permutation(1000)[:30], "price"
    ).used  # whole numbers that differ are no identifier by themselves
    assert taken(RNG.permutation(1000)[:30], "humid").used
    assert taken(list(range(30)), keep=True).used
    assert taken([f"k{i}" for i in range(30)], keep=True).levels


def test_a_constant_with_gaps_says_something():
    assert taken([1.0, None] * 20).used
    assert taken(["a", None] * 20).used


def test_few_words_among_numbers_are_missing_and_told():
    column = taken(["1", "2.5", "?"] + ["3"] * 40)
    assert column.kind == "number"
    assert column.notes == ("'?' in 1 row: no number, taken as missing",)


def test_numbers_and_texts_mixed_are_texts_and_told():
    column = taken([1, 2.0, "x", "y", 1.0] * 8)
    assert column.kind == "category"
    assert column.levels == ("1", "2", "x", "y")
    assert column.notes == ("numbers and texts ('x', 'y' in 16 rows), all taken as texts",)


@pytest.mark.parametrize("value", [[1, 2], {"a": 1}, object(), b"bytes", 1j])
def test_what_no_column_can_hold_is_one_sentence(value):
    with pytest.raises(ValueError, match=r"^data: expected .* got .*'c'; drop it"):
        taken([value, value] * 20)


def test_infinite_numbers_are_one_sentence():
    with pytest.raises(
        ValueError,
        match="data: expected finite numbers, got 1 infinite entries in column 'c'; mend them or drop it",
    ):
        taken([np.inf, 1.0, 2.0])


def test_rare_ones_of_many_categories_are_one():
    values = [f"v{i}" for i in range(100_000)] + [f"v{i}" for i in range(200)]
    column = taken(values, kind="category")
    assert column.other
    assert len(column.levels) == MOST_LEVELS
    note = "100,000 categories: the 100 most frequent are told apart, the others (100,000 rows) are one"
    assert column.notes == (note,)
    encoder = TableEncoder().fit(pd.DataFrame({"c": [f"v{i % 150}" for i in range(600)]}))
    known = encoder.columns_[0].levels[0]
    new = pd.DataFrame({"c": ["v99", known, "new", None]})
    assert encoder.transform(new)["c"].tolist()[:3] == [OTHER, known, OTHER]
    assert encoder.differences(new) == []


def test_dates_become_the_parts_that_vary():
    frame = pd.DataFrame({"when": ["2020-01-31 06:30", "2021-03-01 18:00", None, "nonsense"]})
    encoder = TableEncoder().fit(frame[:3])
    assert list(encoder.get_feature_names_out()) == [
        f"when: {part}" for part in ("days", "month", "day", "weekday", "hour")
    ]
    made = encoder.transform(frame)
    assert made.iloc[0].tolist() == [18292 + 6.5 / 24, 1, 31, 4, 6.5]
    assert made.iloc[2:].isna().all(axis=None)
    assert encoder.sources_ == ["when"] * 5
    assert encoder.differences(frame) == [
        "when: 'nonsense' in 1 row is no date as in training, taken as missing."
    ]


def test_days_and_months_that_could_be_either_are_told():
    ambiguous = taken(["01/02/2020", "03/04/2021", "05/06/2020"] * 3)
    assert ambiguous.form == "%m/%d/%Y"
    assert ambiguous.notes == ("month and day could be either; read as %m/%d/%Y",)
    assert taken(["01/02/2020", "13/04/2021"] * 3).form == "%d/%m/%Y"


def test_zones_are_moved_to_one():
    values = pd.Series(["2020-01-01T00:00:00+02:00", "2020-06-01T00:00:00-02:00"] * 3)
    column = taken(values)
    assert column.kind == "date"
    when = TableEncoder().fit(pd.DataFrame({"t": values})).transform(pd.DataFrame({"t": values}))["t: hour"]
    assert when.tolist()[:2] == [22.0, 2.0]


def test_parts_of_a_date_are_those_of_the_calendar():
    when = pd.Series([pd.Timestamp("1970-01-02"), pd.Timestamp("2000-02-29 12:00")])
    made = parts(when)
    assert made["days"].tolist() == [1.0, 11016.5]
    assert made["weekday"].tolist() == [4.0, 1.0]


def frame_of(n=60):
    rng = np.random.default_rng(1)
    return pd.DataFrame(
        {"a": rng.normal(size=n), "b": rng.choice(["x", "y"], n), 3: rng.normal(size=n), "id": range(n)}
    )


def test_columns_are_matched_by_name():
    frame = frame_of()
    encoder = TableEncoder().fit(frame)
    assert [column.name for column in encoder.columns_] == ["a", "b", "3", "id"]
    shuffled = frame[["id", 3, "b", "a"]].assign(more=1)
    pd.testing.assert_frame_equal(encoder.transform(shuffled), encoder.transform(frame))
    assert encoder.differences(shuffled) == [
        "Columns that the model does not know, left out: 'more'.",
        "The columns come in another order; they are matched by name.",
    ]
    assert encoder.differences(frame.drop(columns="id")) == []
    with pytest.raises(
        ValueError,
        match=r"data: expected every column that the model uses, got none called 'a'; add it, empty if unknown; columns that .*: 'A'",
    ):
        encoder.transform(frame.rename(columns={"a": "A"}))


def test_unseen_categories_are_missing_and_told():
    encoder = TableEncoder().fit(frame_of())
    other = frame_of().assign(b="z")
    assert encoder.transform(other)["b"].isna().all()
    assert encoder.differences(other) == ["b: 'z' did not occur in training, taken as missing."]


def test_the_same_category_whatever_its_type():
    encoder = TableEncoder(categories=["c"]).fit(pd.DataFrame({"c": [1, 2, 3] * 10}))
    for values in ([1, 2], [1.0, 2.0], ["1", "2"], [" 1", "2 "]):
        assert encoder.transform(pd.DataFrame({"c": values}))["c"].tolist() == ["1", "2"]


def test_what_is_asked_for_is_done_or_refused_with_near_names():
    frame = frame_of()
    encoder = TableEncoder(drop=["a"], keep=["id"]).fit(frame)
    assert list(encoder.get_feature_names_out()) == ["b", "3", "id"]
    assert encoder.columns_[0].dropped == "as asked"
    with pytest.raises(ValueError, match="drop: expected the name of a column, got 'Idd'; near it: 'id'"):
        TableEncoder(drop=["Idd"]).fit(frame)
    with pytest.raises(ValueError, match="data: expected a column that can be learned from, got none"):
        TableEncoder().fit(frame[["id"]])
    with pytest.raises(ValueError, match="data: expected a name of its own for each column, got 'a' 2 times"):
        TableEncoder().fit(pd.concat([frame[["a"]], frame[["a"]]], axis=1))
    with pytest.raises(TypeError, match="X: expected a frame with named columns, got ndarray"):
        TableEncoder().fit(np.ones((4, 2)))


@pytest.mark.parametrize("library", ["polars", "pyarrow"])
def test_frames_of_other_libraries(library):
    module = pytest.importorskip(library)
    frame = frame_of().rename(columns={3: "c"})
    other = (
        module.DataFrame(frame.to_dict("list"))
        if library == "polars"
        else module.table(frame.to_dict("list"))
    )
    pd.testing.assert_frame_equal(
        TableEncoder().fit(frame).transform(other), TableEncoder().fit(other).transform(frame)
    )


def test_it_stands_in_a_pipeline():
    from sklearn.base import clone
    from sklearn.model_selection import cross_val_score
    from sklearn.pipeline import make_pipeline

    import agop

    frame = frame_of()
    y = frame["a"] + (frame["b"] == "x")
    pipeline = make_pipeline(TableEncoder(), agop.RFMRegressor(n_iter=1))
    assert cross_val_score(clone(pipeline), frame, y, cv=2).min() > 0.8
