"""The scikit-learn contract, and what all four estimators owe to any input."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn import __version__ as sklearn_version
from sklearn import config_context
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, KFold, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_param_validation, parametrize_with_checks
from sklearn.utils.fixes import parse_version

import agop

REGRESSORS = [
    agop.RFMRegressor(bandwidth=3.0, n_iter=2),
    agop.DeepRFMRegressor(n_layers=2, width=32, random_state=0),
]
CLASSIFIERS = [
    agop.RFMClassifier(bandwidth=3.0, n_iter=2),
    agop.DeepRFMClassifier(n_layers=2, width=32, random_state=0),
]
ALL = REGRESSORS + CLASSIFIERS


def named(estimators):
    return pytest.mark.parametrize("estimator", estimators, ids=lambda e: type(e).__name__)


@parametrize_with_checks(ALL)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("cls", [agop.RFMRegressor, agop.RFMClassifier])
def test_parameters_are_checked_in_scikit_learn_s_words(cls):
    check_param_validation(cls.__name__, cls())


@named(CLASSIFIERS)
def test_labels_are_tensors_for_tensors_if_they_are_numbers(estimator, blobs):
    X, y = blobs
    rows = torch.as_tensor(X)
    for labels in (torch.as_tensor(y), y.astype(np.float32), y == 1):
        model = clone(estimator).fit(rows, labels)
        found = model.predict(rows)
        assert isinstance(found, torch.Tensor)
        np.testing.assert_array_equal(found.numpy(), model.predict(X))
    named = clone(estimator).fit(rows, np.array(["a", "b", "c"])[y]).predict(rows)
    assert isinstance(named, np.ndarray)


@named(CLASSIFIERS)
def test_logarithms_of_probabilities(estimator, blobs):
    X, y = blobs
    model = clone(estimator).fit(X, y)
    np.testing.assert_array_equal(
        np.exp(model.predict_log_proba(X)).round(12), model.predict_proba(X).round(12)
    )
    rows = torch.as_tensor(X)
    assert torch.equal(model.predict_log_proba(rows), model.predict_proba(rows).log())


def test_class_weights_are_sample_weights(blobs):
    X, y = blobs[0], np.minimum(blobs[1], 1)
    w = np.random.default_rng(0).uniform(0.5, 2, len(y))
    options = {"bandwidth": 3.0, "n_iter": 2}

    def decided(weight=None, class_weight=None):
        model = agop.RFMClassifier(class_weight=class_weight, **options).fit(X, y, weight)
        return model.decision_function(X)

    named = decided(w, {1: 3.0})
    np.testing.assert_allclose(named, decided(w * np.where(y == 1, 3.0, 1.0)), rtol=1e-9)
    mass = np.bincount(y, weights=w)
    balanced = decided(w, "balanced")
    np.testing.assert_allclose(balanced, decided(w * (mass.sum() / 2 / mass)[y]), rtol=1e-9)
    far = agop.RFMClassifier(class_weight="balanced", **options).fit(X, y).predict_proba(np.full((1, 6), 1e9))
    np.testing.assert_allclose(far, 0.5)
    with pytest.raises(
        ValueError, match="class_weight: expected labels that occur in y, got 7; leave it out"
    ):
        decided(class_weight={7: 1.0})
    with pytest.raises(
        ValueError, match="The 'class_weight' parameter of RFMClassifier must be .* Got 3 instead"
    ):
        decided(class_weight=3)


@named([agop.RFMRegressor(bandwidth=3.0, n_iter=1), agop.RFMClassifier(bandwidth=3.0, n_iter=1)])
def test_weights_are_routed(estimator, blobs):
    X, y = blobs
    w = np.random.default_rng(0).uniform(0.5, 2, len(y))
    with config_context(enable_metadata_routing=True):
        step = clone(estimator).set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        pipeline = make_pipeline(scaler, step)
        if parse_version(sklearn_version) < parse_version("1.7"):  # a pipeline was asked itself
            pipeline.set_score_request(sample_weight=True)
        search = GridSearchCV(pipeline, {}, cv=3).fit(X, y, sample_weight=w)
        splits = StratifiedKFold(3) if hasattr(step, "class_weight") else KFold(3)
        scores = []
        for fit, held in splits.split(X, y):
            scaler = StandardScaler().fit(X[fit])
            fitted = clone(estimator).fit(scaler.transform(X[fit]), y[fit], w[fit])
            scores.append(fitted.score(scaler.transform(X[held]), y[held], w[held]))
    assert search.best_score_ == pytest.approx(np.mean(scores))


@named(ALL)
def test_clone_grid_search_and_pickle(estimator, blobs):
    X, y = blobs
    search = GridSearchCV(
        make_pipeline(StandardScaler(), clone(estimator)),
        {f"{type(estimator).__name__.lower()}__bandwidth": [1.0, 5.0]},
        cv=2,
    ).fit(X, y)
    again = pickle.loads(pickle.dumps(search.best_estimator_))
    np.testing.assert_array_equal(again.predict(X), search.predict(X))


@named(CLASSIFIERS)
@pytest.mark.parametrize("kind", ["strings", "booleans", "negative", "gaps"])
def test_labels_of_any_kind(estimator, blobs, kind):
    X, y = blobs
    labels = {
        "strings": np.array(["cat", "dog", "eel"])[y],
        "booleans": y == 1,
        "negative": y - 5,
        "gaps": y * 10,
    }[kind]
    model = clone(estimator).fit(X, labels)
    assert set(model.predict(X)) <= set(labels)
    assert model.score(X, labels) > 0.9
    assert model.predict_proba(X).shape == (len(X), len(set(labels)))


@named(CLASSIFIERS)
def test_probabilities_rank_like_predictions(estimator, blobs):
    X, y = blobs
    model = clone(estimator).fit(X, y)
    for rows in (X, 5 * X):
        p = model.predict_proba(rows)
        np.testing.assert_allclose(p.sum(1), 1)
        assert (p >= 0).all()
        np.testing.assert_array_equal(model.classes_[p.argmax(1)], model.predict(rows))


@named(REGRESSORS)
def test_targets_with_one_and_two_axes(estimator, blobs):
    X, y = blobs
    flat = clone(estimator).fit(X, y.astype(float))
    column = clone(estimator).fit(X, y[:, None].astype(float))
    both = clone(estimator).fit(X, np.stack([y, -y], 1).astype(float))
    assert flat.predict(X).shape == (120,)
    assert column.predict(X).shape == (120, 1)
    np.testing.assert_allclose(both.predict(X)[:, 0], -both.predict(X)[:, 1], atol=1e-8)


@named(ALL)
def test_frames_give_feature_names(estimator, blobs):
    X, y = blobs
    frame = pd.DataFrame(X, columns=list("abcdef"))
    model = clone(estimator).fit(frame, y)
    assert list(model.feature_names_in_) == list("abcdef")
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame.rename(columns={"a": "z"}))


@named(ALL)
def test_tensors_in_tensors_out(estimator, blobs):
    X, y = blobs
    tensor = torch.as_tensor(X, dtype=torch.float32)
    model = clone(estimator).fit(tensor, torch.as_tensor(y))
    array = clone(estimator).fit(X.astype(np.float32), y)
    np.testing.assert_array_equal(np.asarray(model.predict(tensor)), array.predict(X.astype(np.float32)))


@named(ALL)
@pytest.mark.parametrize("seed", [3, np.random.RandomState(3)], ids=["int", "RandomState"])
def test_inputs_and_global_generators_stay_as_they_were(estimator, blobs, seed):
    X, y = (value.copy() for value in blobs)
    X.flags.writeable = False
    torch_state, numpy_state = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    clone(estimator).set_params(random_state=seed).fit(X, y).predict(X)
    clone(estimator).set_params(random_state=None).fit(X, y)
    assert torch.equal(torch.random.get_rng_state(), torch_state)
    assert (np.random.get_state()[1] == numpy_state).all()
    np.testing.assert_array_equal(y, blobs[1])


def test_same_seed_same_numbers_other_seed_other_numbers(blobs):
    X, y = blobs
    a, b, c = (
        agop.DeepRFMClassifier(n_layers=2, width=16, random_state=s).fit(X, y).transform(X) for s in (1, 1, 2)
    )
    np.testing.assert_array_equal(a, b)
    assert not np.allclose(a, c)


BAD = {
    "NaN in X": (lambda X, y: (np.where(X == X[0, 0], np.nan, X), y), {}, "NaN"),
    "inf in X": (lambda X, y: (np.where(X == X[0, 0], np.inf, X), y), {}, "infinity"),
    "mismatched lengths": (lambda X, y: (X, y[:-1]), {}, r"y: expected as many rows as X \(120\), got 119"),
    "no rows": (lambda X, y: (X[:0], y[:0]), {}, "0 sample"),
    "negative bandwidth": (
        None,
        {"bandwidth": -1.0},
        r"bandwidth: expected a finite number > 0, got -1.0|The 'bandwidth' parameter of RFM.* Got -1.0 instead",
    ),
    "unknown kernel": (
        None,
        {"kernel": "cubic"},
        "kernel: expected one of 'laplace', 'gaussian', .*'relu-ntk', .*got 'cubic'",
    ),
    "negative ridge": (
        None,
        {"ridge": -1e-3},
        r"ridge: expected a finite number >= 0, got -0.001|The 'ridge' parameter of RFM.* Got -0.001 instead",
    ),
    "unknown solver": (
        None,
        {"solver": "magic"},
        "solver: expected one of 'auto', 'cholesky'|The 'solver' parameter of RFM.* Got 'magic' instead",
    ),
    "unknown dtype": (
        None,
        {"dtype": "float16"},
        "dtype: expected None, 'float32' or 'float64', got 'float16'",
    ),
    "unknown memory": (
        None,
        {"max_memory": "lots"},
        "max_memory: expected bytes or a text such as '20GB', got 'lots'",
    ),
    "duplicates, ridge 0": (
        lambda X, y: (np.concatenate([X, X]), np.concatenate([y, y])),
        {"ridge": 0.0},
        "ridge: expected ridge > 0 where rows of X are duplicated .* 120 duplicates among 240 rows; remove them",
    ),
}


@named(ALL)
@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_sentence(estimator, blobs, case):
    change, parameters, message = BAD[case]
    if case == "NaN in X" and not type(estimator).__name__.startswith("Deep"):
        return  # a gap, which is no error: tests/machines/test_tables.py
    X, y = blobs if change is None else change(*blobs)
    with pytest.raises(ValueError, match=message):
        clone(estimator).set_params(**parameters).fit(X, y)


@named(ALL)
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there(estimator, blobs):
    with pytest.raises(
        ValueError, match="device: expected a device of this machine, got 'cuda' with 0 CUDA devices"
    ):
        clone(estimator).set_params(device="cuda").fit(*blobs)


@named(REGRESSORS)
def test_targets_that_are_not_numbers(estimator, blobs):
    X, y = blobs
    with pytest.raises(ValueError, match="NaN"):
        clone(estimator).fit(X, np.where(y == 0, np.nan, y))


@named(CLASSIFIERS)
def test_one_class_only(estimator, blobs):
    with pytest.raises(ValueError, match="y: expected at least 2 classes, got 1 class"):
        clone(estimator).fit(blobs[0], np.zeros(120, dtype=int))


@named(CLASSIFIERS)
def test_a_class_with_one_sample_and_fewer_points_than_features(estimator, blobs):
    X, y = blobs[0][:5], np.array([0, 0, 1, 1, 2])
    assert clone(estimator).fit(X, y).score(X, y) == 1


@named(CLASSIFIERS)
def test_as_many_classes_as_points(estimator, blobs):
    X, y = blobs[0][:5], np.arange(5)
    assert clone(estimator).fit(X, y).score(X, y) == 1


@named(ALL)
def test_duplicates_with_a_ridge_are_fine(estimator, blobs):
    X, y = np.concatenate([blobs[0]] * 2), np.concatenate([blobs[1]] * 2)
    prediction = clone(estimator).fit(X, y).predict(X)
    assert np.isfinite(prediction.astype(float)).all()
