"""Kernels of wide ReLU networks in the estimators."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.utils.estimator_checks import check_estimator

import agop
from tests.machines.test_deep_rfm import signed
from tests.machines.test_rfm import regression
from tests.oracles import machines as oracle
from tests.tolerances import ITERATIVE, relative_error

KERNELS = {
    "relu-nngp": ("relu-nngp", {"depth": 1}),
    "relu-ntk": ("relu-ntk", {"depth": 1}),
    "NNGP of 3 layers": (agop.ReLUNNGP(depth=3), {"depth": 3}),
    "NTK of 3 layers": (agop.ReLUNTK(depth=3), {"depth": 3}),
}
kernels = pytest.mark.parametrize("case", KERNELS)


def named(case):
    kernel, parameters = KERNELS[case]
    return kernel, {"kernel": "relu-ntk" if "ntk" in case.lower() else "relu-nngp", "parameters": parameters}


@kernels
@pytest.mark.parametrize("n_iter", [0, 1, 3])
def test_rfm_equals_the_procedure_as_written_down(case, n_iter):
    kernel, truth = named(case)
    X, Y = regression()
    X = X + torch.tensor(
        [0.0, 0.0, 0.0, 0.0, 2.0], dtype=X.dtype
    )  # what all points share counts for these kernels
    x = regression(seed=1)[0]
    expected, M = oracle.rfm(X, Y, x, bandwidth=0.0, ridge=1e-2, n_iter=n_iter, **truth)
    model = agop.RFMRegressor(kernel=kernel, ridge=1e-2, n_iter=n_iter, **oracle.AS_WRITTEN).fit(X, Y)
    assert relative_error(model.predict(x), expected) < ITERATIVE
    assert relative_error(model.agop_, M) < ITERATIVE


@kernels
def test_deep_rfm_equals_the_procedure_as_written_down(case, blobs):
    kernel, truth = named(case)
    X, y = blobs
    model = agop.DeepRFMClassifier(n_layers=3, width=20, kernel=kernel, random_state=0).fit(X, y)
    maps = [layer.feature_map for layer in model.layers_]
    expected = oracle.deep_rfm(torch.as_tensor(X), signed(y), maps, bandwidth=0.0, ridge=1e-3, **truth)
    for layer, view, step in zip(model.layers_, model.views(X), expected, strict=True):
        assert relative_error(layer.coefficients, step["coefficients"]) < ITERATIVE
        assert relative_error(layer.agop, step["agop"]) < ITERATIVE
        assert relative_error(view.output, step["output"]) < ITERATIVE


@pytest.mark.parametrize("kernel", ["relu-nngp", "relu-ntk"])
def test_single_precision_follows_double_at_depth(kernel, digits):
    X, y = digits
    curves = []
    for dtype in (np.float64, np.float32):
        model = agop.DeepRFMClassifier(n_layers=8, width=128, kernel=kernel, random_state=0)
        model.fit(X.astype(dtype), y)
        table = agop.profile(model, X.astype(dtype), y, measures=["nc1"]).to_frame()
        curves.append(table[table.stage == "projected"].nc1.to_numpy())
    assert (np.diff(curves[0]) < 0).all()
    np.testing.assert_allclose(curves[1], curves[0], rtol=0.03)


@kernels
def test_saved_and_loaded(case, blobs, tmp_path):
    X, y = blobs
    for model in (
        agop.RFMClassifier(kernel=KERNELS[case][0], n_iter=1),
        agop.DeepRFMRegressor(kernel=KERNELS[case][0], n_layers=2, width=16, random_state=0),
    ):
        model.fit(X, y).save(tmp_path / "m")
        again = type(model).load(tmp_path / "m")
        assert again.machine_.kernel == model.machine_.kernel
        np.testing.assert_array_equal(again.predict(X), model.predict(X))


def test_repeated_and_zero_rows_are_well_defined(blobs):
    X, y = (
        np.concatenate([blobs[0], blobs[0], np.zeros((2, 6))]),
        np.concatenate([blobs[1], blobs[1], [0, 1]]),
    )
    for model in (
        agop.RFMClassifier(kernel="relu-ntk", n_iter=2),
        agop.DeepRFMClassifier(kernel="relu-ntk", n_layers=3, width=32, random_state=0),
    ):
        assert np.isfinite(model.fit(X, y).decision_function(X)).all()
        assert torch.isfinite(model.agop_).all()


@pytest.mark.slow
def test_scikit_learn_checks():
    check_estimator(agop.RFMRegressor(kernel="relu-ntk", n_iter=1))


def test_what_does_not_go_together_is_said(blobs):
    message = "bandwidth: expected no choice for kernel='relu-ntk', which has no bandwidth, got 2 candidates"
    with pytest.raises(ValueError, match=message):
        agop.RFMClassifier(kernel="relu-ntk", bandwidth=[1.0, 2.0], validation=0.2).fit(*blobs)
    message = "feature_map: expected a map that belongs to kernel 'relu-ntk', .* got 'fourier'; use 'relu'"
    with pytest.raises(ValueError, match=message):
        agop.DeepRFMClassifier(kernel="relu-ntk", feature_map="fourier").fit(*blobs)
    assert agop.RFMClassifier(kernel="relu-ntk", n_iter=0).fit(*blobs).bandwidth_ is None
