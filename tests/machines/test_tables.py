"""Categories, gaps and frames of three libraries: what is taken for what, what a value stands for, and what is told."""

from __future__ import annotations

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.model_selection import cross_val_score
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import agop
from tests.sentences import one_sentence
from tests.tolerances import ITERATIVE

RNG = np.random.default_rng(0)
N = 120
CITY = RNG.choice(["Rome", "Oslo", "Bern"], N)
AGE, INCOME = RNG.normal(40, 9, N), RNG.lognormal(8, 1, N)
Y = 0.1 * AGE + (CITY == "Rome") * 2 + 0.1 * RNG.normal(size=N)
FRAME = pd.DataFrame({"age": AGE, "city": pd.Categorical(CITY), "income": INCOME})
MODEL = agop.RFMRegressor(bandwidth="median", ridge=0.1, n_iter=2)


def frames():
    yield "pandas", FRAME
    polars = pytest.importorskip("polars")
    data = {"age": AGE, "city": polars.Series(CITY.tolist(), dtype=polars.Categorical), "income": INCOME}
    yield "polars", polars.DataFrame(data)
    arrow = pytest.importorskip("pyarrow")
    yield "pyarrow", arrow.Table.from_pandas(FRAME)


def test_three_libraries_and_one_answer():
    expected = clone(MODEL).fit(FRAME, Y).predict(FRAME)
    for name, frame in frames():
        model = clone(MODEL).fit(frame, Y)
        np.testing.assert_array_equal(model.predict(frame), expected, err_msg=name)
        assert list(model.feature_names_in_) == ["age", "city", "income"], name
        assert model.categories_ == [None, ["Bern", "Oslo", "Rome"], None]


def test_an_encoder_before_the_estimator_gives_the_same():
    """Numbers standardised, one indicator a level, none rescaled."""
    before = make_column_transformer(
        (StandardScaler(), ["age", "income"]), (OneHotEncoder(sparse_output=False), ["city"])
    )
    coded = before.fit_transform(FRAME)
    expected = clone(MODEL).set_params(scaling="none").fit(coded, Y)
    model = clone(MODEL).fit(FRAME, Y)
    np.testing.assert_allclose(model.predict(FRAME), expected.predict(coded), rtol=1e-6)
    np.testing.assert_allclose(model.agop_, expected.agop_, atol=1e-8)
    assert model.encoded_feature_names_ == ["age", "income", "city=Bern", "city=Oslo", "city=Rome"]
    assert model.n_features_in_ == 3


@pytest.mark.parametrize("asked", [[1], ["city"], [False, True, False], np.array([1]), "from_dtype"])
def test_which_columns_are_categories(asked):
    model = clone(MODEL).set_params(categorical_features=asked).fit(FRAME, Y)
    np.testing.assert_array_equal(model.predict(FRAME), clone(MODEL).fit(FRAME, Y).predict(FRAME))


@pytest.mark.parametrize("kind", [np.array, torch.as_tensor], ids=["array", "tensor"])
def test_codes_in_arrays_and_tensors(kind):
    codes = FRAME["city"].cat.codes.to_numpy().astype(float)
    X = kind(np.c_[AGE, 7 * codes, INCOME])
    model = clone(MODEL).set_params(categorical_features=[1]).fit(X, Y)
    assert model.categories_ == [None, [0.0, 7.0, 14.0], None]
    np.testing.assert_allclose(
        np.asarray(model.predict(X)), clone(MODEL).fit(FRAME, Y).predict(FRAME), atol=1e-9
    )


def test_texts_named_as_categories():
    X = np.array([AGE.tolist(), CITY.tolist(), INCOME.tolist()], dtype=object).T
    model = clone(MODEL).set_params(categorical_features=[1]).fit(X, Y)
    np.testing.assert_allclose(model.predict(X), clone(MODEL).fit(FRAME, Y).predict(FRAME), atol=1e-9)


def test_order_of_rows_and_names_of_levels_do_not_matter():
    expected = clone(MODEL).fit(FRAME, Y).predict(FRAME)
    order = RNG.permutation(N)
    shuffled = clone(MODEL).fit(FRAME.iloc[order], Y[order]).predict(FRAME)
    np.testing.assert_allclose(shuffled, expected, atol=ITERATIVE)
    other = FRAME.assign(city=FRAME["city"].cat.rename_categories({"Rome": "A", "Oslo": "Z", "Bern": "M"}))
    np.testing.assert_allclose(clone(MODEL).fit(other, Y).predict(other), expected, atol=ITERATIVE)


def with_gaps(frame=FRAME):
    frame = frame.copy()
    frame.loc[::7, "income"] = np.nan
    frame.loc[::11, "city"] = np.nan
    return frame


def test_gaps_are_means_with_an_indicator_and_a_level():
    model = clone(MODEL).fit(with_gaps(), Y)
    assert model.missing_indicator_ == [2]
    assert model.categories_[1] == ["Bern", "Oslo", "Rome", None]
    names = [
        "age",
        "income",
        "income is missing",
        *(f"city={c}" for c in ("Bern", "Oslo", "Rome")),
        "city is missing",
    ]
    assert model.encoded_feature_names_ == names
    gaps = with_gaps()
    filled = SimpleImputer(strategy="mean", add_indicator=True).fit_transform(gaps[["age", "income"]])
    scaled = filled.copy()
    present = gaps["income"].dropna()
    scaled[:, 1] = (filled[:, 1] - present.mean()) / present.std(ddof=0)
    scaled[:, 0] = StandardScaler().fit_transform(filled[:, :1])[:, 0]
    levels = OneHotEncoder(sparse_output=False).fit_transform(gaps[["city"]].astype(object))
    coded = np.c_[scaled, levels]
    expected = clone(MODEL).set_params(scaling="none").fit(coded, Y).predict(coded)
    np.testing.assert_allclose(model.predict(gaps), expected, rtol=1e-6)


def test_values_that_fit_did_not_see():
    model = clone(MODEL).fit(FRAME, Y)
    new = FRAME.head(4).assign(city=pd.Categorical(["Paris", None, "Rome", "Paris"]))
    found = model.predict(new)
    assert np.isfinite(found).all()
    same = FRAME.head(1).assign(city=pd.Categorical([None]))
    np.testing.assert_allclose(model.predict(same), found[:1], rtol=1e-12)  # unseen is missing
    gaps = clone(MODEL).fit(with_gaps(), Y)
    unseen, missing = (FRAME.head(1).assign(city=pd.Categorical([value])) for value in ("Paris", None))
    np.testing.assert_array_equal(gaps.predict(unseen), gaps.predict(missing))
    late = FRAME.head(1).assign(age=np.nan)  # no gap in fit: its mean
    mean = FRAME.head(1).assign(age=AGE.mean())
    np.testing.assert_allclose(model.predict(late), model.predict(mean), rtol=1e-9)


def test_rows_without_names_are_read_like_those_with_them():
    model = clone(MODEL).fit(FRAME, Y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn: no names, where fit had some
        found = model.predict(FRAME.to_numpy(dtype=object))
    np.testing.assert_array_equal(found, model.predict(FRAME))


def test_gaps_in_arrays_tensors_and_single_precision():
    X = np.c_[AGE, INCOME]
    X[::5, 1] = np.nan
    expected = clone(MODEL).fit(X, Y).predict(X)
    np.testing.assert_array_equal(
        clone(MODEL).fit(torch.from_numpy(X), Y).predict(torch.from_numpy(X)), expected
    )
    single = clone(MODEL).fit(X.astype(np.float32), Y).predict(X.astype(np.float32))
    np.testing.assert_allclose(single, expected, rtol=1e-4)
    with pytest.raises(ValueError, match="infinity"):
        clone(MODEL).fit(np.where(np.isnan(X), np.inf, X), Y)
    with pytest.raises(ValueError, match="X: expected finite values or NaN, got infinity"):
        clone(MODEL).fit(torch.from_numpy(np.where(np.isnan(X), np.inf, X)), Y)


def test_a_column_without_any_value_is_harmless():
    X = np.c_[AGE, INCOME]
    empty = np.c_[X, np.full(N, np.nan)]
    np.testing.assert_allclose(
        clone(MODEL).fit(empty, Y).predict(empty), clone(MODEL).fit(X, Y).predict(X), atol=1e-9
    )


def test_weights_count_for_means_levels_and_gaps():
    gaps = with_gaps()
    w = RNG.integers(0, 3, N)
    w[CITY == "Oslo"] = 0
    weighted = clone(MODEL).fit(gaps, Y, sample_weight=w)
    repeated = clone(MODEL).fit(gaps.loc[gaps.index.repeat(w)], np.repeat(Y, w))
    assert weighted.categories_ == repeated.categories_
    assert "Oslo" not in weighted.categories_[1]
    np.testing.assert_allclose(weighted.predict(gaps), repeated.predict(gaps), atol=ITERATIVE)


@pytest.mark.parametrize("kind", [sparse.csr_matrix, sparse.csc_matrix, sparse.csr_array])
def test_sparse_matrices_are_dense_ones(kind):
    X = np.c_[AGE, INCOME] * (RNG.uniform(size=(N, 2)) < 0.5)
    model = clone(MODEL).fit(kind(X), Y)
    np.testing.assert_array_equal(model.predict(kind(X)), clone(MODEL).fit(X, Y).predict(X))
    with pytest.raises(MemoryError, match="X: expected a sparse matrix that fits into .* as a dense one"):
        clone(MODEL).fit(sparse.csr_matrix((10**7, 10**6)), np.ones(10**7))


def test_saving_and_pickling_keep_columns(tmp_path):
    frame = with_gaps()
    model = clone(MODEL).set_params(categorical_features=["city"]).fit(frame, Y)
    model.save(tmp_path / "m")
    for again in (agop.RFMRegressor.load(tmp_path / "m"), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(again.predict(frame), model.predict(frame))
        assert again.categories_ == model.categories_
        assert again.encoded_feature_names_ == model.encoded_feature_names_


def test_inside_a_pipeline_of_skrub():
    skrub = pytest.importorskip("skrub")
    frame = with_gaps().assign(when=pd.date_range("2024-01-01", periods=N), word=CITY)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pipeline = skrub.tabular_pipeline(clone(MODEL))
        assert cross_val_score(pipeline, frame, Y, cv=3).mean() > 0.7


BAD = {
    "texts": (
        FRAME.assign(city=CITY),
        {},
        "X: expected columns of numbers or categories, got text in column 'city'; make it",
    ),
    "dates": (
        FRAME.assign(d=pd.date_range("2024", periods=N)),
        {},
        "got dates in column 'd'; .*TableVectorizer",
    ),
    "objects": (FRAME.assign(o=[[1]] * N), {}, "got list in column 'o'"),
    "texts in an array": (np.array([CITY]).T, {}, "X: expected columns of numbers or categories, got text"),
    "texts in an array of objects": (np.array([CITY.tolist(), AGE.tolist()], dtype=object).T, {}, "got text"),
    "a short mask": (
        FRAME,
        {"categorical_features": [True]},
        "categorical_features: expected a mask of 3 columns, got 1 entries",
    ),
    "a position too far": (FRAME, {"categorical_features": [3]}, "expected positions from 0 to 2, got"),
    "a name that is not there": (
        FRAME,
        {"categorical_features": ["town"]},
        "names of columns of X, got 'town'",
    ),
    "names without names": (np.c_[AGE, AGE], {"categorical_features": ["a"]}, "'a', and X has no names"),
    "no choice": (
        FRAME,
        {"categorical_features": "all"},
        "The 'categorical_features' parameter of RFMRegressor must be .* Got 'all' instead",
    ),
    "one name twice": (
        FRAME.set_axis(["a", "b", "a"], axis=1),
        {},
        "different names, got 'a' more than once",
    ),
    "too many levels": (
        pd.DataFrame({"a": pd.Categorical(np.arange(2000).astype(str))}),
        {},
        "X: expected at most 1,000 categories in a column, got 2,000 in column 'a'; drop it, or group what is rare",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_taken_is_one_sentence(case):
    X, options, message = BAD[case]
    with one_sentence(match=message) as caught:
        clone(MODEL).set_params(**options).fit(X, np.resize(Y, len(X)))
    assert "HistGradientBoosting" not in str(caught.value)
