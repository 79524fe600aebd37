"""A solver is chosen, nothing else changes."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.estimator_checks import parametrize_with_checks

import agop
from agop.kernels import Gaussian, Laplace
from agop.machines.kernel_ridge import fit_kernel_machine
from agop.machines.memory import default_rank, estimate_memory
from agop.machines.solver import Solver
from agop.ranks import ALONE, Ranks
from tests.tolerances import relative_error

CG = Solver(name="cg")
# two ways to the same fit agree to the solver's tolerance; scikit-learn compares to 1e-7
RFM = agop.RFMRegressor(bandwidth=3.0, n_iter=1, solver="cg", tolerance=1e-12, random_state=0)
DEEP = agop.DeepRFMClassifier(n_layers=2, width=32, solver="cg", tolerance=1e-12, random_state=0)


@pytest.mark.slow
@parametrize_with_checks([RFM])
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks([DEEP])
def test_scikit_learn_checks_of_deep_ones(estimator, check):
    check(estimator)


def system(n=400, d=5, c=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    X = torch.randn(n, d, dtype=torch.float64, generator=generator)
    Y = torch.randn(n, c, dtype=torch.float64, generator=generator)
    weight = torch.rand(n, dtype=torch.float64, generator=generator) + 0.1
    return X, Y, weight


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("precision", ["mixed", "native"])
@pytest.mark.parametrize("weighted", [False, True])
def test_coefficients_fit_and_agop_equal_the_direct_ones(dtype, precision, weighted):
    X, Y, weight = system()
    w = weight if weighted else None
    exact = fit_kernel_machine(Laplace(3.0), X, Y, 0.1, sample_weight=w)
    cast = [None if t is None else t.to(dtype) for t in (X, Y, w)]
    # in single precision alone, residuals below 1e-5 are rounding
    solver = Solver(name="cg", tolerance=1e-6 if precision == "mixed" or dtype == torch.float64 else 1e-5)
    fit = fit_kernel_machine(
        Laplace(3.0), *cast[:2], 0.1, sample_weight=cast[2], precision=precision, solver=solver
    )
    assert fit.report["converged"]
    assert fit.machine.coefficients.dtype == dtype
    assert relative_error(fit.machine.coefficients, exact.machine.coefficients) < 1e-4
    assert relative_error(fit.fitted, exact.fitted) < 1e-5
    assert relative_error(fit.agop, exact.agop) < 1e-4


def test_coincident_points_and_clusters():
    X, Y, _ = system()
    X[200:] = X[:200]
    X[:50] = X[0] + 1e-5 * X[:50]
    for kernel in (Laplace(3.0), Gaussian(3.0)):
        exact = fit_kernel_machine(kernel, X, Y, 1e-2, with_agop=False)
        fit = fit_kernel_machine(kernel, X.float(), Y.float(), 1e-2, with_agop=False, solver=CG)
        assert fit.report["converged"]
        assert relative_error(fit.fitted, exact.fitted) < 1e-4


def test_where_single_precision_fails_it_goes_on_in_double():
    X, Y, _ = system()
    kernel = Gaussian(8.0)
    exact = fit_kernel_machine(kernel, X, Y, 1e-7, with_agop=False)
    fit = fit_kernel_machine(kernel, X.float(), Y.float(), 1e-7, with_agop=False, solver=CG)
    assert fit.report["converged"]
    assert "went on in float64" in fit.report["notes"][0]
    assert relative_error(fit.fitted, exact.fitted) < 1e-3


def test_report_of_an_estimator(digits):
    X, y = digits
    model = agop.RFMClassifier(bandwidth=5.0, n_iter=2, solver="cg", tolerance=1e-8, random_state=0).fit(X, y)
    direct = agop.RFMClassifier(bandwidth=5.0, n_iter=2, solver="cholesky").fit(X, y)
    np.testing.assert_allclose(model.decision_function(X), direct.decision_function(X), atol=1e-5)
    for entry in model.history_:
        assert (entry["solver"], entry["solver_reason"]) == ("cg", "asked for")
        assert entry["converged"]
        assert len(entry["residuals"]) == 10
        assert max(entry["residuals"]) <= 1e-8
        assert 0 < entry["preconditioner_rank"] <= default_rank(len(X))
        assert entry["iterations"] > 0
    assert [entry["solver"] for entry in direct.history_] == ["cholesky"] * 3


def test_each_fit_of_an_rfm_starts_from_the_last_coefficients(digits, monkeypatch):
    starts = []

    def watched(*args, **options):
        starts.append(options["initial"])
        return fit_kernel_machine(*args, **options)

    monkeypatch.setattr("agop.machines.rfm.fit_kernel_machine", watched)
    agop.RFMClassifier(bandwidth=5.0, n_iter=2, solver="cg", random_state=0).fit(*digits)
    assert [start is None for start in starts] == [True, False, False]
    X, Y, _ = system()
    cold = fit_kernel_machine(Laplace(3.0), X, Y, 1e-2, with_agop=False, solver=CG)
    near = cold.machine.coefficients
    other, warm = (
        fit_kernel_machine(Laplace(3.001), X, Y, 1e-2, with_agop=False, solver=CG, initial=start)
        for start in (None, near)
    )
    assert warm.report["iterations"] < other.report["iterations"] / 1.3


def test_deep_rfm(digits):
    X, y = digits
    shared = {"n_layers": 2, "width": 64, "random_state": 0}
    model = agop.DeepRFMClassifier(solver="cg", tolerance=1e-8, **shared).fit(X, y)
    direct = agop.DeepRFMClassifier(solver="cholesky", **shared).fit(X, y)
    np.testing.assert_allclose(model.decision_function(X), direct.decision_function(X), atol=1e-4)
    assert [entry["agop_route"] for entry in model.history_] == ["direct", "direct"]


@pytest.mark.parametrize("estimator", [RFM, DEEP], ids=lambda e: type(e).__name__)
def test_not_converged_is_a_warning_and_a_note(estimator, blobs):
    model = clone(estimator).set_params(max_cg_iter=2)
    with pytest.warns(ConvergenceWarning, match="raise max_cg_iter or max_rank"):
        model.fit(*blobs)
    entry = model.history_[0]
    assert not entry["converged"]
    assert entry["iterations"] == 2
    assert "after 2 iterations" in entry["notes"][0]
    assert max(entry["residuals"]) > 1e-6


def test_auto_takes_what_fits_and_says_why(blobs):
    X, y = blobs
    X, y = np.tile(X, (10, 1)).astype(np.float32), np.tile(y, 10)
    X += np.random.default_rng(0).normal(size=X.shape).astype(np.float32)
    n, d, c = *X.shape, 3
    direct, iterative = (estimate_memory(n, d, c, solver=s).total for s in ("cholesky", "cg"))
    assert iterative < direct
    between = (direct + iterative) // 2
    model = agop.RFMClassifier(n_iter=0, max_memory=between, random_state=0).fit(X, y)
    assert model.history_[0]["solver"] == "cg"
    assert "auto: cholesky needs about" in model.history_[0]["solver_reason"]
    assert agop.RFMClassifier(n_iter=0).fit(X, y).history_[0]["solver_reason"] == "auto: fits into memory"
    with pytest.raises(MemoryError):
        agop.RFMClassifier(n_iter=0, max_memory=between, solver="cholesky").fit(X, y)
    with pytest.raises(MemoryError):
        agop.RFMClassifier(n_iter=0, max_memory=10**6).fit(X, y)
    with pytest.raises(MemoryError, match="max_memory"):
        agop.RFMClassifier(n_iter=0, max_memory=between, ridge=0).fit(X, y)


def test_rank_follows_memory():
    def needs(**options):
        return estimate_memory(200_000, 50, 5, **options)

    device, solver = torch.device("cpu"), Solver(name="auto")
    much, some = (solver.chosen(needs, 200_000, 1e-3, 2**30 * g, device) for g in (16, 2))
    assert (much.name, some.name) == ("cg", "cg")
    assert much.max_rank == default_rank(200_000)
    assert 16 < some.max_rank < much.max_rank
    assert needs(solver="cg", max_rank=some.max_rank).total <= 2 * 2**30
    assert needs(solver="cholesky").total > 100 * 2**30
    assert needs(solver="cg").kernel_matrix == 0


def test_ranks_take_the_most_modest_choice():
    class Beside(Ranks):
        """One of two ranks, the other of which has chosen `other`."""

        other = ""

        def gather(self, text):
            return [text, self.other]

    direct, iterative = Solver(name="cholesky", reason="fits"), Solver(name="cg", max_rank=100, reason="must")
    ranks = Beside(rank=0, size=2)
    Beside.other = "cg 40"
    assert iterative.agreed(ranks).max_rank == 40
    assert (direct.agreed(ranks).name, direct.agreed(ranks).max_rank) == ("cg", 40)
    assert "another rank" in direct.agreed(ranks).reason
    Beside.other = "cholesky 0"
    assert direct.agreed(ranks) is direct
    assert iterative.agreed(ranks) == iterative
    assert iterative.agreed(ALONE) == iterative


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ridge": 0}, "ridge: expected a number > 0 for solver='cg', got 0"),
        ({"solver": "magic"}, "solver: expected one of 'auto', 'cholesky', 'cg'"),
        ({"tolerance": 0}, "tolerance: expected"),
        ({"tolerance": 0.5}, "tolerance: expected"),
        ({"max_rank": -1}, "max_rank: expected an integer >= 0"),
        ({"max_cg_iter": 0}, "max_cg_iter: expected an integer >= 1"),
    ],
)
@pytest.mark.parametrize("estimator", [RFM, DEEP], ids=lambda e: type(e).__name__)
def test_bad_parameters_are_one_sentence(estimator, options, message, blobs):
    theirs = f"The '{next(iter(options))}' parameter of RFM.* Got"
    with pytest.raises(ValueError, match=f"{message}|{theirs}"):
        clone(estimator).set_params(**options).fit(*blobs)


def test_saved_and_loaded(blobs, tmp_path):
    X, y = blobs
    model = agop.RFMClassifier(solver="cg", n_iter=1, random_state=0).fit(X, y)
    model.save(tmp_path / "model.safetensors")
    again = agop.RFMClassifier.load(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    assert again.history_ == model.history_
    assert again.get_params() == model.get_params()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        longer = again.set_params(n_iter=2, warm_start=True).fit(X, y)
    assert len(longer.history_) == 3
