from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.preprocessing import StandardScaler

from agop.datasets import Standardiser
from tests import tolerances


def test_equals_scikit_learn_where_nothing_is_constant():
    rng = np.random.default_rng(0)
    train, test = rng.normal(5, 3, (50, 7)), rng.normal(5, 3, (20, 7))
    ours, theirs = Standardiser.of(train), StandardScaler().fit(train)
    for x in (train, test):
        np.testing.assert_allclose(ours(x, np.float64), theirs.transform(x), atol=tolerances.IDENTITY)


def test_constant_features_become_exactly_zero_in_training_and_test_points():
    train = np.column_stack([np.full(9, 0.1), np.arange(9.0), np.zeros(9)]).astype(np.float32)
    test = np.array([[200.0, 4.0, 255.0]], dtype=np.float32)
    scaler = Standardiser.of(train)
    assert scaler.n_constant == 2
    assert (scaler(train)[:, [0, 2]] == 0).all()
    assert (scaler(test)[:, [0, 2]] == 0).all()
    assert scaler(test)[0, 1] == 0  # the mean of 0..8


@given(arrays(np.uint8, (11, 3)), st.integers(1, 5))
def test_moments_do_not_depend_on_repetition_or_order(x, times):
    once, repeated = Standardiser.of(x), Standardiser.of(np.tile(x, (times, 1))[::-1])
    np.testing.assert_allclose(once.mean, repeated.mean, atol=tolerances.IDENTITY)
    np.testing.assert_allclose(once.scale, repeated.scale, atol=tolerances.IDENTITY)


def test_blocks_give_the_moments_of_the_whole():
    x = np.random.default_rng(1).normal(1e4, 1, (30_000, 400)).astype(np.float32)  # more than one block
    scaler = Standardiser.of(x)
    np.testing.assert_allclose(scaler.mean, x.mean(0, dtype=np.float64), rtol=tolerances.MERGE)
    np.testing.assert_allclose(scaler.scale, x.std(0, dtype=np.float64), rtol=1e-8)


def test_inputs_are_not_modified():
    x = np.random.default_rng(0).normal(size=(5, 2))
    before = x.copy()
    Standardiser.of(x)(x)
    np.testing.assert_array_equal(x, before)


def test_saved_arrays_make_the_same_object():
    x = np.random.default_rng(0).normal(size=(5, 2))
    scaler = Standardiser.of(x)
    np.testing.assert_array_equal(Standardiser(**scaler.arrays())(x), scaler(x))


def test_values_beyond_float64_are_one_sentence():
    with pytest.raises(ValueError, match="rescale"):
        Standardiser.of(np.array([[1e300], [-1e300]]))


def test_other_features_are_one_sentence():
    with pytest.raises(ValueError, match="3 features, got 2"):
        Standardiser.of(np.eye(3))(np.eye(2))
