"""Kernels of p-norms, alone and in an RFM."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import agop
from agop.kernels import L1, Laplace, Lpq
from agop.kernels.agop import kernel_agop
from agop.kernels.columns import ColumnSums
from tests.conformance.kernels import NormConformance, data
from tests.oracles import kernels as oracle
from tests.tolerances import IDENTITY, ITERATIVE, relative_error


class TestL1(NormConformance):
    name, parameters = "l1", {"bandwidth": 2.0}
    kernel = L1(bandwidth=2.0)


class TestLpq(NormConformance):
    name, parameters = "lpq", {"bandwidth": 1.5, "p": 1.4, "q": 0.9}
    kernel = Lpq(bandwidth=1.5, p=1.4, q=0.9)


class TestLpqBelowOne(NormConformance):
    name, parameters = "lpq", {"bandwidth": 2.5, "p": 0.8, "q": 0.7}
    kernel = Lpq(bandwidth=2.5, p=0.8, q=0.7)


def test_p_two_is_the_laplace_kernel():
    X, A = data(30, 4, 2)
    ours, theirs = Lpq(2.0, p=2.0, q=1.3), Laplace(2.0, exponent=1.3)
    assert relative_error(ours(X), theirs(X)) < IDENTITY
    agops = [kernel_agop(kernel, kernel.points(X), A, route="gram").matrix for kernel in (ours, theirs)]
    assert relative_error(*agops) < IDENTITY


@pytest.mark.parametrize("values", [{"p": 2.1}, {"p": 0}, {"q": 1.1, "p": 1.0}, {"q": 0}, {"bandwidth": 0}])
def test_parameters_outside_the_positive_definite_range(values):
    with pytest.raises(ValueError, match=r"^(p|q|bandwidth): expected a finite number > 0.*, got .*\.$"):
        Lpq(**values)


@pytest.mark.parametrize("kernel", ["l1", Lpq(3.0, p=1.3, q=1.0)])
@pytest.mark.parametrize("power", [0.5, 0.25])
def test_rfm_equals_the_procedure_as_written_down(kernel, power):
    """Points mapped by the symmetric root of M, the AGOP pulled back, M divided by its largest entry."""
    X, Y = data(40, 3, 2)
    new, _ = data(7, 3, 1, seed=1)
    diagonal = kernel == "l1"
    made = L1(3.0) if diagonal else kernel
    options = {"diagonal": diagonal, "ridge": 0.1, "scaling": "none", "center_targets": False}
    model = agop.RFMRegressor(kernel=kernel, bandwidth=3.0, power=power, n_iter=2, **options).fit(X, Y)
    M = torch.eye(3, dtype=X.dtype)
    for _ in range(2):
        values, vectors = torch.linalg.eigh(M)
        root = vectors @ torch.diag(values.clamp_min(0) ** power) @ vectors.T
        A = torch.linalg.solve(made(X @ root) + 0.1 * torch.eye(40, dtype=X.dtype), Y)
        parameters = {"bandwidth": 3.0, "p": made.p, "q": made.q}
        M = root @ oracle.machine_agop("lpq", parameters, X @ root, A) @ root
        M = torch.diag(M.diagonal()) if diagonal else M
        M = M / M.max()
    assert relative_error(model.agop_, M) < ITERATIVE
    assert np.isfinite(model.predict(new).numpy()).all()


def test_a_step_along_one_column_is_found():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 6))
    y = np.sign(X[:, 0]) + 0.1 * rng.normal(size=300)
    model = agop.RFMRegressor(kernel="l1", bandwidth="median", diagonal=True, n_iter=3, ridge=0.1).fit(X, y)
    weights = model.agop_.diagonal()
    assert weights[0] > 5 * weights[1:].max()
    median = np.median(torch.pdist(torch.as_tensor((X - X.mean(0)) / X.std(0)), p=1))
    assert model.bandwidth_ == pytest.approx(4 * median, rel=1e-3)  # of the kernel's own distance


@pytest.mark.parametrize("solver", ["cholesky", "cg"])
def test_both_solvers_agree(solver):
    X, Y = data(80, 3, 1)
    options = {"kernel": "lpq", "bandwidth": "median", "n_iter": 1, "ridge": 0.1, "random_state": 0}
    model = agop.RFMRegressor(solver=solver, tolerance=1e-10, **options).fit(X, Y)
    direct = agop.RFMRegressor(**options).fit(X, Y)
    assert relative_error(model.predict(X), direct.predict(X)) < ITERATIVE


def test_what_these_kernels_cannot_do_is_said():
    X, Y = data(10, 3, 1)
    with pytest.raises(ValueError, match="diagonal: expected True for kernel='l1', .* set diagonal=True"):
        agop.RFMRegressor(kernel="l1").fit(X, Y)
    assert agop.RFMRegressor(kernel="l1", n_iter=0).fit(X, Y).predict(X).shape == (10, 1)
    with pytest.raises(
        ValueError, match="n_iter: expected 0 for kernel='lpq'.*p < 0.7.*, got 2; set n_iter=0"
    ):
        agop.RFMRegressor(kernel=Lpq(1.0, p=0.6, q=0.5), n_iter=2).fit(X, Y)


def test_a_saved_one_comes_back(tmp_path):
    X, Y = data(20, 3, 1)
    model = agop.RFMRegressor(kernel=Lpq(2.0, p=1.5, q=1.2), n_iter=1).fit(X, Y)
    model.save(tmp_path / "m")
    again = agop.RFMRegressor.load(tmp_path / "m")
    assert torch.equal(again.predict(X), model.predict(X))
    assert again.kernel_ == model.kernel_


@pytest.mark.parametrize("p", [0.8, 1.0, 1.5])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_columns_with_few_values_are_summed_as_the_others_are(p, dtype):
    rng = torch.Generator().manual_seed(0)
    X = torch.randn(90, 6, dtype=torch.float64, generator=rng)
    X[:, 1], X[:, 3] = (X[:, 1] > 0).double(), (2 * X[:, 3]).round().clamp(-2, 2)
    X[:, 5] = 7.0
    A = torch.randn(90, 3, dtype=dtype, generator=rng)
    W, left = torch.randn(40, 90, dtype=dtype, generator=rng), X[20:60]
    sums = ColumnSums(X, A, p)
    assert sums.many == [0, 2, 4]
    difference = left[:, None] - X
    slope = torch.where(difference == 0, 0.0, difference.sign() * difference.abs() ** (p - 1))
    oracle = torch.einsum("bn,bnd,nc->bcd", W.double(), slope, A.double())
    tight = 1e-12 if dtype == torch.float64 else 1e-5
    assert torch.allclose(sums(W, left).double(), oracle, rtol=tight, atol=tight * float(oracle.abs().max()))
