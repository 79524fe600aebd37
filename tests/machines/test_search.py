"""RFM chosen by honest predictions: folds, race, average, calibration, and the estimators made of them."""

from __future__ import annotations

import warnings

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import loguniform
from sklearn.datasets import make_classification, make_friedman1
from sklearn.metrics import brier_score_loss, get_scorer, log_loss, roc_auc_score
from sklearn.model_selection import GroupKFold, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_param_validation, parametrize_with_checks

import agop
from agop.machines import race as race_module
from agop.machines import search as search_module
from agop.machines.averaging import cross_fitted, greedy_average
from agop.machines.criterion import Criterion, standard_error
from agop.machines.fold_chain import Stage, around, progressed, promising
from agop.machines.folds import dealt, held_out, strata, subset, units_of
from agop.machines.probabilities import fitted_slope, shares_of, tempered
from agop.machines.search_space import FIRST, SEARCHED, completed, default_space, drawn
from tests.tolerances import relative_error

RNG = np.random.default_rng(0)
X, Y = make_friedman1(90, n_features=6, noise=0.3, random_state=0)
LABELS = np.array(["low", "mid", "top"])[np.digitize(Y, np.quantile(Y, [0.3, 0.8]))]
QUICK = {"n_candidates": 3, "n_iter": 2, "ensemble": 4, "random_state": 0}
ONE = {
    "param_distributions": {"bandwidth_factor": [4.0]},
    "ridges": [0.1],
    "n_iter": 0,
    "cv": 2,
    "random_state": 0,
}


def regressor(**options):
    return agop.RFMRegressorCV(**QUICK | options)


def classifier(**options):
    return agop.RFMClassifierCV(**QUICK | options)


@pytest.fixture(scope="module")
def both():
    """A fitted search of each kind."""
    return regressor().fit(X, Y), classifier().fit(X, LABELS)


# the contract


@pytest.mark.slow
@parametrize_with_checks([agop.RFMRegressorCV(**ONE), agop.RFMClassifierCV(**ONE)])
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("cls", [agop.RFMRegressorCV, agop.RFMClassifierCV])
def test_parameters_are_checked_in_scikit_learn_s_words(cls):
    check_param_validation(cls.__name__, cls())


def test_tensors_and_pipelines(both):
    model, labels = both[0], (LABELS == "top").astype(int)
    rows = torch.from_numpy(X)
    np.testing.assert_array_equal(model.predict(rows).numpy(), model.predict(X))
    whole = make_pipeline(StandardScaler(), classifier(n_candidates=1)).fit(X, labels)
    assert whole.score(X, labels) > 0.9
    two = regressor(n_candidates=1).fit(X, np.c_[Y, 1e3 - Y])
    assert two.predict(X).shape == two.oof_predictions_.shape == (90, 2)
    np.testing.assert_allclose(two.predict(X).sum(1), 1e3, rtol=1e-9)


# what is honest, against fits by hand


@pytest.mark.parametrize("kind", ["numbers", "table", "weights"])
def test_held_out_values_are_those_of_fits_without_the_fold(kind):
    data, weight = X, None
    if kind == "table":
        data = pd.DataFrame(X).rename(columns=str)
        data["kind"] = pd.Categorical(np.array(["a", "b", "c"])[np.arange(90) // 3 % 3])
        data.iloc[::7, 1] = np.nan
    if kind == "weights":
        weight = RNG.uniform(0.2, 3, 90)
    fold = np.arange(90) % 3
    cv = [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(3)]
    space = [
        {
            "kernel": ["laplace"],
            "bandwidth_factor": [2.0],
            "bandwidth_at": ["each"],
            "learning_ridge": [0.02],
        },
        {"kernel": ["l1"], "diagonal": [True], "power": [0.5]},
        {"kernel": ["gaussian"], "center_gradients": [True]},
    ]
    model = regressor(param_distributions=space, cv=cv, n_candidates=3, ensemble=1, ridges=[0.01, 0.3]).fit(
        data, Y, weight
    )
    results = model.cv_results_
    whole = np.flatnonzero(results["n_folds"] == 3)
    for place in whole[[0, len(whole) // 2, -1]]:
        scores = []
        for train, held in cv:
            take = (lambda rows: data.iloc[rows]) if kind == "table" else (lambda rows: data[rows])
            w = None if weight is None else weight[train]
            single = agop.RFMRegressor(**results["params"][place]).fit(take(train), Y[train], w)
            errors = (single.predict(take(held)) - Y[held]) ** 2
            variance = np.average((Y - np.average(Y, weights=weight)) ** 2, weights=weight)
            scores.append(-np.average(errors, weights=None if weight is None else weight[held]) / variance)
        found = [results[f"split{k}_test_score"][place] for k in range(3)]
        np.testing.assert_allclose(found, scores, rtol=1e-7)
        assert results["mean_test_score"][place] == pytest.approx(np.mean(scores))


def test_models_are_those_of_their_parameters(both):
    for model, base, target in (
        (both[0], agop.RFMRegressor, Y),
        (both[1], agop.RFMClassifier, LABELS),
    ):
        again = base(**model.best_params_).fit(X, target)
        assert np.array_equal(again.predict(X), model.best_estimator_.predict(X))
        for member, share in zip(model.estimators_, model.weights_, strict=True):
            assert share > 0
            alone = base(**member.get_params()).fit(X, target)
            assert np.array_equal(alone.predict(X), member.predict(X))
            assert alone.history_[-1]["iteration"] == member.best_iteration_ == member.n_iter
        assert model.weights_.sum() == pytest.approx(1)
    expected = sum(w * m.predict(X) for m, w in zip(both[0].estimators_, both[0].weights_))
    np.testing.assert_allclose(both[0].predict(X), expected, rtol=1e-12)


def test_honest_scores_are_those_of_honest_predictions(both):
    model, judge = both
    residual = model.oof_predictions_ - Y
    assert model.best_score_ == pytest.approx(-np.mean(residual**2) / Y.var())
    assert model.oof_score_ == pytest.approx(1 - np.mean(residual**2) / Y.var())
    error = np.std(residual**2) / Y.var() / np.sqrt(len(Y))
    assert model.best_score_error_ == pytest.approx(error)
    p = judge.oof_predictions_
    np.testing.assert_allclose(p.sum(1), 1)
    assert judge.best_score_ == pytest.approx(
        -np.mean(((p - (judge.classes_ == LABELS[:, None])) ** 2).sum(1))
    )
    assert judge.oof_score_ == np.mean(judge.classes_[p.argmax(1)] == LABELS)
    two = classifier().fit(X, LABELS == "top")
    assert two.best_score_ == pytest.approx(-brier_score_loss(LABELS == "top", two.oof_predictions_[:, 1]))


def test_of_noise_nothing_is_promised():
    noise = np.random.default_rng(1).normal(size=120)
    model = regressor(n_candidates=8).fit(RNG.normal(size=(120, 5)), noise)
    assert model.oof_score_ < 0.1


def test_standard_error_is_the_textbook_s():
    losses = torch.from_numpy(RNG.uniform(size=50))
    mean, error = standard_error(losses, torch.ones(50).double())
    assert mean == pytest.approx(float(losses.mean()))
    assert error == pytest.approx(float(losses.std(correction=0)) / 50**0.5)


# invariances


def test_neither_the_order_of_rows_nor_units_nor_copies_matter():
    times = RNG.integers(1, 4, 90)
    order = RNG.permutation(90)
    first = regressor(n_candidates=2, n_iter=1).fit(X, Y, times)
    for rows, target, weight in (
        (X[order], Y[order], times[order]),
        (np.repeat(X, times, 0), np.repeat(Y, times), None),
        (np.r_[X, X + 1], np.r_[Y, Y + 50], np.r_[times, np.zeros(90)]),
        (X * [1, 10, 1e4, 1e-6, 1, 1] + 1e3, Y, times),
    ):
        other = regressor(n_candidates=2, n_iter=1).fit(rows, target, weight)
        assert other.best_params_ == first.best_params_
        shown = X * [1, 10, 1e4, 1e-6, 1, 1] + 1e3 if rows[0, 2] > 900 else X
        np.testing.assert_allclose(other.predict(shown), first.predict(X), rtol=1e-6)
        assert other.best_score_ == pytest.approx(first.best_score_, rel=1e-6)


def test_neither_scale_nor_offset_of_targets_matters(both):
    for scale, offset in ((1e-30, 0), (1e30, 0), (1.0, 1e6)):
        other = regressor().fit(X, Y * scale + offset)
        assert other.best_score_ == pytest.approx(both[0].best_score_, rel=1e-5)
        got, expected = (other.predict(X) - offset) / scale, both[0].predict(X)
        np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_threads_change_nothing_but_the_time(both):
    other = regressor(n_jobs=2).fit(X, Y)
    np.testing.assert_array_equal(other.predict(X), both[0].predict(X))
    assert other.best_score_ == both[0].best_score_
    assert torch.get_num_threads() >= 1


def test_a_class_far_from_all_data_has_its_share():
    far = np.full((1, 6), 1e9)
    model = classifier().fit(X, LABELS)
    shares = [np.mean(label == LABELS) for label in model.classes_]
    np.testing.assert_allclose(model.predict_proba(far)[0], shares, atol=1e-9)
    assert model.predict(far)[0] == model.classes_[int(np.argmax(shares))]
    balanced = classifier(class_weight="balanced").fit(X, LABELS)
    np.testing.assert_allclose(balanced.predict_proba(far), 1 / 3, atol=1e-9)
    assert regressor().fit(X, Y).predict(far)[0] == pytest.approx(Y.mean())


def test_predictions_are_the_most_probable_classes(both):
    for rows in (X, 3 * X):
        p = both[1].predict_proba(rows)
        np.testing.assert_array_equal(both[1].classes_[p.argmax(1)], both[1].predict(rows))


# folds


def test_equal_rows_stay_together_and_strata_are_shared():
    rows = np.repeat(RNG.normal(size=(60, 2)), 3, 0)
    units = units_of(rows, None)
    assert len(np.unique(units)) == 60
    y = np.repeat(np.arange(60) % 3, 3)
    part = dealt(units, strata(units, y, None, True), None, 5, 0)
    assert all(len(np.unique(part[units == unit])) == 1 for unit in range(60))
    assert np.array_equal(np.bincount(part), np.full(5, 36))
    assert all(np.array_equal(np.bincount(part[y == k], minlength=5), np.full(5, 12)) for k in range(3))
    order = RNG.permutation(180)
    np.testing.assert_array_equal(dealt(units[order], strata(units, y, None, True), None, 5, 0), part[order])


def test_targets_are_spread_over_folds():
    y = RNG.lognormal(0, 2, 200)
    units = np.arange(200)
    stratum = strata(units, y, None, False)
    np.testing.assert_array_equal(np.bincount(stratum), np.full(10, 20))
    assert y[stratum == 9].min() >= y[stratum == 8].max()
    part = dealt(units, stratum, None, 4, 1)
    assert all(np.array_equal(np.bincount(part[stratum == k]), np.full(4, 5)) for k in range(10))
    few = subset(units, stratum, None, 80, 0)
    assert 70 <= len(few) <= 80
    assert np.bincount(stratum[few]).min() >= 6


def test_folds_of_scikit_learn_and_of_groups():
    groups = np.arange(90) // 6
    model = regressor(n_candidates=1).fit(X, Y, groups=groups)
    fold = held_out(3, X, Y, False, None, groups, None, model.seed_)
    assert all(len(np.unique(fold[groups == k])) == 1 for k in range(15))
    regressor(n_candidates=1, cv=GroupKFold(3)).fit(X, Y, groups=groups)
    weight = np.ones(90)
    weight[:30] = 0
    pairs = list(KFold(3).split(X))
    model = regressor(n_candidates=1, cv=pairs).fit(
        X[[*range(30, 90), *range(30)]], Y[[*range(30, 90), *range(30)]]
    )
    assert np.isfinite(model.oof_predictions_).all()
    model = regressor(n_candidates=1).fit(X, Y, weight)
    np.testing.assert_array_equal(np.isnan(model.oof_predictions_), np.arange(90) < 30)
    with pytest.raises(
        ValueError, match="cv: expected folds that hold out every row once, got 60 rows that are"
    ):
        regressor(cv=pairs[:1]).fit(X, Y)
    with pytest.raises(ValueError, match="cv: expected"):
        regressor(cv="three").fit(X, Y)
    with pytest.raises(ValueError, match="at least 2 different rows"):
        regressor().fit(np.ones((5, 2)), np.arange(5.0))


def test_a_large_table_is_searched_by_a_part_of_it():
    rows, target = make_friedman1(400, n_features=5, random_state=0)
    model = regressor(max_rows=120).fit(rows, target)
    known = np.isfinite(model.oof_predictions_)
    assert 100 <= known.sum() <= 120
    assert len(model.best_estimator_.machine_.centers) == 400


# the average


def naive_greedy(values, criterion, members, rounds):
    best, answer, chosen = -np.inf, None, []
    for _ in range(rounds):
        scores = []
        for place in range(len(values)):
            tried = [*chosen, place]
            full = len(set(chosen)) >= members and place not in chosen
            scores.append(-np.inf if full else criterion.score(values[tried].mean(0)))
        chosen.append(int(np.argmax(scores)))
        if max(scores) > best + 1e-15:
            best, answer = max(scores), np.bincount(chosen, minlength=len(values)) / len(chosen)
    return answer


@pytest.mark.parametrize("is_classes", [False, True])
def test_the_greedy_average_is_the_naive_one(is_classes):
    values = torch.from_numpy(RNG.normal(size=(7, 40, 3)))
    targets = values[2] * 0.5 + values[5] * 0.4 + 0.2 * torch.from_numpy(RNG.normal(size=(40, 3)))
    if is_classes:
        targets = torch.nn.functional.one_hot(targets.argmax(1), 3).double()
    weight = torch.from_numpy(RNG.uniform(0.5, 1, 40))
    criterion = Criterion(targets, is_classes, weight, torch.arange(40))
    for members in (1, 2, 5):
        found = greedy_average(values, criterion, members, 12)
        np.testing.assert_allclose(found.numpy(), naive_greedy(values, criterion, members, 12), atol=1e-12)
        assert int((found > 0).sum()) <= members
    fold = torch.arange(40) % 4
    apart = cross_fitted(values, fold, criterion, 5, 12)
    changed = values.clone()
    changed[:, fold == 1] = 100.0  # what a fold holds has no part in its own weights
    assert torch.equal(cross_fitted(changed, fold, criterion, 5, 12)[1], apart[1])


# probabilities


def test_calibration_keeps_what_nothing_is_known_of():
    prior = torch.tensor([0.1, 0.2, 0.7], dtype=torch.float64)
    for slope in (0.2, 1.0, 5.0):
        torch.testing.assert_close(tempered(prior[None], prior, slope)[0], prior)
    values = torch.from_numpy(RNG.normal(size=(200, 3)))
    shares = shares_of(values).clamp_min(0.05)
    shares = shares / shares.sum(1, keepdim=True)
    torch.testing.assert_close(tempered(shares, prior, 1.0), shares)
    truth = tempered(shares, prior, 2.0)
    labels = torch.multinomial(truth.repeat(60, 1), 1, generator=torch.Generator().manual_seed(0))[:, 0]
    found = fitted_slope(shares.repeat(60, 1), labels, None, prior)
    assert found == pytest.approx(2.0, rel=0.05)
    missing = torch.tensor([0.5, 0.5, 0.0], dtype=torch.float64)
    assert torch.isfinite(tempered(shares, missing, 2.0)).all()


def test_probabilities_have_a_finite_log_loss(both):
    noisy = np.where(RNG.uniform(size=90) < 0.2, "mid", LABELS)
    model = classifier().fit(X, noisy)
    assert np.isfinite(model.predict_log_proba(X)).all()
    assert log_loss(noisy, model.oof_predictions_) < np.log(3)


# importances of an average


@pytest.mark.parametrize(
    "space",
    [{"kernel": ["laplace", "gaussian"], "diagonal": [False, True]}, {"kernel": ["l1"], "diagonal": [True]}],
)
def test_importances_are_those_of_the_averaged_function(space):
    options = {"param_distributions": space, "n_candidates": 4, "n_iter": 1, "ridges": (1e-3, 0.1)}
    model = regressor(**options).fit(X, Y, RNG.uniform(0.5, 2, 90))
    assert len(model.estimators_) > 1
    points = torch.from_numpy(
        (X - model.column_means_.numpy()) / model.column_scales_.numpy()
    ).requires_grad_()

    def value(z):
        total = 0
        for member, share in zip(model.estimators_, model.weights_):
            centers = member.machine_.centers
            at = z @ member._map if member.best_iteration_ else z
            p = 1 if isinstance(member.kernel_, agop.L1) else 2
            gaps = at[:, None] - centers
            r = gaps.abs().sum(-1) if p == 1 else (gaps.square().sum(-1) + 1e-30).sqrt()
            L = member.bandwidth_
            k = (
                torch.exp(-r / L)
                if not isinstance(member.kernel_, agop.Gaussian)
                else torch.exp(-(r**2) / (2 * L**2))
            )
            total = total + share * k @ member.machine_.coefficients
        return total[:, 0]

    gradient = torch.autograd.grad(value(points).sum(), points)[0]
    w = model.best_estimator_._weight_
    expected = torch.einsum("i,ij,ik->jk", w / w.sum(), gradient, gradient)
    assert relative_error(model.predictor_agop_, expected) < 1e-6
    assert model.feature_importances_.sum() == pytest.approx(1)
    assert model.feature_importances_[:5].sum() > 0.9


# scorers, limits, Ctrl-C


@pytest.mark.parametrize(
    "scoring",
    ["roc_auc", *(pytest.param(name, marks=pytest.mark.slow) for name in ("neg_log_loss", "accuracy"))],
)
def test_any_scorer_of_classes(scoring):
    target = LABELS == "top"
    model = classifier(scoring=scoring, n_candidates=1, n_iter=0).fit(X, target)
    p = model.oof_predictions_[:, 1]
    expected = {"roc_auc": roc_auc_score(target, p), "accuracy": np.mean((p > 0.5) == target)}
    expected["neg_log_loss"] = -log_loss(target, p)
    assert model.best_score_ == pytest.approx(expected[scoring])
    assert model.best_score_error_ >= 0


def test_any_scorer_of_targets():
    model = regressor(scoring="neg_median_absolute_error", n_candidates=1, n_iter=1).fit(X, Y)
    expected = -np.median(np.abs(model.oof_predictions_ - Y))
    assert model.best_score_ == pytest.approx(expected)

    def own(estimator, rows, y):
        return get_scorer("r2")(estimator, rows, y)

    assert regressor(scoring=own, n_candidates=1, n_iter=0).fit(X, Y).best_score_ > 0.5
    with pytest.raises(ValueError, match="scoring: expected"):
        regressor(scoring="nonsense").fit(X, Y)


def stopping_after(count, monkeypatch):
    follow, calls = race_module.follow, []

    def limited(*arguments, **options):
        calls.append(1)
        if len(calls) > count:
            raise KeyboardInterrupt
        return follow(*arguments, **options)

    monkeypatch.setattr(race_module, "follow", limited)


@pytest.mark.parametrize("calls", [1, 10])
def test_control_c_keeps_the_best_so_far(calls, monkeypatch):
    stopping_after(calls, monkeypatch)
    with pytest.warns(UserWarning, match="the search was stopped after"):
        model = regressor(n_candidates=30).fit(X, Y)
    assert model.score(X, Y) > 0.8
    honest = np.isfinite(model.oof_predictions_)
    assert honest.all() if calls == 10 else honest.sum() == 30
    assert model.notes_


def test_other_folds_try_what_was_best_on_the_first():
    """Two ridges of each iteration up to one beyond the best; their values are those of a fold where all are tried."""
    values = torch.zeros(3, 2, 1)
    stages = [
        Stage((0.1, 1.0, 10.0), values, [-3.0, -2.0, -1.0]),
        Stage((1.0, 10.0), values[:2], [-0.5, -0.9]),
        Stage((0.1, 1.0), values[:2], [-0.6, -0.6]),
        Stage((0.1, 1.0), values[:2], [-0.7, -0.6]),
    ]
    assert promising(stages) == [(1.0, 10.0), (1.0, 10.0), (0.1, 1.0)]
    assert promising(stages[:1]) == [(1.0, 10.0)]
    assert around(0.1, (0.1, 1.0, 10.0)) == (0.1, 1.0)
    assert around(1.0, (0.1, 1.0, 10.0)) == (0.1, 1.0, 10.0)
    results = regressor(n_iter=0, ridges=(1e-3, 1e-2, 0.1, 1.0)).fit(X, Y).cv_results_
    for number in np.unique(results["recursion"][results["n_folds"] == 3]):
        own = results["recursion"] == number
        assert (results["n_folds"][own] == 3).sum() == 2
        first = results["split0_test_score"][own]
        assert set(first[results["n_folds"][own] == 3]) == set(np.sort(first)[-2:])


@pytest.mark.parametrize(("unit", "offset"), [(1.0, 0.0), (1e-30, 0.0), (1e30, -5e30), (4.0, 1024.0)])
def test_progress_is_a_share_of_what_was_gained_in_any_unit(unit: float, offset: float) -> None:
    first, best, creeping, climbing = (offset + unit * share for share in (0.0, 1.0, 1.005, 1.02))
    assert progressed(climbing, best, first)
    assert not progressed(creeping, best, first)
    assert not progressed(best, best, best)
    assert progressed(creeping, best, best)  # nothing was gained so far


def test_the_first_finite_score_is_progress() -> None:
    none = -float("inf")
    assert progressed(0.0, none, 0.0)
    assert progressed(0.0, none, none)
    assert progressed(1.0, 0.0, none)
    assert not progressed(none, 0.0, 0.0)
    assert not progressed(none, none, none)


def test_recursions_that_there_is_no_time_for_are_not_chosen(monkeypatch):
    """The average is chosen among those that are fitted, so that its weights and its score are of what predicts."""
    monkeypatch.setattr(search_module, "FEWER", 1e9)  # a fit to all rows is thought to take for ever
    model = regressor(n_candidates=4, max_time=600, n_iter=1).fit(X, Y)
    results = model.cv_results_
    assert len(np.unique(results["recursion"][results["weight"] > 0])) == 1
    assert not model.notes_
    assert model.weights_.sum() == pytest.approx(1)


def test_a_search_by_the_clock_soon_has_a_model(monkeypatch):
    """The first recursion goes ahead of the others through a subsample and a whole fold; so Ctrl-C in the third heat leaves one."""
    rows = np.random.default_rng(0).standard_normal((1600, 3))
    stopping_after(2, monkeypatch)
    with pytest.warns(UserWarning, match="the search was stopped after"):
        model = regressor(n_candidates=None, max_time=60, n_iter=1).fit(rows, rows[:, 0])
    assert model.score(rows, rows[:, 0]) > 0.9
    assert set(model.cv_results_["recursion"]) == {0}


def test_control_c_before_anything_is_known(monkeypatch):
    stopping_after(0, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        regressor().fit(X, Y)


def test_time_limits_the_search():
    model = regressor(n_candidates=None, max_time=2).fit(X, Y)
    assert len(np.unique(model.cv_results_["recursion"])) >= 2
    assert model.score(X, Y) > 0.8
    with pytest.raises(ValueError, match="max_time: expected time for one recursion, got less; raise it"):
        regressor(n_candidates=None, max_time=1e-9).fit(X, Y)


def test_progress_is_told():
    heard = []
    regressor().fit(X, Y, progress=lambda done, total, text: heard.append((done / total, text)))
    shares = [share for share, _ in heard]
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert any("recursion 2" in text for _, text in heard)


# the space


def test_draws_begin_with_what_is_known_and_repeat():
    def some(distributions, seed=0, count=70):
        return [one for one, _ in zip(drawn(distributions, seed, 10), range(count))]

    first = some(None)
    assert len(first) == 70
    assert first[:8] == list(FIRST)
    assert {
        "kernel": "laplace",
        "bandwidth_factor": 4.0,
        "learning_ridge": 0.1,
    } in FIRST  # the default of RFM
    assert first == some(None)
    assert first != some(None, 1)
    assert all(set(one) <= set(SEARCHED) for one in first)
    assert all(completed(one)["learning_ridge"] > 0 for one in first)
    assert {one["kernel"] for one in first} == {"laplace", "gaussian", "l1", "lpq"}
    listed = some({"power": [0.25, 0.5], "diagonal": [True, False]})
    assert len(listed) == 4
    assert len(some([{"power": [0.5]}, {"learning_ridge": loguniform(1e-3, 1)}])) == 70
    assert len(default_space(10)) > len(default_space(1000)) > 4


def test_what_cannot_be_searched():
    for asked, message in (
        (
            {"ridge": [1.0]},
            "param_distributions: expected parameters among .* got 'ridge'; ridge and n_iter are tried",
        ),
        ({"power": 0.5}, "got power: 0.5"),
        ({"power": []}, "got power"),
        ([], "param_distributions: expected a dict"),
        (3, "got int"),
    ):
        with pytest.raises((ValueError, TypeError), match=message):
            regressor(param_distributions=asked).fit(X, Y)
    with pytest.raises(ValueError, match="kernel: expected one of"):
        regressor(param_distributions={"kernel": ["nonsense"]}).fit(X, Y)
    with pytest.raises(ValueError, match="ridges: expected"):
        regressor(ridges=[-1.0]).fit(X, Y)


def test_recursions_that_fail_are_told():
    with pytest.warns(
        UserWarning, match="RFMRegressorCV: 1 of 2 recursions failed, the first with: kernel: expected one of"
    ):
        model = regressor(param_distributions={"kernel": ["laplace", "nonsense"]}, n_iter=0).fit(X, Y)
    assert model.best_params_["kernel"] == "laplace"


def test_kernels_of_the_user_can_be_searched():
    model = regressor(param_distributions={"kernel": [agop.Laplace(2.0), agop.L1(4.0)]}, n_candidates=2).fit(
        X, Y
    )
    assert isinstance(model.best_params_["kernel"], agop.kernels.Kernel)
    assert model.oof_score_ > 0.5


# results, pictures, files


def test_results_are_in_the_form_of_scikit_learn(both):
    results = both[0].cv_results_
    count = len(results["params"])
    assert all(len(column) == count for column in results.values())
    assert sorted(results["rank_test_score"]) == list(range(1, count + 1))
    assert results["params"][both[0].best_index_] == both[0].best_params_
    assert results["mean_test_score"][both[0].best_index_] == np.nanmax(results["mean_test_score"])
    assert results["weight"].sum() == pytest.approx(1)
    assert pd.DataFrame(results).shape[0] == count


def test_a_picture_of_the_search(both):
    mpl.use("Agg")
    for kind, parameter in (
        ("parameter", "bandwidth_factor"),
        ("parameter", "kernel"),
        ("progress", "power"),
    ):
        display = agop.SearchDisplay.from_estimator(both[0], kind=kind)
        display.plot(kind=kind, parameter=parameter)
        assert display.ax_.get_legend() is not None
        mpl.pyplot.close("all")
    with pytest.raises(TypeError, match="estimator: expected a fitted RFMRegressorCV"):
        agop.SearchDisplay.from_estimator(agop.RFMRegressor())
    with pytest.raises(ValueError, match="parameter: expected one of"):
        agop.SearchDisplay.from_estimator(both[0], parameter="nonsense")
    agop.AgopDisplay.from_estimator(both[0])


def test_saved_and_read_again(both, tmp_path):
    for model in both:
        model.save(tmp_path / "m")
        again = type(model).load(tmp_path / "m")
        np.testing.assert_array_equal(again.predict(X), model.predict(X))
        np.testing.assert_array_equal(again.oof_predictions_, model.oof_predictions_)
        np.testing.assert_array_equal(again.feature_importances_, model.feature_importances_)
        assert again.best_params_ == model.best_params_
        assert again.best_score_ == model.best_score_
        assert again.cv_results_["params"] == model.cv_results_["params"]
        np.testing.assert_array_equal(
            again.cv_results_["rank_test_score"], model.cv_results_["rank_test_score"]
        )
        agop.SearchDisplay.from_estimator(again)
    model = regressor(cv=KFold(2), n_candidates=1).fit(X, Y)
    model.save(tmp_path / "m")
    assert agop.RFMRegressorCV.load(tmp_path / "m").notes_ == [
        "cv: an object, which a file does not hold; a loaded estimator has the default"
    ]


# a ridge for learning


@pytest.mark.parametrize("validated", [False, True])
def test_the_ridge_of_learning_is_that_of_the_fits_before_the_last(validated):
    data = {"X_val": X[60:], "y_val": Y[60:]} if validated else {}
    options = {"bandwidth": 3.0, "bandwidth_factor": 1.0, "n_iter": 1}
    learner = agop.RFMRegressor(ridge=0.5, **options).fit(X[:60], Y[:60])
    model = agop.RFMRegressor(ridge=0.01, learning_ridge=0.5, **options).fit(X[:60], Y[:60], **data)
    entries = model.history_
    assert [entry["ridge"] for entry in entries] == ([0.01, 0.01] if validated else [0.5, 0.01])
    assert [entry["agop_route"] is None for entry in entries] == [False, True]
    if model.best_iteration_ == 1:
        torch.testing.assert_close(model.agop_, learner.agop_)
        machine = model.machine_
        K = machine.kernel(machine.centers)
        target = torch.from_numpy((Y[:60] - Y[:60].mean()) / Y[:60].std())[:, None]
        residual = K @ machine.coefficients + 0.01 * machine.coefficients - target
        assert float(residual.abs().max()) < 1e-9
    same = agop.RFMRegressor(ridge=0.5, learning_ridge=0.5, **options).fit(X[:60], Y[:60])
    np.testing.assert_array_equal(same.predict(X), learner.predict(X))


def test_a_fit_with_a_ridge_for_learning_goes_on():
    options = {"ridge": 0.01, "learning_ridge": 0.3}
    once = agop.RFMRegressor(n_iter=3, **options).fit(X, Y)
    model = agop.RFMRegressor(n_iter=1, warm_start=True, **options).fit(X, Y)
    model.set_params(n_iter=3).fit(X, Y)
    np.testing.assert_allclose(model.predict(X), once.predict(X), rtol=1e-12)


def test_no_warnings_in_an_ordinary_search():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rows, target = make_classification(60, 5, random_state=0)
        classifier(n_candidates=2, n_iter=1).fit(rows, target).predict_proba(rows)
