"""Cross-fitted leave-one-out: an oracle that refits, honesty, and invariances."""

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer, make_friedman1

import agop


def test_without_a_metric_it_is_the_refit_without_the_row():
    X, y = make_friedman1(40, noise=0.5, random_state=0)
    model = agop.RFMRegressor(n_iter=0, ridge=0.1, bandwidth=5.0, scaling="none", center_targets=False)
    found = agop.leave_one_out(model, X, y, random_state=0)
    refits = [model.fit(np.delete(X, i, 0), np.delete(y, i)).predict(X[i : i + 1])[0] for i in range(len(y))]
    assert found.predictions == pytest.approx(np.array(refits), abs=1e-8)


def test_weights_are_those_of_the_ridge_system():
    X, y = make_friedman1(40, noise=0.5, random_state=0)
    w = np.random.default_rng(0).uniform(0.5, 2, 40)
    model = agop.RFMRegressor(n_iter=0, ridge=0.1, bandwidth=5.0, scaling="none", center_targets=False)
    found = agop.leave_one_out(model, X, y, w, random_state=0)
    refit = model.fit(X[1:], y[1:], w[1:]).predict(X[:1])[0]
    assert found.predictions[0] == pytest.approx(refit, abs=1e-8)
    nothing = agop.leave_one_out(
        model, np.r_[X, X[:3] + 9], np.r_[y, 9, 9, 9], np.r_[w, 0, 0, 0], random_state=0
    )
    assert nothing.predictions[:40] == pytest.approx(found.predictions, abs=1e-9)
    assert np.isnan(nothing.predictions[40:]).all()
    assert nothing.score == pytest.approx(found.score)


@pytest.mark.parametrize("ridge", [1e-3, 0.1])
def test_it_foretells_the_error_of_new_rows_where_the_plain_one_is_too_low(ridge):
    X, y = make_friedman1(1200, n_features=20, noise=1.0, random_state=1)
    model = agop.RFMRegressor(ridge=ridge)
    honest = agop.leave_one_out(model, X[:300], y[:300], random_state=0)
    test = np.mean((model.fit(X[:300], y[:300]).predict(X[300:]) - y[300:]) ** 2)
    ratio = np.mean((honest.predictions - y[:300]) ** 2) / test
    machine = model.machine_
    K = machine.kernel(machine.centers, machine.centers).double().numpy() + ridge * np.eye(300)
    plain = machine.coefficients[:, 0].double().numpy() / np.linalg.inv(K).diagonal()
    optimistic = np.mean((plain * y[:300].std()) ** 2) / test
    assert 0.85 < ratio < 1.25
    assert optimistic < ratio


def test_classes_frames_units_and_order():
    X, y = load_breast_cancer(return_X_y=True, as_frame=True)
    X, y = X[:200], y[:200].map({0: "no", 1: "yes"})
    model = agop.RFMClassifier(n_iter=2)
    found = agop.leave_one_out(model, X, y, random_state=0)
    assert set(found.predictions) == {"no", "yes"}
    assert found.score == np.mean(found.predictions == y)
    assert found.values.shape == (200, 2)
    order = np.random.default_rng(0).permutation(200)
    moved = agop.leave_one_out(model, X.iloc[order] * 1000 + 5, y.iloc[order], random_state=0)
    assert moved.values == pytest.approx(found.values[order], abs=1e-5)


def test_what_it_is_not_for():
    X, y = make_friedman1(40, random_state=0)
    with pytest.raises(
        TypeError, match="estimator: expected RFMRegressor or RFMClassifier, got RFMRegressorCV"
    ):
        agop.leave_one_out(agop.RFMRegressorCV(), X, y)
    with pytest.raises(ValueError, match="ridge: expected a finite number > 0, got 0"):
        agop.leave_one_out(agop.RFMRegressor(ridge=0), X, y)
    with pytest.raises(ValueError, match="validation: expected None, got 0.2; set validation=None"):
        agop.leave_one_out(agop.RFMRegressor(validation=0.2), X, y)
    with pytest.raises(ValueError, match="groups"):
        agop.leave_one_out(agop.RFMRegressor(), X, y, groups=[1, 2])
    grouped = agop.leave_one_out(agop.RFMRegressor(n_iter=1), pd.DataFrame(X), y, groups=np.arange(40) // 8)
    assert np.isfinite(grouped.predictions).all()
