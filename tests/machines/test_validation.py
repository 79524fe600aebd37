"""Choosing iteration, bandwidth and layer on samples that are not fitted on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.metrics import accuracy_score, get_scorer, r2_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import agop
from tests.sentences import one_sentence

pytestmark = pytest.mark.filterwarnings("ignore:iteration 0 predicts")
CANDIDATES = [0.3, 3.0, "median", 100.0]


@pytest.fixture(scope="module")
def parts():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(150, 6))
    y = (X[:, 0] * X[:, 1] > 0).astype(int) + (X[:, 2] > 1)
    return (X[:100], y[:100]), (X[100:], y[100:])


def one_fit(cls, train, bandwidth, n_iter):
    return cls(bandwidth=bandwidth, n_iter=n_iter).fit(*train)


@pytest.mark.parametrize("cls", [agop.RFMRegressor, agop.RFMClassifier])
@pytest.mark.parametrize("weighted", [pytest.param(False, marks=pytest.mark.slow), True])
def test_the_best_of_all_separate_fits_is_kept(cls, weighted, parts):
    train, (X_val, y_val) = parts
    w = np.random.default_rng(1).integers(0, 4, len(y_val)) if weighted else None
    model = cls(bandwidth=CANDIDATES, n_iter=3).fit(*train, X_val=X_val, y_val=y_val, sample_weight_val=w)
    metric = r2_score if cls is agop.RFMRegressor else accuracy_score
    separate = [one_fit(cls, train, h, n_iter) for h in CANDIDATES for n_iter in range(4)]
    scores = [metric(y_val, fit.predict(X_val), sample_weight=w) for fit in separate]
    np.testing.assert_allclose([entry["validation_score"] for entry in model.history_], scores, rtol=1e-9)
    best = int(np.argmax(np.round(scores, 12)))  # of equal ones the first
    assert model.best_iteration_ == best % 4
    assert model.bandwidth_ == separate[best].kernel_.bandwidth
    assert model.validation_score_ == pytest.approx(max(scores))
    assert model.score(X_val, y_val, sample_weight=w) == pytest.approx(max(scores))
    np.testing.assert_array_equal(model.predict(X_val), separate[best].predict(X_val))
    assert [(e["iteration"], e["bandwidth"]) for e in model.history_] == [
        (i, separate[4 * k].kernel_.bandwidth) for k in range(4) for i in range(4)
    ]


def test_ties_go_to_the_first_bandwidth_and_the_earliest_iteration():
    X = np.concatenate([np.zeros((20, 2)), np.ones((20, 2))]) + np.linspace(0, 0.1, 40)[:, None]
    y = np.repeat([0, 1], 20)
    model = agop.RFMClassifier(bandwidth=[2.0, 1.0], n_iter=2).fit(X, y, X_val=X, y_val=y)
    assert {entry["validation_score"] for entry in model.history_} == {1.0}
    assert (model.bandwidth_, model.best_iteration_) == (2.0, 0)


def test_a_tie_that_iteration_0_wins_is_told():
    X = np.concatenate([np.zeros((20, 2)), np.ones((20, 2))]) + np.linspace(0, 0.1, 40)[:, None]
    y = np.repeat([0, 1], 20)
    with pytest.warns(
        UserWarning, match="iteration 0 predicts: iteration 1 has the same validation score, and of"
    ):
        model = agop.RFMClassifier(n_iter=2).fit(X, y, X_val=X, y_val=y)
    assert model.history_[0]["notes"][-1].endswith("the simpler model is taken; agop_ is the identity.")


@pytest.mark.parametrize(
    ("cls", "name"),
    [
        (agop.RFMClassifier, "neg_brier_score"),
        (agop.RFMClassifier, "roc_auc"),
        pytest.param(agop.RFMClassifier, "balanced_accuracy", marks=pytest.mark.slow),
        (agop.RFMRegressor, "neg_mean_absolute_error"),
        pytest.param(agop.RFMRegressor, "r2", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("weighted", [pytest.param(False, marks=pytest.mark.slow), True])
def test_any_scorer_may_choose(cls, name, weighted, parts):
    (X, y), (X_val, y_val) = parts
    classes = cls is agop.RFMClassifier
    y, y_val = ((part > 0).astype(int) if classes else part * 10.0 for part in (y, y_val))
    weight = {"sample_weight": np.random.default_rng(1).uniform(0.5, 2, len(y_val))} if weighted else {}
    options = {"bandwidth": [1.0, 4.0], "n_iter": 2}

    def by(scorer):
        model = cls(scoring=scorer, **options)
        return model.fit(X, y, X_val=X_val, y_val=y_val, sample_weight_val=weight.get("sample_weight"))

    model, scorer = by(name), get_scorer(name)
    for entry in model.history_:
        plain = cls(bandwidth=entry["bandwidth"], n_iter=entry["iteration"]).fit(X, y)
        assert entry["validation_score"] == pytest.approx(scorer(plain, X_val, y_val, **weight), abs=1e-9)
    assert model.validation_score_ == max(entry["validation_score"] for entry in model.history_)
    assert scorer(model, X_val, y_val, **weight) == pytest.approx(model.validation_score_)
    mine = by(lambda estimator, X, y, sample_weight=None: estimator.score(X, y, sample_weight))
    assert mine.validation_score_ == pytest.approx(by(None).validation_score_)
    with pytest.raises(ValueError, match="scoring: expected None, a name of .*, got 'magic'"):
        by("magic")


def test_a_share_is_held_out_by_class_and_seeded(parts):
    X, y = parts[0]
    y = np.where(y == 2, "rare", "common")
    fits = [
        agop.RFMClassifier(bandwidth=3.0, n_iter=1, validation=0.3, random_state=s).fit(X, y)
        for s in (0, 0, 1)
    ]
    centers = [fit.machine_.centers for fit in fits]
    assert len(centers[0]) == 70
    assert fits[0].data_digest_ == fits[1].data_digest_
    np.testing.assert_array_equal(fits[0].predict(X), fits[1].predict(X))
    assert fits[0].history_[0]["train_accuracy"] == fits[1].history_[0]["train_accuracy"]
    assert not torch.equal(centers[0][:, :1], centers[2][:, :1])


def is_center(model, X):
    """Whether each row is a centre of the machine, in the coordinates that this computes in."""
    rows = (X - model.column_means_.numpy()) / model.column_scales_.numpy()
    return (rows[:, None] == model.machine_.centers.numpy()[None]).all(2).any(1)


def test_the_held_out_share_is_what_is_scored(parts):
    X, y = parts[0]
    w = np.random.default_rng(1).integers(0, 3, len(y))  # those of weight 0 are on neither side
    options = {"bandwidth": 3.0, "n_iter": 0, "validation": 0.25, "random_state": 0}
    model = agop.RFMRegressor(**options).fit(X, y, w)
    fitted = is_center(model, X)
    held = ~fitted & (w > 0)
    assert held.sum() == pytest.approx(0.25 * (w > 0).sum(), abs=1)
    expected = r2_score(y[held], model.predict(X[held]), sample_weight=w[held])
    assert model.validation_score_ == pytest.approx(expected)


def test_classes_keep_their_proportions():
    y = np.repeat([0, 1], [90, 10])
    X = np.random.default_rng(0).normal(size=(100, 3))
    model = agop.RFMClassifier(bandwidth=3.0, n_iter=0, validation=0.2, random_state=3).fit(X, y)
    kept = is_center(model, X)
    assert kept[y == 1].sum() == 8
    assert kept[y == 0].sum() == 72


@pytest.mark.parametrize("cls", [agop.DeepRFMRegressor, agop.DeepRFMClassifier])
def test_deep_rfm_predicts_with_its_best_layer(cls, parts, tmp_path):
    train, (X_val, y_val) = parts
    model = cls(n_layers=4, width=32, random_state=0).fit(*train, X_val=X_val, y_val=y_val)
    metric = r2_score if cls is agop.DeepRFMRegressor else accuracy_score
    stages = list(model.staged_predict(X_val))
    scores = [metric(y_val, stage) for stage in stages]
    np.testing.assert_allclose([entry["validation_score"] for entry in model.history_], scores, rtol=1e-9)
    assert model.best_layer_ == int(np.argmax(scores))
    assert model.best_layer_ < 3 or cls is agop.DeepRFMClassifier  # or the last layer would do as well
    np.testing.assert_array_equal(model.predict(X_val), stages[model.best_layer_])
    assert model.agop_ is model.layers_[model.best_layer_].agop
    assert model.transform(X_val).shape == (50, 32)
    model.save(tmp_path / "m")
    np.testing.assert_array_equal(cls.load(tmp_path / "m").predict(X_val), model.predict(X_val))


def test_a_list_of_bandwidths_survives_saving_and_grid_search(parts, tmp_path):
    train, (X_val, y_val) = parts
    model = agop.RFMClassifier(bandwidth=np.array([0.3, 3.0]), n_iter=1).fit(*train, X_val=X_val, y_val=y_val)
    model.save(tmp_path / "m")
    again = agop.RFMClassifier.load(tmp_path / "m")
    assert list(again.bandwidth) == [0.3, 3.0]
    assert again.validation_score_ == model.validation_score_
    np.testing.assert_array_equal(again.predict(X_val), model.predict(X_val))
    search = GridSearchCV(
        make_pipeline(StandardScaler(), agop.RFMClassifier(validation=0.3, n_iter=1, random_state=0)),
        {"rfmclassifier__bandwidth": [[0.3, 3.0], [3.0, "median"]]},
        cv=2,
    ).fit(*train)
    chosen = search.best_estimator_[-1]
    assert chosen.bandwidth_ in [entry["bandwidth"] for entry in chosen.history_]
    assert clone(chosen).get_params()["bandwidth"] == search.best_params_["rfmclassifier__bandwidth"]


def fit(train, more=None, **options):
    return agop.RFMClassifier(**options).fit(*train, **(more or {}))


BAD = {
    "a list without samples to choose on": (
        {"bandwidth": [1.0, 2.0]},
        {},
        "bandwidth: expected one number, or validation samples to choose among several with, got 2 candidates and none; "
        "set validation=0.2, or pass X_val and y_val to fit",
    ),
    "an empty list": ({"bandwidth": [], "validation": 0.2}, {}, "bandwidth: expected at least one candidate"),
    "a bad candidate": (
        {"bandwidth": [1.0, -2.0], "validation": 0.2},
        {},
        "bandwidth: expected a finite number > 0, got -2.0",
    ),
    "a list beside a kernel": (
        {"bandwidth": [1.0, 2.0], "kernel": agop.Laplace(2.0), "validation": 0.2},
        {},
        "bandwidth: expected a number beside a kernel object, which has its own, got 2 of them; pass the kernel's name",
    ),
    "all of it": ({"validation": 1.0}, {}, "validation: expected a share of the samples below 1, got 1"),
    "none of it": ({"validation": 0}, {}, "validation: expected a finite number > 0, got 0"),
    "too little": (
        {"validation": 0.01},
        {},
        "validation: expected a share .* leaves enough .* X_val and y_val",
    ),
    "half a pair": ({}, {"X_val": np.zeros((2, 6))}, "X_val, y_val: expected both, got one of them"),
    "other columns": (
        {},
        {"X_val": np.zeros((2, 5)), "y_val": [0, 1]},
        "X has 5 features, but .* 6 features",
    ),
    "other lengths": (
        {},
        {"X_val": np.zeros((2, 6)), "y_val": [0]},
        r"y_val: expected as many rows as X_val \(2\), got 1",
    ),
    "a new class": (
        {},
        {"X_val": np.zeros((2, 6)), "y_val": [0, 7]},
        "y_val: expected labels that occur in y, got 7",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_sentence(case, parts):
    options, more, message = BAD[case]
    with one_sentence(ValueError, match=message):
        fit(parts[0], more, **options)


def test_a_pair_given_to_the_constructor_is_told_where_to_go(parts):
    with pytest.raises(
        TypeError, match="validation: expected None or a share of the samples, got tuple; .* X_val and y_val"
    ):
        fit(parts[0], validation=parts[1])


def test_a_class_with_one_sample_cannot_be_held_out():
    X, y = np.random.default_rng(0).normal(size=(9, 2)), np.array([0] * 8 + [1])
    with pytest.raises(ValueError, match="validation: expected a share .* got 0.3 .*pass other samples"):
        agop.RFMClassifier(validation=0.3, random_state=0).fit(X, y)
