"""RFM on centres: what equals the exact fit, what does not depend on how it is computed, and what is told."""

from __future__ import annotations

import pickle
from itertools import pairwise

import numpy as np
import pytest
import torch
from sklearn.utils.estimator_checks import parametrize_with_checks

import agop
from agop.kernels import L1, Gaussian, Laplace, Lpq, ReLUNTK
from agop.machines.centers import choose_centers, n_candidates
from agop.machines.kernel_ridge import KernelMachine, fit_kernel_machine
from agop.machines.memory import default_centers, estimate_memory
from agop.machines.names import CENTERS
from agop.machines.nystrom import Nystrom, machine_moments
from agop.machines.nystrom_sums import NystromSums
from agop.machines.ridge_choice import RidgeChoice
from agop.machines.rows import HeldRows, row_hashes
from agop.machines.samples import Samples
from tests.oracles.kernels import kernel_values
from tests.tolerances import IDENTITY, ITERATIVE, MERGE, relative_error

RNG = np.random.default_rng(0)
N = 300
X = RNG.normal(size=(N, 5)) * [1, 2, 1, 5, 1] + [0, 10, 0, 0, -3]
Y = np.sin(1.5 * X[:, 0]) + 0.3 * (X[:, 1] - 10) * X[:, 2] + 0.1 * RNG.normal(size=N)
NEW = RNG.normal(size=(100, 5)) * [1, 2, 1, 5, 1] + [0, 10, 0, 0, -3]
LABELS = np.array(["low", "middle", "high"])[np.digitize(Y, [-0.5, 0.5])]
WEIGHT = RNG.integers(0, 4, N).astype(float)


def regressor(**options):
    return agop.RFMRegressor(**{"solver": "nystrom", "random_state": 0, "n_iter": 1, **options})


def apart(a, b, y=Y):
    """The largest difference of predictions, in standard deviations of the targets."""
    return float(np.abs(np.asarray(a) - np.asarray(b)).max() / np.std(y))


@pytest.mark.slow
@parametrize_with_checks([agop.RFMRegressor(n_iter=1, solver="nystrom", random_state=0)])
def test_scikit_learn_checks(estimator, check):
    check(estimator)


KERNELS = {
    "laplace": {},
    "gaussian": {},
    "l1": {"diagonal": True},
    "lpq": {},
    "relu-ntk": {"scaling": "columns"},
    "relu-nngp": {},
    "exponent": {"kernel": Laplace(3.0, exponent=0.7)},
    "norm": {"kernel": Lpq(3.0, p=1.2, q=0.9)},
}


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("feature_points", [1000, "all"])
def test_all_rows_as_centres_give_the_exact_fit(name, feature_points):
    options = {"kernel": name, "power": 0.5, "center_gradients": True, "n_iter": 2, **KERNELS[name]}
    exact = regressor(**options | {"solver": "cholesky"}).fit(X, Y)
    fit = regressor(n_centers=N, feature_points=feature_points, **options).fit(X, Y)
    assert apart(fit.predict(NEW), exact.predict(NEW)) < ITERATIVE
    assert relative_error(fit.agop_, exact.agop_) < ITERATIVE
    assert np.abs(fit.feature_importances_ - exact.feature_importances_).max() < ITERATIVE
    last = fit.history_[-1]
    assert (last["solver"], last["n_centers"], last["rows"]) == ("nystrom", N, N)
    assert last["nystrom_rank"] + last["left_out_centers"] == N


@pytest.mark.parametrize(
    "options",
    [{"power": 0.25}, {"power": 1.0}, {"diagonal": True}, {"scale": "trace"}, {"learning_ridge": 1e-3}, {"n_iter": 0},
     {"scaling": "none", "center_targets": False}, {"bandwidth_at": "each"}, {"ridge": 1e-3}],
    ids=str,
)  # fmt: skip
def test_so_with_every_option(options):
    exact = regressor(**options | {"solver": "cholesky"}).fit(X, np.c_[Y, Y**2], WEIGHT + 0.5)
    fit = regressor(n_centers=N, **options).fit(X, np.c_[Y, Y**2], WEIGHT + 0.5)
    assert apart(fit.predict(NEW), exact.predict(NEW)) < ITERATIVE


@pytest.mark.parametrize("options", [{}, {"class_weight": "balanced"}, {"center_targets": False}], ids=str)
def test_classes_and_their_priors(options):
    exact = agop.RFMClassifier(n_iter=1, **options).fit(X, LABELS, WEIGHT)
    fit = agop.RFMClassifier(n_iter=1, solver="nystrom", n_centers=200, random_state=0, **options)
    count = int((WEIGHT > 0).sum())
    fit.set_params(n_centers=count).fit(X, LABELS, WEIGHT)
    assert np.abs(fit.predict_proba(NEW) - exact.predict_proba(NEW)).max() < ITERATIVE
    assert fit.history_[-1]["train_accuracy"] == exact.history_[-1]["train_accuracy"]
    far = fit.predict_proba(NEW + 1e6)
    assert np.abs(far - exact.predict_proba(NEW + 1e6)).max() < ITERATIVE


def naive(kernel, parameters, X, Y, Z, x, ridge, weight):
    """The textbook formula: (K_mn W K_nm + μ K_mm) a = K_mn W Y."""
    K = kernel_values(kernel, parameters, X, Z)
    A = K.T @ (weight[:, None] * K) + ridge * kernel_values(kernel, parameters, Z, Z)
    return kernel_values(kernel, parameters, x, Z) @ torch.linalg.solve(A, K.T @ (weight[:, None] * Y))


@pytest.mark.parametrize("precision", ["mixed", "native"])
def test_the_normal_equations(precision):
    x, y, new = torch.from_numpy(X), torch.from_numpy(np.c_[Y, -Y]), torch.from_numpy(NEW)
    weight = torch.from_numpy(WEIGHT + 0.1)
    rows = HeldRows(Samples(x, y, None, weight))
    fit = Nystrom(rows=rows, n_centers=40, precision=precision, block_bytes=200_000).solve(
        Laplace(4.0), lambda block: block, 0.1, computed=False, with_agop=True
    )
    machine = fit.machine
    assert machine.centers.shape == (40, 5)
    expected = naive("laplace", {"bandwidth": 4.0}, x, y, machine.centers, new, 0.1, weight)
    assert relative_error(machine.predict(new), expected) < ITERATIVE
    whole = Nystrom(rows=rows, n_centers=40, precision=precision).solve(
        Laplace(4.0), lambda block: block, 0.1, computed=False, with_agop=True
    )
    assert relative_error(whole.machine.predict(new), machine.predict(new)) < IDENTITY
    jacobian = torch.func.vmap(torch.func.jacrev(lambda one: _value(machine, one)))(x)
    agop_ = torch.einsum("n,ncd,nce->de", weight, jacobian, jacobian) / weight.sum()
    assert relative_error(fit.agop, agop_) < ITERATIVE
    error = ((machine.predict(x) - y).square() * weight[:, None]).sum(0) / weight.sum()
    assert fit.report["fitted_mse"] == pytest.approx(float(error.mean()), rel=1e-8)


def _value(machine, x):
    squared = (x - machine.centers).square().sum(1)
    distance = torch.where(squared > 0, squared, 1.0).sqrt() * (squared > 0)
    return torch.exp(-distance / machine.kernel.bandwidth) @ machine.coefficients


@pytest.mark.parametrize(
    "kernel", [Laplace(3.0), Gaussian(3.0), L1(5.0), Lpq(4.0), ReLUNTK(1)], ids=lambda k: type(k).__name__
)
def test_gradient_moments_are_those_of_the_machines_own_agop_at_its_centres(kernel):
    x, y = torch.from_numpy(X), torch.from_numpy(np.c_[Y, Y**2])
    weight = torch.from_numpy(WEIGHT + 0.1)
    exact = fit_kernel_machine(kernel, x, y, 0.1, sample_weight=weight)
    squares, mean, total = machine_moments(exact.machine, x, weight, computed=False)
    assert relative_error(squares / total, exact.agop) < 1e-8
    centred = fit_kernel_machine(kernel, x, y, 0.1, sample_weight=weight, center_gradients=True)
    assert relative_error(squares / total - mean.mT @ mean / total**2, centred.agop) < 1e-7


@pytest.mark.parametrize("kernel", [pytest.param("laplace", marks=pytest.mark.slow), "gaussian"])
def test_more_centres_fit_better_on_average(kernel):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(1000, 4))
    y = np.sin(2 * x[:, 0]) + x[:, 1] * x[:, 2] + 0.2 * rng.normal(size=1000)
    errors = []
    for seed in range(10):
        own = [
            regressor(kernel=kernel, n_centers=m, n_iter=0, random_state=seed, bandwidth=3.0).fit(
                x[:600], y[:600]
            )
            for m in (30, 80, 200)
        ]
        for few, more in pairwise(own):
            nested = {row.tobytes() for row in few.machine_.centers.numpy()}
            assert nested <= {row.tobytes() for row in more.machine_.centers.numpy()}
        errors.append([float(np.square(model.predict(x[600:]) - y[600:]).mean()) for model in own])
    steps = np.diff(errors, axis=1)
    assert (steps.mean(0) <= 2 * steps.std(0, ddof=1) / 10**0.5).all()


@pytest.mark.parametrize(
    "options", [{}, {"kernel": "gaussian", "ridge": 1.0, "bandwidth_factor": 0.5}], ids=str
)
def test_projecting_rows_or_their_sums_is_one(options, monkeypatch):
    fits = {}
    for share in (0.0, 1e-3):
        monkeypatch.setattr("agop.machines.nystrom.LATE", share)
        model = regressor(n_centers=100, feature_points=200, **options).fit(X, Y, WEIGHT)
        fits[model.history_[-1]["projected"]] = model.predict(NEW)
    assert apart(fits["block by block"], fits["after the sums"]) < 1e-8


def test_nearly_dependent_centres_project_rows():
    model = regressor(n_centers=150, kernel="gaussian", bandwidth_factor=8.0, ridge=1e-8).fit(X, Y)
    assert model.history_[-1]["projected"] == "block by block"


@pytest.mark.parametrize("kernel", ["laplace", "gaussian"])
@pytest.mark.parametrize("ridge", [1e-6, 0.1])
def test_single_precision_follows_double(kernel, ridge):
    # the same centres: "kmeans++" may draw another row where two shares of distances part in their last digits
    options = {"kernel": kernel, "ridge": ridge, "n_centers": 100, "centers": "random"}
    double = regressor(**options).fit(X, Y).predict(NEW)
    single = regressor(**options).fit(X.astype(np.float32), Y.astype(np.float32))
    assert single.machine_.coefficients.dtype == torch.float64
    assert single.predict(NEW.astype(np.float32)).dtype == np.float32
    assert apart(single.predict(NEW.astype(np.float32)), double) < (2e-3 if ridge < 1e-3 else 1e-4)


def test_neither_units_nor_offsets_matter():
    base = regressor(n_centers=80).fit(X, Y).predict(NEW)
    scale, shift = np.array([1e-3, 1e3, 1, 7, 1e6]), np.array([1e3, 0, -5, 1, 0])
    moved = regressor(n_centers=80).fit(X * scale + shift, 1e4 * Y + 1e7).predict(NEW * scale + shift)
    # the order of candidates is that of their values, which keep it
    assert apart((moved - 1e7) / 1e4, base) < 1e-6


def test_k_copies_are_weight_k_and_weight_zero_is_absent():
    copies = np.repeat(np.arange(N), WEIGHT.astype(int))
    for rule in CENTERS:
        weighted = regressor(n_centers=80, centers=rule).fit(X, Y, WEIGHT).predict(NEW)
        repeated = regressor(n_centers=80, centers=rule).fit(X[copies], Y[copies]).predict(NEW)
        there = WEIGHT > 0
        absent = regressor(n_centers=80, centers=rule).fit(X[there], Y[there], WEIGHT[there]).predict(NEW)
        assert apart(weighted, repeated) < 1e-8
        assert np.array_equal(weighted, absent)


@pytest.mark.parametrize("s", [1e-42, 1e-6, 1e6, 1e42])
def test_weights_scale_the_ridge(s):
    weighted = regressor(n_centers=80, n_iter=0).fit(X, Y, np.full(N, s)).predict(NEW)
    other = regressor(n_centers=80, n_iter=0, ridge=0.1 / s).fit(X, Y).predict(NEW)
    assert apart(weighted, other) < ITERATIVE


@pytest.mark.parametrize("rule", CENTERS)
def test_centres_are_rows_and_do_not_depend_on_their_order(rule):
    x, order = torch.from_numpy(X), torch.randperm(N, generator=torch.Generator().manual_seed(0))
    chosen = choose_centers(Laplace(3.0), x, None, 30, rule=rule, ridge=0.1, seed=3)
    again = choose_centers(Laplace(3.0), x[order], None, 30, rule=rule, ridge=0.1, seed=3)
    assert torch.equal(chosen, again)
    assert len(torch.unique(chosen, dim=0)) == 30
    assert {row.tobytes() for row in chosen.numpy()} <= {row.tobytes() for row in X}
    other = choose_centers(Laplace(3.0), x, None, 30, rule=rule, ridge=0.1, seed=4)
    assert not torch.equal(chosen, other)
    same = choose_centers(Laplace(3.0), x[[0] * 9 + [1]], None, 5, rule=rule, ridge=0.1, seed=3)
    assert len(same) == 2  # equal rows are one centre


def test_spread_and_leverage_take_the_rare_point():
    generator = torch.Generator().manual_seed(0)
    x = torch.cat(
        [0.01 * torch.randn(500, 2, dtype=torch.float64, generator=generator), torch.full((1, 2), 50.0)]
    )
    for rule in ("kmeans++", "leverage"):
        chosen = choose_centers(Gaussian(1.0), x, None, 5, rule=rule, ridge=0.1, seed=0)
        assert bool((chosen == 50).all(1).any()), rule


# ---- sums


def system(n=50, r=6, c=2):
    generator = torch.Generator().manual_seed(0)
    F = torch.randn(n, r, dtype=torch.float64, generator=generator)
    return (
        F,
        torch.randn(n, c, dtype=torch.float64, generator=generator),
        torch.rand(n, dtype=torch.float64, generator=generator),
    )


def test_sums_add_merge_and_come_back_from_a_file(tmp_path):
    from safetensors.torch import load_file, save_file

    F, targets, weight = system()
    whole, left, right = (NystromSums.zeros(6, 2) for _ in range(3))
    whole.add(F.clone(), targets, weight)
    left.add(F[:20].clone(), targets[:20], weight[:20])
    right.add(F[20:].clone(), targets[20:], weight[20:])
    save_file(right.tensors(), tmp_path / "sums")
    merged = left.merge(NystromSums.restored(load_file(tmp_path / "sums")))
    assert relative_error(merged.gram.tril(), whole.gram.tril()) < MERGE
    assert relative_error(merged.moment, whole.moment) < MERGE
    assert (merged.count, merged.weight) == (50, pytest.approx(float(weight.sum())))
    with pytest.raises(ValueError, match="other: expected sums of rank 6, got rank 5"):
        merged.merge(NystromSums.zeros(5, 2))


@pytest.mark.parametrize("many", [2, 20])
def test_a_path_of_ridges_and_their_errors(many):
    F, targets, weight = system()
    sums = NystromSums.zeros(6, 2)
    sums.add(F.clone(), targets, weight)
    ridges = np.geomspace(1e-3, 10, many).tolist()
    for ridge, b in zip(ridges, sums.solve(ridges), strict=True):
        left = F.mT @ (weight[:, None] * F) + ridge * torch.eye(6, dtype=torch.float64)
        assert relative_error(b, torch.linalg.solve(left, F.mT @ (weight[:, None] * targets))) < IDENTITY
        errors = (weight[:, None] * (targets - F @ b).square()).sum(0)
        assert relative_error(sums.squared_errors(b), errors) < IDENTITY


def test_a_singular_system_says_so():
    sums = NystromSums.zeros(3, 1)
    sums.add(torch.ones(4, 3, dtype=torch.float64), torch.ones(4, 1))
    with pytest.raises(ValueError, match="Nyström system, got one that is singular in float64 with ridge=0"):
        sums.solve([0.0])


def test_the_ridge_is_chosen_on_rows_that_were_not_seen():
    """Sums of folds give the very errors that fits without the fold have on it."""
    x, y = torch.from_numpy(X), torch.from_numpy(Y)[:, None]
    rows = HeldRows(Samples(x, y, None, None))
    seen = row_hashes(x[:60]).sort().values
    choice = RidgeChoice((1e-4, 1e-1, 1e2), folds=3, seen=seen, seed=5)
    fit = Nystrom(rows=rows, n_centers=50).solve(
        Laplace(4.0), lambda block: block, 1.0, computed=False, ridges=choice
    )
    part = choice.part_of(Samples(x, y, None, None))
    assert (part[:60] == 3).all()
    assert set(part[60:].tolist()) == {0, 1, 2}
    Z, weights = fit.machine.centers, torch.ones(N, dtype=torch.float64)
    for ridge in choice.ridges:
        error = 0.0
        for fold in range(3):
            own, other = part == fold, part != fold
            predicted = naive(
                "laplace", {"bandwidth": 4.0}, x[other], y[other], Z, x[own], ridge, weights[other]
            )
            error += float((predicted - y[own]).square().sum())
        assert fit.report["ridge_errors"][str(ridge)] == pytest.approx(
            error / int((part < 3).sum()), rel=1e-5
        )
    assert fit.report["ridge"] == min(choice.ridges, key=lambda ridge: fit.report["ridge_errors"][str(ridge)])


def test_equal_rows_have_one_hash():
    x = torch.from_numpy(X)
    hashes = row_hashes(torch.cat([x, x.flip(0)]))
    assert torch.equal(hashes[:N], hashes[N:].flip(0))
    assert len(hashes.unique()) == N
    assert torch.equal(row_hashes(torch.tensor([[0.0]])), row_hashes(torch.tensor([[-0.0]])))
    counts = torch.bincount(hashes[:N].bitwise_right_shift(20).remainder(3))
    assert int(counts.min()) > N / 5


# ---- what is told, and what is refused


def test_auto_takes_centres_from_many_rows_on(monkeypatch):
    monkeypatch.setattr("agop.machines.solver.LARGE", 200)
    model = regressor(solver="auto").fit(X, Y)
    assert model.history_[-1]["solver"] == "nystrom"
    assert (
        model.history_[-1]["solver_reason"]
        == "auto: 300 rows are more than 200, from where on centres are taken"
    )
    assert model.history_[0]["solver_reason"] == "auto: fits into memory"
    assert regressor(solver="auto").fit(X[:200], Y[:200]).history_[-1]["solver"] == "cholesky"


def test_memory_is_said_and_kept():
    big = estimate_memory(
        10**6, 50, 1, solver="nystrom", n_centers=4000, feature_points=10_000, streamed=True
    )
    assert 1e9 < big.total < 4e9
    assert [default_centers(n) for n in (300, 10**6, 10**9)] == [300, 4000, 20_000]
    few = estimate_memory(10**6, 50, 1, solver="nystrom", n_centers=1000, streamed=True)
    assert few.total < big.total
    with pytest.raises(MemoryError, match="fits into 10.0 MiB"):
        regressor(max_memory="10MB").fit(X, Y)
    least = estimate_memory(N, 5, 1, solver="nystrom", n_centers=N).total
    assert regressor(max_memory=least + 10**8).fit(X, Y).history_[-1]["n_centers"] == N


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"n_centers": 301},
            "n_centers: expected at most 300, the rows there are, got 301; set n_centers='auto'",
        ),
        ({"n_centers": 0}, "The 'n_centers' parameter of RFMRegressor must be"),
        ({"centers": "kmeans"}, "The 'centers' parameter of RFMRegressor must be"),
        ({"feature_points": "some"}, "The 'feature_points' parameter of RFMRegressor must be"),
    ],
)
def test_bad_parameters(options, sentence):
    with pytest.raises(ValueError) as caught:
        regressor(**options).fit(X, Y)
    assert sentence in str(caught.value)


def test_all_rows_equal():
    model = regressor().fit(np.ones((20, 3)), np.arange(20.0))
    with pytest.warns(UserWarning, match="zeros"):
        shares = model.feature_importances_
    assert not shares.any()
    assert model.predict(np.ones((2, 3))) == pytest.approx([9.5, 9.5])
    assert model.history_[-1]["n_centers"] == 1


def test_saved_with_centres_only(tmp_path):
    model = regressor(n_centers=40, n_iter=2).fit(X.astype(np.float32), np.c_[Y, Y**2])
    model.save(tmp_path / "model")
    loaded = agop.RFMRegressor.load(tmp_path / "model")
    assert np.array_equal(loaded.predict(NEW), model.predict(NEW))
    assert np.array_equal(loaded.feature_importances_, model.feature_importances_)
    assert loaded.machine_.centers.shape[0] == 40
    assert (tmp_path / "model").stat().st_size < 30_000
    again = tmp_path / "again"
    loaded.save(again)
    assert np.array_equal(agop.RFMRegressor.load(again).predict(NEW), model.predict(NEW))
    assert np.array_equal(pickle.loads(pickle.dumps(model)).predict(NEW), model.predict(NEW))


def test_goes_on_with_more_iterations():
    one = regressor(n_centers=60, warm_start=True).fit(X, Y)
    both = one.set_params(n_iter=2).fit(X, Y)
    assert np.array_equal(both.predict(NEW), regressor(n_centers=60, n_iter=2).fit(X, Y).predict(NEW))


def test_an_interrupted_pass_leaves_what_the_metric_was_learned_with():
    def stop(done, total, text):
        if "rows" in text:
            raise KeyboardInterrupt

    model = regressor(n_centers=60, n_iter=2, warm_start=True)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y, progress=stop)
    assert len(model.history_) == 2
    assert model.score(X, Y) > 0.5
    model.fit(X, Y)
    assert np.array_equal(model.predict(NEW), regressor(n_centers=60, n_iter=2).fit(X, Y).predict(NEW))


def test_validation_chooses_on_the_learning_rows_and_one_large_fit_follows():
    model = regressor(
        n_centers=60, n_iter=2, bandwidth=[3.0, "median"], feature_points=150, validation=0.2
    ).fit(X, Y)
    solvers = [entry["solver"] for entry in model.history_]
    assert solvers.count("nystrom") == 1
    chosen = model.history_[solvers.index("nystrom")]
    assert (chosen["candidate"], chosen["iteration"]) == (model.best_candidate_, model.best_iteration_)
    assert chosen["validation_score"] == model.validation_score_
    assert chosen["rows"] == 240


def test_the_metric_is_learned_on_some_rows():
    model = regressor(n_centers=60, feature_points=100).fit(X, Y)
    assert model.history_[0]["solver"] == "cholesky"
    assert model._agop_rows[1].shape[0] == 100
    controlled = regressor(n_centers=60, feature_points=100, importance_control=1).fit(X, Y)
    assert controlled.importance_control_.shape == (1, 5)


def test_counts_of_candidates():
    assert n_candidates(10**6, 4000) == 40_000
    assert n_candidates(15_000, 10) == 15_000
    assert n_candidates(10**6, 10) == 20_000


def test_a_machine_of_double_coefficients_predicts_in_double():
    machine = KernelMachine(Laplace(2.0), torch.zeros(1, 2), torch.ones(1, 1, dtype=torch.float64))
    assert machine.predict(torch.ones(3, 2)).dtype == torch.float64
