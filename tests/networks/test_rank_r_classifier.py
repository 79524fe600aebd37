"""The classifier of small tensors: scikit-learn's contract, images of every kind, what it is made of, profiles, sentences."""

from __future__ import annotations

import pickle

import jaxtyping
import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.utils.estimator_checks import parametrize_with_checks

import agop
from agop import RankR, RankRClassifier
from tests.tolerances import IDENTITY, SINGLE, relative_error

FLAT = [
    RankRClassifier(image_shape="flat", units=16, epochs=25, lr=0.01, random_state=0),
    RankRClassifier(image_shape="flat", training="by-mode", epochs=40, inner_steps=2, rank=2, random_state=0),
]


@pytest.mark.slow
@parametrize_with_checks([*FLAT[:1], RankRClassifier(epochs=2)])
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks(FLAT[1:])
def test_scikit_learn_checks_of_the_other_training(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def digits():
    data = load_digits()  # in the order of their writers
    order = np.random.default_rng(0).permutation(len(data.target))
    first, then = order[:300], order[300:700]
    return data.images[first], data.target[first], data.images[then], data.target[then]


def short(**options):
    return RankRClassifier(**{"epochs": 15, "random_state": 0, **options})


def test_it_learns_digits_with_a_quarter_of_the_weights(digits):
    X, y, X_test, y_test = digits
    model, dense = (short(rank=rank, epochs=40).fit(X, y) for rank in (1, None))
    assert (model.n_weights_, dense.n_weights_) == (75 * 16, 75 * 64)
    assert model.score(X_test, y_test) > 0.85
    assert dense.score(X_test, y_test) > 0.85
    assert [entry["number"] for entry in model.history_] == list(range(1, 41))
    assert isinstance(model.network_[0], RankR)


def test_the_two_ways_of_training(digits):
    X, y, X_test, y_test = digits
    model = short(training="by-mode", epochs=3, inner_steps=5).fit(X, y)
    assert model.score(X_test, y_test) > 0.8


def test_images_and_flat_rows_are_the_same(digits):
    X, y = digits[:2]
    images, rows = short().fit(X, y), short(image_shape=(8, 8)).fit(X.reshape(-1, 64), y)
    expected = images.decision_function(X)
    np.testing.assert_array_equal(rows.decision_function(X.reshape(-1, 64)), expected)
    np.testing.assert_array_equal(rows.decision_function(X), expected)
    np.testing.assert_array_equal(short().fit(list(X), list(y)).decision_function(list(X)), expected)
    tensors = short().fit(torch.from_numpy(X), torch.from_numpy(y))
    assert torch.equal(tensors.decision_function(torch.from_numpy(X)), torch.from_numpy(expected))
    assert torch.equal(tensors.predict(torch.from_numpy(X)), torch.from_numpy(images.predict(X)))
    assert (images.shape_, images.n_features_in_) == ((8, 8), 64)


def test_any_number_of_modes(digits):
    X, y = digits[:2]
    for shape in ((64,), (1, 8, 8), (2, 4, 8), (2, 4, 4, 2)):
        model = short(epochs=2, image_shape=shape).fit(X.reshape(-1, 64), y)
        assert model.n_weights_ == 75 * sum(shape)
        assert model.shape_ == shape
        if len(shape) > 1:
            again = short(epochs=2).fit(X.reshape(-1, *shape), y)
            np.testing.assert_array_equal(again.predict_proba(X.reshape(-1, *shape)), model.predict_proba(X.reshape(-1, 64)))  # fmt: skip


def test_origin_and_unit_of_the_pixels_change_nothing(digits):
    X, y = digits[:2]
    one, other = short(epochs=3).fit(X, y), short(epochs=3).fit(1e6 * X - 3e5, y)
    np.testing.assert_allclose(
        one.decision_function(X), other.decision_function(1e6 * X - 3e5), rtol=1e-6, atol=1e-8
    )


def test_the_parts_of_a_prediction(digits):
    X, y = digits[:2]
    model = short().fit(X, y)
    z = (X.reshape(-1, 64) - model.mean_) / model.scale_
    W, last = model.network_[0].weight.flatten(1).numpy(), model.network_[2]
    expected = np.tanh(z @ W.T) @ last.weight.numpy().T + last.bias.numpy()
    np.testing.assert_allclose(model.decision_function(X), expected, rtol=1e-10, atol=1e-10)
    shares = np.exp(expected) / np.exp(expected).sum(1, keepdims=True)
    np.testing.assert_allclose(model.predict_proba(X), shares, rtol=1e-10)
    two = short(epochs=2).fit(X, y > 4)
    assert two.decision_function(X).shape == (300,)
    assert ((two.decision_function(X) > 0) == two.predict(X)).all()


def test_it_is_profiled_as_its_network_is(digits):
    X, y = digits[:2]
    model = short().fit(X, y)
    z = torch.from_numpy((X - model.mean_.reshape(8, 8)) / model.scale_)
    assert z.dtype == torch.float64
    own = agop.profile(model, X, y, measures=["nc1", "nfa"])
    network = agop.profile(agop.Network(model.network_), z, y, measures=["nc1", "nfa"])
    for stage in ("input", "projected", "output"):
        one, two = (p.to_frame()["nc1"][p.to_frame()["stage"] == stage].to_numpy() for p in (own, network))
        np.testing.assert_allclose(one, two, rtol=1e-9)
    one, two = (p.to_frame(level="layer")["nfa"].to_numpy() for p in (own, network))
    np.testing.assert_allclose(one, two, atol=1e-6)
    hidden, readout = model.views(X)
    assert (hidden.name, readout.name) == ("hidden", "readout")
    assert relative_error(hidden.agop, agop.agop(model.network_, z)) < IDENTITY
    assert len(agop.mode_nfa(hidden.feature_matrix, hidden.agop, model.shape_)) == 2


def test_it_is_cloned_stored_and_searched(digits):
    X, y = digits[:2]
    model = short(dtype="float32").fit(X, y)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict_proba(X), model.predict_proba(X))
    np.testing.assert_array_equal(clone(model).fit(X, y).predict_proba(X), model.predict_proba(X))
    assert model.predict_proba(X).dtype == X.dtype
    assert next(model.network_.parameters()).dtype == torch.float32
    near = short(dtype="float64").fit(X, y).predict_proba(X)
    assert float(np.abs(near - model.predict_proba(X)).mean()) < 10 * SINGLE
    search = GridSearchCV(short(epochs=3), {"rank": [1, 2]}, cv=2).fit(X, y)
    assert set(search.best_params_) == {"rank"}


def test_a_fit_that_is_stopped_has_learned_nothing(digits, monkeypatch):
    model = short(epochs=2).fit(*digits[:2])

    def stopped(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("agop.networks.rank_r_classifier.train", stopped)
    with pytest.raises(KeyboardInterrupt):
        model.fit(*digits[:2])
    with pytest.raises(NotFittedError):
        model.predict(digits[0])
    assert not [name for name in vars(model) if name.endswith("_")]


def test_progress_is_shown_if_asked_for(digits, capsys):
    short(epochs=2).fit(*digits[:2])
    assert capsys.readouterr() == ("", "")
    short(epochs=2, verbose=True).fit(*digits[:2])
    assert "epoch 2/2: loss" in capsys.readouterr().err


X, Y = np.random.default_rng(0).normal(size=(12, 3, 4)), np.arange(12) % 2


@pytest.mark.parametrize(
    ("options", "data", "sentence"),
    [
        ({}, X.reshape(12, 12), r"X: expected samples \(n, p_1, ..., p_D\), or flat rows with image_shape, got shape \(12, 12\)"),
        ({"image_shape": (3, 5)}, X.reshape(12, 12), r"X: expected 15 columns for image_shape=\(3, 5\), got 12"),
        ({"image_shape": (4, 3)}, X, "X: expected samples of the shape that image_shape says"),
        ({"image_shape": "flat"}, X, "X: expected samples of the shape that image_shape says"),
        ({"image_shape": "round"}, X, "image_shape: expected the shape of a sample, or 'flat', got 'round'"),
        ({"image_shape": 12}, X.reshape(12, 12), "image_shape: expected the sizes"),
        ({}, [np.ones((2, 2)), np.ones((2, 3))], "X: expected samples of one shape"),
        ({}, X[:, :0], "X: expected at least one sample with entries"),
        ({}, np.where(X > 1, np.nan, X), "Input X contains NaN"),
        ({}, torch.from_numpy(np.where(X > 1, np.inf, X)), "X: expected finite values"),
        ({"rank": 0}, X, "rank: expected an integer >= 1"),
        ({"rank": 1.5}, X, "rank: expected an integer >= 1"),
        ({"units": "many"}, X, "units: expected an integer >= 1"),
        ({"epochs": -1}, X, "epochs: expected an integer >= 0"),
        ({"lr": 0}, X, "lr: expected a finite number > 0"),
        ({"training": "both"}, X, "training: expected one of 'joint', 'by-mode', got 'both'"),
        ({"training": "by-mode", "inner_steps": 0}, X, "inner_steps: expected an integer >= 1"),
        ({"dtype": "int8"}, X, "dtype: expected None, 'float32' or 'float64'"),
        ({"device": "abacus"}, X, "device: expected a torch device"),
        ({"random_state": "seed"}, X, "random_state: expected an integer"),
    ],
)  # fmt: skip
def test_bad_input_is_one_sentence(options, data, sentence, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises((ValueError, TypeError), match=sentence):
        short(epochs=1).set_params(**options).fit(data, Y)


def test_bad_labels_and_other_shapes():
    with pytest.raises(ValueError, match="y: expected at least 2 classes"):
        short().fit(X, np.zeros(12))
    with pytest.raises(ValueError, match="y: expected as many rows as X"):
        short().fit(X, Y[:-1])
    model = short(epochs=1).fit(X, Y)
    with pytest.raises(ValueError, match=r"X: expected samples of shape \(3, 4\) as in fit, got \(4, 3\)"):
        model.predict(X.reshape(12, 4, 3))
    with pytest.raises(ValueError, match="set image_shape"):
        model.predict(X.reshape(12, 12))
