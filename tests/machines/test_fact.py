"""The FACT update of recursive feature machines: closed form against autograd and against the procedure as written down."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import agop
from agop.kernels import L1, Gaussian, Laplace, Lpq, ReLUNTK
from agop.machines.fact import feature_matrix, machine_fact
from agop.machines.kernel_ridge import fit_kernel_machine
from tests.oracles import machines as oracle
from tests.tolerances import IDENTITY, ITERATIVE, SINGLE, relative_error

KERNELS = {
    "laplace": (Laplace(2.0), {"bandwidth": 2.0}),
    "gaussian": (Gaussian(1.5), {"bandwidth": 1.5}),
    "l1": (L1(2.0), {"bandwidth": 2.0}),
    "lpq": (Lpq(2.0, p=1.5, q=1.0), {"bandwidth": 2.0, "p": 1.5, "q": 1.0}),
    "relu-ntk": (ReLUNTK(1), {"depth": 1}),
}


def points(n=24, d=4, c=2, seed=0):
    g = torch.Generator().manual_seed(seed)
    X = torch.randn(n, d, generator=g, dtype=torch.float64)
    return X, torch.stack([X[:, 0] * X[:, 1], X[:, 0].sin()], 1)[:, :c]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", KERNELS)
def test_equals_residuals_times_jacobians(name, weighted):
    kernel, parameters = KERNELS[name]
    X, Y = points()
    B = torch.diag(torch.tensor([1.0, 0.5, 2.0, 0.7], dtype=X.dtype))
    w = (
        torch.rand(len(X), generator=torch.Generator().manual_seed(1), dtype=X.dtype) + 0.2
        if weighted
        else None
    )
    machine = fit_kernel_machine(kernel, X @ B, Y, 0.05, sample_weight=w).machine
    expected = oracle.machine_fact(name, parameters, X, B, Y, ridge=0.05, weight=w)
    assert relative_error(machine_fact(machine, X, B, weight=w), expected) < 1e-8


def test_equals_autograd_through_the_loss():
    X, Y = points()
    kernel, ridge = Gaussian(1.5), 0.05
    machine = fit_kernel_machine(kernel, X, Y, ridge).machine
    x = X.clone().requires_grad_()
    values = torch.exp(-(x[:, None] - X[None]).square().sum(2) / (2 * 1.5**2)) @ machine.coefficients
    (gradient,) = torch.autograd.grad((values - Y).square().sum() / 2, x)
    expected = -(gradient.mT @ X) / ridge
    found = machine_fact(machine, X, torch.eye(4, dtype=X.dtype))
    assert relative_error(found, expected) < 1e-8


def test_where_the_points_are_does_not_matter_and_their_gradients_sum_to_zero():
    X, Y = points()
    machine = fit_kernel_machine(Laplace(2.0), X, Y, 0.1).machine
    identity = torch.eye(4, dtype=X.dtype)
    here = machine_fact(machine, X, identity)
    assert relative_error(machine_fact(machine, X + 100, identity), here) < 1e-8
    assert relative_error(machine_fact(machine, X, identity, center=True), here) < IDENTITY


def test_of_one_direction_it_is_rank_one():
    X, _ = points(n=60)
    model = agop.RFMRegressor(kernel="gaussian", bandwidth=3.0, ridge=1e-3, n_iter=4, update="fact").fit(
        X, X[:, :1].sin()
    )
    values = torch.linalg.eigvalsh(model.agop_)
    assert float(model.agop_[0, 0]) == 1.0
    assert float(values[-2]) < 1e-3 * float(values[-1])


@pytest.mark.parametrize("update", ["fact", "fact-geometric"])
@pytest.mark.parametrize("n_iter", [1, 3])
def test_equals_the_procedure_as_written_down(update, n_iter):
    X, Y = points(n=50)
    x, _ = points(seed=1)
    options = {"bandwidth": 3.0, "ridge": 1e-2, "n_iter": n_iter, "update": update}
    expected, M = oracle.fact_rfm(X, Y, x, **options)
    model = agop.RFMRegressor(**options, power=0.25, scaling="none", center_targets=False).fit(X, Y)
    assert relative_error(model.agop_, M) < ITERATIVE
    assert relative_error(model.predict(x), expected) < ITERATIVE


def test_a_diagonal_metric_has_the_diagonal():
    F, N = torch.tensor([[-2.0, 5.0], [1.0, 0.5]]), torch.diag(torch.tensor([4.0, 1.0]))
    assert feature_matrix(F, N, "fact", diagonal=True).diagonal().tolist() == [4.0, 0.25]
    assert feature_matrix(F, N, "fact-geometric", diagonal=True).diagonal().tolist() == [8.0, 0.5]
    X, Y = points(n=50)
    for kernel in ("l1", "laplace"):
        M = agop.RFMRegressor(kernel=kernel, diagonal=True, update="fact-geometric").fit(X, Y).agop_
        assert torch.equal(M, torch.diag(M.diagonal()))
        assert M.diagonal()[:2].min() > M.diagonal()[2:].max()


def test_neither_units_nor_offsets_nor_the_split_of_weights_matter(tmp_path):
    X, Y = points(n=50)
    units = torch.tensor([1.0, 100.0, 0.01, 7.0], dtype=X.dtype)
    for update in ("fact", "fact-geometric"):
        model = agop.RFMRegressor(update=update).fit(X, Y)
        moved = agop.RFMRegressor(update=update).fit(X * units + 5, 3 * Y - 8)
        assert relative_error((moved.predict(X * units + 5) + 8) / 3, model.predict(X)) < ITERATIVE
        twice = agop.RFMRegressor(update=update).fit(torch.cat([X, X]), torch.cat([Y, Y]))
        weighted = agop.RFMRegressor(update=update).fit(X, Y, sample_weight=torch.full((50,), 2.0))
        assert relative_error(twice.predict(X), weighted.predict(X)) < ITERATIVE
        model.save(tmp_path / update)
        again = agop.RFMRegressor.load(tmp_path / update)
        assert again.update == update
        assert torch.equal(torch.as_tensor(again.predict(X)), torch.as_tensor(model.predict(X)))


def test_classifiers_float32_and_a_constant_target():
    X, Y = points(n=80)
    y = (Y[:, 0] > 0).numpy()
    double = agop.RFMClassifier(update="fact").fit(X.numpy(), y)
    single = agop.RFMClassifier(update="fact").fit(X.float().numpy(), y)
    assert double.score(X.numpy(), y) > 0.95
    assert relative_error(single.agop_, double.agop_) < 10 * SINGLE
    flat = agop.RFMRegressor(update="fact").fit(X, torch.ones(80))
    assert np.allclose(flat.predict(X), 1)
    assert any("constant" in note for entry in flat.history_ for note in entry["notes"])


def test_an_iterative_solver_and_a_ridge_of_its_own_for_learning():
    X, Y = points(n=60)
    exact, iterative = (
        agop.RFMRegressor(update="fact", solver=solver).fit(X, Y) for solver in ("cholesky", "cg")
    )
    assert relative_error(iterative.predict(X), exact.predict(X)) < SINGLE
    apart = agop.RFMRegressor(update="fact", learning_ridge=1.0, n_iter=1).fit(
        X, Y, X_val=X[:20], y_val=Y[:20]
    )
    alone = agop.RFMRegressor(update="fact", ridge=1.0, n_iter=1).fit(X, Y)
    assert relative_error(apart._chains_[0].matrix, alone._chains_[0].matrix) < IDENTITY


def test_a_machine_with_other_centres_is_refused():
    X, Y = points()
    machine = fit_kernel_machine(Laplace(2.0), X, Y, 0.1).machine
    with pytest.raises(ValueError, match="update: expected 'agop' where"):
        machine_fact(machine, X[:5], torch.eye(4, dtype=X.dtype))


def test_other_words_are_refused_in_one_sentence():
    with pytest.raises(ValueError, match="'update' parameter"):
        agop.RFMRegressor(update="magic").fit(*points())
