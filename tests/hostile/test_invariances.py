"""What may not depend on the coordinates: AGOPs turn and scale with the data, predictions do not change with their order, axes or unit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import agop
from tests.hostile.test_gradients import NET
from tests.hostile.test_gradients import X as POINTS
from tests.tolerances import IDENTITY, ITERATIVE, relative_error

SEED, SCALE = st.integers(0, 2**31), st.sampled_from([1e-6, 0.3, 7.0, 1e6])
Y = np.arange(24) % 3
X = np.random.default_rng(0).normal(size=(24, 4)) + 2 * np.eye(4)[Y]
NEW = X[:7] + 0.3


def rotation(seed: int, d: int = 4) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(d, d)))[0]


@settings(max_examples=15, deadline=None)
@given(SEED, SCALE)
def test_the_agop_turns_and_scales_with_the_inputs(seed, scale):
    Q = torch.from_numpy(rotation(seed))
    expected = scale**2 * Q.T @ agop.agop(NET, POINTS) @ Q
    found = agop.agop(lambda z: NET(scale * z @ Q.T), POINTS @ Q / scale)
    assert relative_error(found, expected) < IDENTITY


@pytest.mark.parametrize("diagonal", [False, True])
@settings(max_examples=8, deadline=None)
@given(SEED, SCALE)
def test_rfm_does_not_know_the_order_or_unit_of_the_data(diagonal, seed, scale):
    def predicted(X, Y, new, unit=1.0):
        model = agop.RFMRegressor(
            bandwidth=3.0 * unit, n_iter=2, diagonal=diagonal, scale="trace", scaling="none"
        )
        return model.fit(X, Y).predict(new)

    order = np.random.default_rng(seed).permutation(len(X))
    features = np.random.default_rng(seed).permutation(4)
    targets = np.eye(3)[Y]
    expected = predicted(X, targets, NEW)
    np.testing.assert_allclose(predicted(X[order], targets[order], NEW), expected, atol=ITERATIVE)
    np.testing.assert_allclose(predicted(X[:, features], targets, NEW[:, features]), expected, atol=ITERATIVE)
    np.testing.assert_allclose(predicted(scale * X, targets, scale * NEW, scale), expected, atol=ITERATIVE)


@settings(max_examples=8, deadline=None)
@given(SEED)
def test_rfm_does_not_know_the_axes(seed):
    def predicted(X, new):
        model = agop.RFMRegressor(bandwidth=3.0, n_iter=2, scale="trace", scaling="none")
        return model.fit(X, np.eye(3)[Y]).predict(new)

    Q = rotation(seed)
    np.testing.assert_allclose(predicted(X @ Q, NEW @ Q), predicted(X, NEW), atol=ITERATIVE)


@settings(max_examples=8, deadline=None)
@given(SEED, SCALE)
def test_deep_rfm_does_not_know_the_order_of_the_data_or_the_length_of_a_row(seed, scale):
    def decided(X, Y, new):
        model = agop.DeepRFMClassifier(n_layers=2, width=16, random_state=0).fit(X, Y)
        return model.decision_function(new)

    order = np.random.default_rng(seed).permutation(len(X))
    expected = decided(X, Y, NEW)
    np.testing.assert_allclose(decided(X[order], Y[order], NEW), expected, atol=ITERATIVE)
    np.testing.assert_allclose(decided(scale * X, Y, scale * NEW), expected, atol=ITERATIVE)


@settings(max_examples=8, deadline=None)
@given(SEED)
def test_labels_may_have_any_names(seed):
    names = np.random.default_rng(seed).permutation(["x", "a", "m"])
    one = agop.RFMClassifier(bandwidth=2.0, n_iter=1).fit(X, Y).predict(NEW)
    other = agop.RFMClassifier(bandwidth=2.0, n_iter=1).fit(X, names[Y]).predict(NEW)
    assert (names[one] == other).all()
