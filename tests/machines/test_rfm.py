from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.base import clone

import agop
from agop.kernels.named import median_distance
from tests.oracles import machines as oracle
from tests.tolerances import ITERATIVE, SINGLE, relative_error


def regression(n=60, d=5, c=2, seed=0):
    g = torch.Generator().manual_seed(seed)
    X = torch.randn(n, d, generator=g, dtype=torch.float64)
    return X, torch.stack([X[:, 0] * X[:, 1], X[:, 0].sin()], 1)[:, :c]


@pytest.mark.parametrize("diagonal", [False, True])
@pytest.mark.parametrize("n_iter", [0, 1, 3])
def test_equals_the_procedure_as_written_down(n_iter, diagonal):
    X, Y = regression()
    x, _ = regression(seed=1)
    options = {"bandwidth": 3.0, "ridge": 1e-2, "n_iter": n_iter, "diagonal": diagonal}
    expected, M = oracle.rfm(X, Y, x, **options)
    model = agop.RFMRegressor(**options, **oracle.AS_WRITTEN).fit(X, Y)
    assert relative_error(model.predict(x), expected) < ITERATIVE
    assert relative_error(model.agop_, M) < ITERATIVE


def test_finds_the_features_that_matter():
    X, Y = regression(n=300, d=8, c=1)
    model = agop.RFMRegressor(bandwidth=5.0, n_iter=4).fit(X, Y)
    weights = model.agop_.diagonal()
    assert weights[:2].min() > 10 * weights[2:].max()


def test_diagonal_keeps_only_feature_weights():
    X, Y = regression()
    M = agop.RFMRegressor(bandwidth=3.0, diagonal=True, n_iter=2).fit(X, Y).agop_
    assert torch.equal(M, torch.diag(M.diagonal()))


def test_trace_scale_does_not_depend_on_the_axes():
    X, Y = regression()
    rotation = torch.linalg.qr(torch.randn(5, 5, generator=torch.Generator().manual_seed(2), dtype=X.dtype))[
        0
    ]
    model = agop.RFMRegressor(bandwidth=3.0, scale="trace", scaling="none")
    plain = model.fit(X, Y).predict(X)
    turned = model.fit(X @ rotation, Y).predict(X @ rotation)
    assert relative_error(turned, plain) < ITERATIVE


@pytest.mark.parametrize("d", [3, 40], ids=["direct", "gram"])
@pytest.mark.parametrize("labels", [False, True])
def test_weights_are_repetitions(d, labels):
    X, Y = regression(n=30, d=d)
    w = torch.randint(0, 4, (30,), generator=torch.Generator().manual_seed(0))
    y = (Y[:, 0] > 0).long() + (Y[:, 1] > 0.5) if labels else Y
    model = (agop.RFMClassifier if labels else agop.RFMRegressor)(bandwidth=3.0, n_iter=2, scale="none")
    repeated = clone(model).fit(X.repeat_interleave(w, 0), y.repeat_interleave(w, 0))
    weighted = clone(model).fit(X, y, sample_weight=w)
    x, _ = regression(seed=1, d=d)
    ours, theirs = (m.predict_proba(x) if labels else m.predict(x) for m in (weighted, repeated))
    assert relative_error(ours, theirs) < ITERATIVE
    assert relative_error(weighted.agop_, repeated.agop_) < ITERATIVE


def test_single_precision_follows_double():
    X, Y = regression(n=200)
    double = agop.RFMRegressor(bandwidth=3.0).fit(X, Y)
    single = agop.RFMRegressor(bandwidth=3.0).fit(X.float(), Y)
    assert single.predict(X.float()).dtype == torch.float32
    assert relative_error(single.predict(X.float()), double.predict(X)) < 10 * SINGLE


def test_more_features_than_points():
    X, Y = regression(n=20, d=50)
    model = agop.RFMRegressor(bandwidth=10.0, n_iter=2).fit(X, Y)
    assert model.agop_.shape == (50, 50)
    assert np.isfinite(model.predict(X).numpy()).all()


def test_targets_of_zero_keep_the_metric_and_say_so():
    X, _ = regression()
    model = agop.RFMRegressor(n_iter=1).fit(X, torch.zeros(60))
    assert torch.equal(model.agop_, torch.eye(5, dtype=X.dtype))
    assert "M stays as it was" in model.history_[0]["notes"][0]


def test_near_duplicates_in_regression_do_not_break_the_fast_route():
    g = torch.Generator().manual_seed(0)
    base = torch.randn(40, 5, generator=g)
    X = torch.cat([base, base + 1e-4 * torch.randn(40, 5, generator=g)])
    Y = torch.randn(80, 30, generator=g)
    single = agop.RFMRegressor(bandwidth=3.0, n_iter=1, ridge=1.0).fit(X, Y)
    double = agop.RFMRegressor(bandwidth=3.0, n_iter=1, ridge=1.0).fit(X.double(), Y.double())
    assert relative_error(single.agop_, double.agop_) < 0.01


def test_median_bandwidth_is_the_lower_median_over_pairs_that_differ():
    X, Y = regression()
    X[7] = X[3]
    model = agop.RFMRegressor(bandwidth="median", bandwidth_factor=2.0, n_iter=0, scaling="none").fit(X, Y)
    distances = np.sort(torch.pdist(X).numpy())[1:]
    assert model.bandwidth_ == pytest.approx(2 * distances[(len(distances) - 1) // 2], rel=1e-12)


@pytest.mark.parametrize("n", [30, 700, 1700])
def test_median_bandwidth_knows_neither_the_order_nor_whether_rows_are_weighted_or_repeated(n):
    X, _ = regression(n=n, d=2)
    w = torch.randint(0, 4, (n,), generator=torch.Generator().manual_seed(0)).double()
    order = torch.randperm(n, generator=torch.Generator().manual_seed(1))
    assert median_distance(X[order], w[order]) == median_distance(X, w)
    repeated = median_distance(X.repeat_interleave(w.long(), 0))
    assert repeated == pytest.approx(median_distance(X[w > 0], w[w > 0]), rel=1e-12)
    assert repeated == pytest.approx(float(torch.pdist(X).median()), rel=0.1)


def test_median_bandwidth_of_equal_points_is_one():
    model = agop.RFMRegressor(bandwidth_factor=1.0, n_iter=1).fit(np.ones((5, 2)), np.arange(5.0))
    assert model.bandwidth_ == 1.0
    np.testing.assert_allclose(model.predict([[1.0, 1.0], [9.0, 9.0]]), 2.0)


def test_memory_that_does_not_suffice_is_said_beforehand():
    X, Y = regression()
    with pytest.raises(
        MemoryError, match=r"X: expected a problem that fits into 1.0 KiB .* raise max_memory"
    ):
        agop.RFMRegressor(max_memory="1kB").fit(X, Y)


def test_a_median_taken_anew_follows_the_metric_and_survives_stopping_and_saving(tmp_path):
    X, Y = regression(n=80)
    options = {"bandwidth": [2.0, "median"], "bandwidth_factor": 1.5, "bandwidth_at": "each", "n_iter": 2}
    held = {"X_val": X[:20], "y_val": Y[:20], "callback": None}
    model = agop.RFMRegressor(**options).fit(X, Y, **held)
    assert [e["bandwidth"] for e in model.history_[:3]] == [2.0] * 3  # a number stays
    moved = agop.RFMRegressor(**options | {"bandwidth": "median"}).fit(X, Y)
    points = ((X - moved.column_means_) / moved.column_scales_) @ moved.coordinates_
    assert moved.bandwidth_ == pytest.approx(1.5 * median_distance(points), rel=1e-9)
    assert len({e["bandwidth"] for e in moved.history_}) == 3

    def stop(index, count, entry):
        if index == 4:
            raise KeyboardInterrupt

    begun = agop.RFMRegressor(**options, warm_start=True)
    with pytest.raises(KeyboardInterrupt):
        begun.fit(X, Y, **held | {"callback": stop})
    begun.save(tmp_path / "m")
    again = agop.RFMRegressor.load(tmp_path / "m").fit(X, Y, **held)
    assert [e["bandwidth"] for e in again.history_] == [e["bandwidth"] for e in model.history_]
    assert relative_error(again.predict(X), model.predict(X)) < ITERATIVE


def test_centred_gradients_leave_a_common_slope_out():
    g = torch.Generator().manual_seed(0)
    X = torch.randn(300, 4, generator=g, dtype=torch.float64)
    Y = 3 * X[:, :1] + torch.sin(2 * X[:, 1:2])
    options = {"bandwidth": 8.0, "ridge": 1e-2, "n_iter": 1}
    plain, centred = (agop.RFMRegressor(center_gradients=c, **options).fit(X, Y).agop_ for c in (False, True))
    assert plain.diagonal().argmax() == 0
    assert centred.diagonal().argmax() == 1
    assert torch.linalg.eigvalsh(centred).min() > -1e-10


def test_defaults_are_those_that_the_benchmark_chose():
    defaults = pytest.importorskip("benchmarks.defaults")
    options, n_iter = defaults.NAMED["default"]
    assert {**options, "n_iter": n_iter}.items() <= agop.RFMRegressor().get_params().items()
