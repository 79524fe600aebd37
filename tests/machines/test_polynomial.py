"""Polynomial ridge: equal to scikit-learn's monomials and Ridge, with gradient and AGOP of the very function it fitted."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import agop
from agop.machines import polynomial_ridge
from agop.machines.polynomial_features import Monomials
from tests.oracles import polynomial as oracle
from tests.sentences import one_sentence
from tests.tolerances import IDENTITY, SINGLE, relative_error

RNG = np.random.default_rng(0)
SCALINGS = ("columns", "common", "none")
BOTH = [agop.PolynomialRegressor(), agop.PolynomialClassifier()]


def problem(n=60, d=6, c=2, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d)) * rng.uniform(0.5, 2, d) + rng.normal(size=d)
    Y = np.stack([X[:, 0] * X[:, 1], np.sin(X[:, 0]), X[:, 2] ** 3], 1)[:, :c]
    return X, Y


def error(actual, expected):
    return relative_error(torch.as_tensor(actual), torch.as_tensor(expected))


@parametrize_with_checks([*BOTH, agop.PolynomialRegressor(solver="dual", scaling="none")])
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("solver", ["primal", "dual"])
@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("degree", [1, 2])
@pytest.mark.parametrize("n", [15, 60])
def test_equals_scikit_learns_monomials_and_ridge(n, degree, scaling, solver):
    X, Y = problem(n)
    weight = RNG.uniform(0.2, 2, n)
    options = {"degree": degree, "scaling": scaling, "ridge": 0.3}
    f = oracle.polynomial_ridge(X, Y, weight=weight, **options)
    model = agop.PolynomialRegressor(solver=solver, **options).fit(X, Y, weight)
    new, _ = problem(seed=1)
    assert error(model.predict(new), f(new)) < IDENTITY
    assert model.history_[0]["solver"] == solver


@pytest.mark.parametrize("solver", ["primal", "dual"])
@pytest.mark.parametrize(
    ("shape", "radius"),
    [((3, 4), 1), ((3, 4), 2), ((2, 2, 3), 1), ((3, 2, 2), 0), ((3, 4), 10**9), ((1, 12), 1)],
)
def test_local_pairs_are_those_of_near_pixels(shape, radius, solver):
    X = RNG.normal(size=(50, 12))
    Y = (X[:, 0] * X[:, 1] + X[:, 5] ** 2)[:, None]
    near = oracle.neighbours(shape, radius)
    f = oracle.polynomial_ridge(X, Y, near=near)
    model = agop.PolynomialRegressor(pairs="local", shape=shape, radius=radius, solver=solver).fit(X, Y)
    monomials = model.machine_.monomials
    expected = [(j, k) for j in range(12) for k in range(j, 12) if near(j, k)]
    assert monomials.pair_index.T.tolist() == [list(pair) for pair in expected]
    assert monomials.count == 12 + len(expected)
    assert error(model.predict(X[:9] + 0.1), f(X[:9] + 0.1).reshape(9, 1)) < IDENTITY


def test_monomials_are_those_of_scikit_learn_in_its_order():
    X = RNG.normal(size=(5, 4))
    expected = PolynomialFeatures(2, include_bias=False).fit_transform(X)
    assert error(Monomials(4).values(torch.from_numpy(X)).T, expected) < IDENTITY
    assert [Monomials(d).count for d in (1, 50, 64)] == [2, 1325, 2144]
    assert Monomials(64, pairs="local", shape=(8, 8), radius=1).count == 338


def as_function(model):
    """The fitted polynomial written anew in torch, for automatic differentiation."""
    machine = model.machine_
    parts = [machine.quadratic(o) for o in range(len(machine.intercept))]

    def f(x):
        z = (x - machine.coordinates.center) / machine.coordinates.scale
        values = [
            t + z @ b + ((z @ A) * z).sum(1) for t, (b, A) in zip(machine.intercept, parts, strict=True)
        ]
        return torch.stack(values, 1)

    return f


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("options", [{"degree": 1}, {}, {"pairs": "local", "shape": (2, 3)}], ids=str)
def test_agop_and_gradient_are_those_of_the_fitted_function(options, scaling):
    X, Y = problem(c=3)
    model = agop.PolynomialRegressor(scaling=scaling, **options).fit(X, Y)
    f, x = as_function(model), torch.from_numpy(X)
    assert error(f(x), model.predict(X)) < IDENTITY
    assert error(model.agop_, agop.agop(f, x)) < IDENTITY
    jacobians = oracle.central_differences(model.predict, X)
    assert error(model.agop_, np.einsum("ncd,nce->de", jacobians, jacobians) / len(X)) < 1e-8
    for output in range(3):
        assert error(model.grad(X, output), jacobians[:, output]) < 1e-8


def test_agop_is_the_closed_form_of_a_quadratic_with_weights():
    X, Y = problem(c=2)
    weight = RNG.uniform(0.1, 3, len(X))
    model = agop.PolynomialRegressor(scaling="none").fit(X, Y, weight)
    m = np.average(X, axis=0, weights=weight)
    S = np.einsum("n,nd,ne->de", weight / weight.sum(), X, X)
    expected = np.zeros((6, 6))
    for output in range(2):
        b, A = (value.numpy() for value in model.machine_.quadratic(output))
        cross = 2 * np.outer(b, A @ m)
        expected += np.outer(b, b) + cross + cross.T + 4 * A @ S @ A
    assert error(model.agop_, expected) < IDENTITY


def test_degree_one_has_the_agop_of_its_weights():
    X, Y = problem(c=2)
    model = agop.PolynomialRegressor(degree=1, scaling="none", ridge=0.1).fit(X, Y)
    W = model.machine_.coefficients.T
    assert error(model.agop_, W.T @ W) < IDENTITY
    assert error(model.grad(X, 1), W[1].expand(len(X), 6)) < IDENTITY


def test_a_quadratic_is_found_where_no_noise_hides_it():
    X, _ = problem(n=200)
    y = 3 - X[:, 1] + 2 * X[:, 0] * X[:, 3] + X[:, 5] ** 2
    model = agop.PolynomialRegressor(ridge=0.0, scaling="none").fit(X, y)
    b, A = model.machine_.quadratic(0)
    assert float(model.machine_.intercept) == pytest.approx(3)
    assert error(b, -np.eye(6)[1]) < 1e-8
    expected = np.zeros((6, 6))
    expected[0, 3] = expected[3, 0] = expected[5, 5] = 1
    assert error(A, expected) < 1e-8


@settings(max_examples=30, deadline=None)
@given(
    n=st.integers(2, 40),
    d=st.integers(1, 8),
    degree=st.sampled_from([1, 2]),
    scaling=st.sampled_from(SCALINGS),
    ridge=st.sampled_from([1e-3, 1.0, 100.0]),
    weighted=st.booleans(),
    seed=st.integers(0, 99),
)
def test_both_systems_have_one_solution(n, d, degree, scaling, ridge, weighted, seed):
    rng = np.random.default_rng(seed)
    X, y = rng.normal(size=(n, d)), rng.normal(size=n)
    weight = rng.integers(0, 4, n) + (np.arange(n) == 0) if weighted else None
    fits = [
        agop.PolynomialRegressor(degree, scaling=scaling, ridge=ridge, solver=solver).fit(X, y, weight)
        for solver in ("primal", "dual")
    ]
    ours, theirs = (fit.predict(X) for fit in fits)
    np.testing.assert_allclose(ours, theirs, atol=1e-8 * np.abs(y).max())
    np.testing.assert_allclose(
        *(fit.agop_ for fit in fits), atol=1e-8 * float(fits[0].agop_.abs().max() + 1e-300)
    )


@pytest.mark.parametrize("options", [{}, {"pairs": "local", "shape": (2, 3)}], ids=str)
@pytest.mark.parametrize("solver", ["primal", "dual"])
def test_blocks_of_any_size_sum_to_the_same(options, solver, monkeypatch):
    X, Y = problem()
    whole = agop.PolynomialRegressor(solver=solver, **options).fit(X, Y)
    monkeypatch.setattr(polynomial_ridge, "BLOCK_BYTES", 3000)
    monkeypatch.setattr(polynomial_ridge, "_TILE", 7)
    pieces = agop.PolynomialRegressor(solver=solver, **options).fit(X, Y)
    assert error(pieces.predict(X), whole.predict(X)) < IDENTITY
    assert error(pieces.agop_, whole.agop_) < IDENTITY


@pytest.mark.parametrize("model", BOTH, ids=lambda m: type(m).__name__)
def test_weights_are_repetitions_and_zero_is_absent(model):
    X, Y = problem()
    y = Y if "Regressor" in type(model).__name__ else (Y[:, 0] > 0).astype(int) + (Y[:, 1] > 0.5)
    weight = RNG.integers(0, 4, len(X))
    weighted = clone(model).fit(X, y, weight)
    repeated = clone(model).fit(X.repeat(weight, 0), y.repeat(weight, 0))
    values = [getattr(fit, "decision_function", fit.predict)(X) for fit in (weighted, repeated)]
    assert error(*values) < IDENTITY
    assert error(weighted.agop_, repeated.agop_) < IDENTITY


@pytest.mark.parametrize("scaling", SCALINGS)
def test_order_of_columns_does_not_matter(scaling):
    X, Y = problem()
    order = RNG.permutation(6)
    plain = agop.PolynomialRegressor(scaling=scaling).fit(X, Y)
    mixed = agop.PolynomialRegressor(scaling=scaling).fit(X[:, order], Y)
    assert error(mixed.predict(X[:, order]), plain.predict(X)) < IDENTITY
    assert error(mixed.agop_, plain.agop_[order][:, order]) < IDENTITY


@pytest.mark.parametrize("solver", ["primal", "dual"])
def test_origin_and_unit_of_columns_do_not_matter_unless_asked_for(solver):
    X, Y = problem()
    shift, unit = RNG.normal(size=6) * 100, np.array([1e-30, 1e-3, 1, 1, 1e5, 1e30])
    new, _ = problem(seed=1)

    def predicted(scaling, a, s):
        model = agop.PolynomialRegressor(scaling=scaling, solver=solver).fit((X + a) * s, Y)
        return model.predict((new + a) * s)

    assert error(predicted("columns", shift, unit), predicted("columns", 0, 1)) < 1e-8
    assert error(predicted("common", shift, 1e-20), predicted("common", 0, 1)) < 1e-8
    for scaling in ("common", "none"):
        assert error(predicted(scaling, 0, np.arange(1, 7)), predicted(scaling, 0, 1)) > 1e-3
    assert error(predicted("none", 1.0, 1), predicted("none", 0, 1)) > 1e-3


@pytest.mark.parametrize("scale", [1e-30, 1e30, 1e-100, 1e100])
def test_scale_and_origin_of_targets(scale):
    X, Y = problem()
    plain = agop.PolynomialRegressor().fit(X, Y)
    scaled = agop.PolynomialRegressor().fit(X, scale * Y)
    assert error(scaled.predict(X) / scale, plain.predict(X)) < IDENTITY
    assert error(scaled.agop_ / scale / scale, plain.agop_) < IDENTITY
    assert error(agop.PolynomialRegressor().fit(X, Y + 7).predict(X) - 7, plain.predict(X)) < IDENTITY


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_single_precision_follows_double(scale):
    X, Y = problem(n=100)
    X = X + 100.0
    double = agop.PolynomialRegressor().fit(X.astype(np.float32).astype(float), scale * Y)
    single = agop.PolynomialRegressor().fit(X.astype(np.float32), scale * Y)
    values = single.predict(X.astype(np.float32))
    assert values.dtype == np.float32
    assert error(values / scale, double.predict(X.astype(np.float32)) / scale) < SINGLE
    assert single.agop_.dtype == torch.float64
    assert error(single.agop_ / scale / scale, double.agop_ / scale / scale) < SINGLE


@pytest.mark.parametrize("scaling", ["columns", "common"])
def test_a_constant_column_changes_nothing(scaling):
    X, Y = problem()
    constant = np.full((60, 1), 0.1)
    plain = agop.PolynomialRegressor(scaling=scaling).fit(X, Y)
    model = agop.PolynomialRegressor(scaling=scaling).fit(np.c_[X, constant], Y)
    assert error(model.predict(np.c_[X, constant + 5]), plain.predict(X)) < IDENTITY
    assert float(model.agop_[6].abs().max()) == 0
    flat = agop.PolynomialRegressor().fit(np.ones((9, 2)), np.arange(9.0))
    np.testing.assert_allclose(flat.predict(np.eye(2)), 4)
    assert float(flat.agop_.abs().max()) == 0


@pytest.mark.parametrize("scaling", ["columns", "common"])
@pytest.mark.parametrize("unit", [1e-30, 1.0, 1e30])
def test_a_column_of_rounding_is_no_column(scaling, unit):
    X, Y = problem()
    noise = unit * np.where(np.arange(60) % 2, 0.3, 0.1 + 0.2)[:, None]  # one bit apart
    constant = unit * np.full((60, 1), 0.3)
    model = agop.PolynomialRegressor(scaling=scaling)
    plain = clone(model).fit(np.c_[X, constant], Y).predict(np.c_[X, constant])
    assert error(clone(model).fit(np.c_[X, noise], Y).predict(np.c_[X, noise]), plain) < IDENTITY


def test_one_row_one_column_and_more_classes_than_columns():
    assert agop.PolynomialRegressor().fit([[1.0]], [3.0]).predict([[9.0]]).tolist() == [3.0]
    x = np.linspace(-1, 1, 50)[:, None]
    y = np.digitize(x[:, 0], [-1 / 3, 1 / 3])
    assert agop.PolynomialClassifier(ridge=1e-6).fit(x, y).score(x, y) > 0.9
    assert agop.PolynomialClassifier(degree=1, ridge=1e-6).fit(x, y).score(x, y) < 0.7  # the middle is hidden


def test_labels_frames_tensors_grid_search_and_pickle(blobs):
    X, y = blobs
    frame = pd.DataFrame(X, columns=list("abcdef"))
    model = agop.PolynomialClassifier().fit(frame, np.array(["cat", "dog", "eel"])[y])
    assert set(model.predict(frame)) == {"cat", "dog", "eel"}
    assert list(model.feature_names_in_) == list("abcdef")
    np.testing.assert_allclose(model.predict_proba(frame).sum(1), 1)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.decision_function(frame), model.decision_function(frame))

    x = torch.from_numpy(X).float()
    tensors = agop.PolynomialRegressor().fit(x, torch.from_numpy(y))
    assert tensors.predict(x).dtype == torch.float32
    assert tensors.grad(x).dtype == torch.float32
    search = GridSearchCV(
        make_pipeline(StandardScaler(), agop.PolynomialClassifier()),
        {"polynomialclassifier__degree": np.array([1, 2]), "polynomialclassifier__ridge": [1e-2, 1.0]},
        cv=2,
    ).fit(X, y)
    assert search.best_score_ > 0.5


@pytest.mark.parametrize("model", BOTH, ids=lambda m: type(m).__name__)
def test_inputs_stay_as_they_were(model, blobs):
    X, y = (value.copy() for value in blobs)
    X.flags.writeable = False
    clone(model).set_params(solver="dual").fit(X, y, np.ones(len(X))).predict(X)
    x = torch.from_numpy(blobs[0].copy())
    list(clone(model).fit(x, y).views(x))
    assert torch.equal(x, torch.from_numpy(blobs[0]))


def test_gradients_come_one_output_at_a_time():
    X, Y = problem(c=3)
    several = agop.PolynomialRegressor().fit(X, Y)
    single = agop.PolynomialRegressor().fit(X, Y[:, 1])
    assert error(several.grad(X, output=1), single.grad(X)) < IDENTITY
    for output in (None, 3, -1):
        with pytest.raises(ValueError, match=r"output: expected the number of an output, 0 to 2, got"):
            several.grad(X, output)
    with pytest.raises(TypeError, match="output: expected an integer, got 'a'"):
        several.grad(X, "a")
    with pytest.raises(NotFittedError):
        agop.PolynomialRegressor().grad(X)


def test_profile_reads_its_view(digits):
    X, y = digits
    model = agop.PolynomialClassifier().fit(X, y)
    (view,) = model.views(X)
    root = agop.linalg.psd.psd_power(model.agop_, 0.5).matrix
    assert error(view.projected, X @ root.numpy()) < IDENTITY
    assert error(view.output, model.decision_function(X)) < IDENTITY
    table = agop.profile(model.views(X), X, y).table.set_index("stage")
    assert (table.layer == 1).all()
    assert table.loc["output", "nc1"] < table.loc["input", "nc1"]


@pytest.mark.parametrize("degree", [1, 2])
def test_profile_takes_the_fitted_estimator_itself(digits, degree):
    X, y = digits
    model = agop.PolynomialClassifier(degree).fit(X, y)
    whole, views = agop.profile(model, X, y), agop.profile(model.views(X), X, y)
    pd.testing.assert_frame_equal(whole.to_frame(), views.to_frame())
    assert whole.to_frame()["stage"].tolist() == ["input", "projected", "output"]
    names = agop.profile(model, X, np.array([f"digit {label}" for label in y])).to_frame()
    pd.testing.assert_frame_equal(names, whole.to_frame())


def test_the_best_ridge_is_chosen_on_validation_samples():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(150, 8))
    y = X[:, 0] * X[:, 1] + 0.5 * rng.normal(size=150)
    ridges = [1e-8, 0.3, 1e4, 0.3]
    fits = [agop.PolynomialRegressor(ridge=r).fit(X[:60], y[:60]) for r in ridges[:3]]
    scores = [fit.score(X[60:], y[60:]) for fit in fits]
    model = agop.PolynomialRegressor(ridge=ridges).fit(X[:60], y[:60], X_val=X[60:], y_val=y[60:])
    np.testing.assert_allclose([entry["validation_score"] for entry in model.history_], scores, rtol=1e-6)
    assert model.ridge_ == 0.3 == ridges[int(np.argmax(scores))]
    assert model.validation_score_ == pytest.approx(max(scores))
    np.testing.assert_array_equal(model.predict(X), fits[1].predict(X))
    assert torch.equal(model.agop_, fits[1].agop_)
    held = agop.PolynomialRegressor(ridge=ridges, validation=0.3, random_state=0).fit(X, y)
    assert held.validation_score_ == max(entry["validation_score"] for entry in held.history_)
    assert len(held.history_) == 3


def test_the_published_shape_of_the_curve_on_digits():
    """Degree two is far above degree one, near pixels suffice, and no ridge is the peak of the test error."""
    X, y = load_digits(return_X_y=True)
    a, b, ya, yb = train_test_split(X / 16, y, train_size=1200, random_state=0, stratify=y)

    def score(**options):
        return agop.PolynomialClassifier(**options).fit(a, ya).score(b, yb)

    linear, quadratic = score(degree=1), score()
    local = score(pairs="local", shape=(8, 8), scaling="none")
    peak = score(ridge=1e-6, scaling="none")
    assert quadratic > 0.97 > 0.95 > linear > 0.91
    assert local > 0.97
    assert peak < linear < score(scaling="none")


class Stop(Exception):
    pass


def test_it_tells_how_far_it_is():
    X, Y = problem()
    told = []
    agop.PolynomialRegressor(ridge=[1.0, 2.0], validation=0.3, random_state=0).fit(
        X, Y, progress=lambda *state: told.append(state)
    )
    done, totals, texts = zip(*told, strict=True)
    assert done[0] == 0
    assert (np.diff(done) >= 0).all()
    assert done[-1] == pytest.approx(totals[-1])
    assert texts[0] == "ridge 1/2: gram"
    assert {text.split(": ")[1] for text in texts} >= {"gram", "factor", "solve", "agop"}


def test_stopped_anywhere_it_holds_what_was_finished():
    X, Y = problem()
    options = {"ridge": [1e4, 1.0], "validation": 0.3, "random_state": 0}
    told = []
    agop.PolynomialRegressor(**options).fit(X, Y, progress=lambda *state: told.append(state))
    for number in range(len(told)):
        calls = []

        def hook(*_, calls=calls, number=number):
            calls.append(None)
            if len(calls) == number + 1:
                raise Stop

        model = agop.PolynomialRegressor(**options).fit(X, Y)  # what an earlier fit left is gone
        with pytest.raises(Stop):
            model.fit(X, Y, progress=hook)
        if len(model.__dict__.get("history_", ())) == 0:
            with pytest.raises(NotFittedError):
                model.predict(X)
        else:
            assert model.ridge_ in [entry["ridge"] for entry in model.history_]
            assert np.isfinite(model.predict(X)).all()
            assert model.agop_.shape == (6, 6)
    stopped = agop.PolynomialRegressor(**options)
    with pytest.raises(Stop):
        stopped.fit(X, Y, callback=lambda *_: (_ for _ in ()).throw(Stop))
    assert [entry["ridge"] for entry in stopped.history_] == [1e4]


@pytest.mark.parametrize("verbose", [False, True])
def test_verbose_writes_to_standard_error_only(verbose, capfd):
    agop.PolynomialRegressor(verbose=verbose).fit(*problem())
    out, err = capfd.readouterr()
    assert out == ""
    assert ("100 %" in err) == verbose


def plan(n, d, c=1, **options):
    return polynomial_ridge.Plan.of(n, c, Monomials(d), device=torch.device("cpu"), **options)


def test_memory_that_does_not_suffice_is_said_beforehand():
    X = RNG.normal(size=(400, 40))
    with pytest.raises(
        MemoryError, match=r"X: .* fits into 1.0 MiB .* 400 points and 860 monomials .* pairs='local'"
    ):
        agop.PolynomialRegressor(max_memory="1MB").fit(X, X[:, 0])


def test_the_cheaper_system_that_fits_is_solved():
    primal, dual = (plan(1200, 40, solver=solver) for solver in ("primal", "dual"))
    assert sum(primal.operations.values()) > sum(dual.operations.values())
    assert primal.memory < dual.memory  # 860 monomials
    assert (plan(1200, 40).name, plan(1200, 40).reason) == ("dual", "auto: fewer operations")
    X = RNG.normal(size=(1200, 40))
    model = agop.PolynomialRegressor(max_memory=primal.memory).fit(X, X[:, 0])
    assert model.history_[0]["solver"] == "primal"
    assert model.history_[0]["solver_reason"].startswith("auto: dual needs about ")
    assert plan(4000, 40).name == "primal"
    with pytest.raises(MemoryError):
        agop.PolynomialRegressor(max_memory=primal.memory, solver="dual").fit(X, X[:, 0])


MODELS = {
    "regressor": agop.PolynomialRegressor(ridge=[1.0, 2.0], validation=0.3, random_state=0),
    "classifier": agop.PolynomialClassifier(dtype="float32"),
    "local": agop.PolynomialClassifier(pairs="local", shape=(2, 3), scaling="none"),
    "linear": agop.PolynomialRegressor(degree=1),
}


@pytest.mark.parametrize("name", MODELS)
def test_what_is_loaded_is_the_same_to_the_last_bit(name, blobs, tmp_path):
    X, y = blobs
    is_classifier = name in ("classifier", "local")
    model = clone(MODELS[name]).fit(
        pd.DataFrame(X, columns=list("abcdef")), np.array(["a", "b", "c"])[y] if is_classifier else y
    )
    model.save(tmp_path / "m")
    again = type(model).load(tmp_path / "m")
    frame = pd.DataFrame(X, columns=list("abcdef"))
    np.testing.assert_array_equal(again.predict(frame), model.predict(frame))
    np.testing.assert_array_equal(again.grad(frame, 0), model.grad(frame, 0))
    assert torch.equal(again.agop_, model.agop_)
    assert again.machine_.monomials == model.machine_.monomials
    assert set(vars(again)) == set(vars(model))
    for attribute in set(vars(model)) - {"machine_", "agop_", "feature_names_in_", "classes_"}:
        found, value = getattr(again, attribute), getattr(model, attribute)
        assert torch.equal(found, value) if isinstance(value, torch.Tensor) else found == value, attribute
    with pytest.raises(ValueError, match="path: expected a saved RFMRegressor, got a saved Polynomial"):
        agop.RFMRegressor.load(tmp_path / "m")
    with pytest.raises(ValueError, match="centers: expected None for a polynomial, which has no centres"):
        model.save(tmp_path / "m", centers="float16")


DAMAGE = {
    "other pairs": (lambda h: h | {"monomials": h["monomials"] | {"pairs": "none"}}, "unknown kind"),
    "another degree": (lambda h: h | {"monomials": h["monomials"] | {"degree": 3}}, "unknown kind"),
    "fewer monomials": (lambda h: h | {"monomials": h["monomials"] | {"radius": 0}}, "of shape"),
    "sides that do not fit": (lambda h: h | {"monomials": h["monomials"] | {"shape": [2, 4]}}, "product"),
    "other columns": (lambda h: h | {"monomials": h["monomials"] | {"d": 7}}, "other columns"),
    "no monomials": (lambda h: {k: v for k, v in h.items() if k != "monomials"}, "not dict"),
    "an entry more": (lambda h: h | {"monomials": h["monomials"] | {"x": 1}}, "other columns"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_files_are_one_sentence(damage, blobs, tmp_path):
    path = tmp_path / "m"
    clone(MODELS["local"]).fit(*blobs).save(path)
    change, message = DAMAGE[damage]
    raw = path.read_bytes()
    size = int.from_bytes(raw[:8], "little")
    header = json.loads(json.loads(raw[8 : 8 + size])["__metadata__"]["agop"])
    from agop._store import digest

    tensors, text = load_file(path), {"agop": json.dumps(change(header))}
    save_file(tensors, path, metadata=text | {"digest": digest(text, tensors)})
    with one_sentence(ValueError, match=f"^path: expected a .*{message}"):
        agop.PolynomialClassifier.load(path)


BAD = {
    "degree three": ({"degree": 3}, "degree: expected one of 1, 2, got 3"),
    "half a degree": ({"degree": 1.5}, "degree: expected an integer"),
    "unknown pairs": ({"pairs": "some"}, "pairs: expected one of 'all', 'local', got 'some'"),
    "local without sides": (
        {"pairs": "local"},
        r"shape: expected \(height, width\) .* got None; give the sides",
    ),
    "sides that do not fit": (
        {"pairs": "local", "shape": (2, 4)},
        r"shape: expected sides whose product is the 6 columns of X, got \(2, 4\)",
    ),
    "one side": ({"pairs": "local", "shape": (6,)}, r"shape: expected \(height, width\) or"),
    "no sides": ({"pairs": "local", "shape": 6}, r"shape: expected \(height, width\) or"),
    "negative side": ({"pairs": "local", "shape": (-2, -3)}, "shape: expected an integer >= 1, got -2"),
    "negative radius": (
        {"pairs": "local", "shape": (2, 3), "radius": -1},
        "radius: expected an integer >= 0",
    ),
    "negative ridge": ({"ridge": -1.0}, "ridge: expected a finite number >= 0, got -1.0"),
    "no ridge": ({"ridge": []}, "ridge: expected at least one candidate, got none"),
    "several ridges": (
        {"ridge": [1, 2]},
        "ridge: expected one number, or validation samples .* set validation=0.2",
    ),
    "unknown scaling": (
        {"scaling": "max"},
        "scaling: expected one of 'columns', 'common', 'none', got 'max'",
    ),
    "unknown solver": ({"solver": "cg"}, "solver: expected one of 'auto', 'primal', 'dual', got 'cg'"),
    "unknown memory": ({"max_memory": "lots"}, "max_memory: expected bytes or a text"),
    "unknown dtype": ({"dtype": "float16"}, "dtype: expected None, 'float32' or 'float64'"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_parameters_are_one_sentence(case, blobs):
    parameters, message = BAD[case]
    with one_sentence(match=message):
        agop.PolynomialClassifier(**parameters).fit(*blobs)


def test_bad_samples_and_targets_are_one_sentence(blobs):
    X, y = blobs
    with pytest.raises(ValueError, match="NaN"):
        agop.PolynomialRegressor().fit(np.where(X == X[0, 0], np.nan, X), y)
    with pytest.raises(ValueError, match="NaN"):
        agop.PolynomialRegressor().fit(X, np.where(y == 0, np.nan, y))
    with pytest.raises(ValueError, match="y: expected at least 2 classes, got 1 class"):
        agop.PolynomialClassifier().fit(X, 0 * y)
    with pytest.raises(
        ValueError, match=r"ridge: expected a system of 5 points and 27 monomials .* ridge=0 .* raise ridge"
    ):
        agop.PolynomialRegressor(ridge=0).fit(X[:5], y[:5])
    with pytest.raises(
        ValueError, match="X: expected columns whose products are within the range of float64"
    ):
        agop.PolynomialRegressor(scaling="none").fit(X * 1e200, y)
    with pytest.raises(
        ValueError, match="X, y: expected squared gradients .* float64, got larger ones; rescale"
    ):
        agop.PolynomialRegressor().fit(X, y * 1e200)
    with pytest.raises(
        ValueError, match="X, y: expected squared gradients .* float64, got smaller ones; rescale"
    ):
        agop.PolynomialRegressor().fit(X, y * 1e-200)
    model = agop.PolynomialRegressor().fit(X.astype(np.float32), y)
    with pytest.raises(
        ValueError, match="X: expected rows whose predictions are within the range of float32"
    ):
        model.predict((X * 1e30).astype(np.float32))
    double = agop.PolynomialRegressor().fit(X, y)
    with pytest.raises(
        ValueError, match="X: expected rows whose predictions are within the range of float32"
    ):
        double.predict((X * 1e30).astype(np.float32))


def test_columns_of_any_unit_can_be_fitted():
    X, Y = problem()
    plain = agop.PolynomialRegressor().fit(X, Y).predict(X)
    for unit in (1e-100, 1e100):
        assert error(agop.PolynomialRegressor().fit(X * unit, Y).predict(X * unit), plain) < 1e-8
