"""Nonlinear Gaussian processes: their moments are those of the formulas, and their twins share the covariance only."""

from __future__ import annotations

import numpy as np
import pytest

from agop.datasets import load
from agop.datasets.nlgp import KINDS, data_covariance, draw_fields, field_covariance


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("axes", "side"), [(1, 20), (2, 6)])
def test_the_covariance_is_that_of_the_formula(kind, axes, side):
    n = 40_000
    options = {"side": side, "axes": axes, "gain": 2.0, "length": 0.15}
    x = draw_fields(n, np.random.default_rng(0), kind=kind, **options)
    wanted = data_covariance(field_covariance(side, axes, 0.15), 2.0)
    products = x[:, :, None] * x[:, None, :]
    errors = (products.mean(0) - wanted) / (products.std(0) / np.sqrt(n))
    assert (np.abs(errors) < 3).mean() > 0.98  # of so many entries a few lie beyond three standard errors
    assert np.abs(errors).max() < 5
    np.testing.assert_allclose(np.diag(wanted), 1.0)


def test_only_the_higher_moments_differ():
    x, twin = (draw_fields(20_000, np.random.default_rng(1), gain=5.0, kind=kind) for kind in KINDS)
    assert (x**4).mean() < 2.0  # two levels have 1, a Gaussian 3
    assert abs((twin**4).mean() - 3) < 0.1
    assert abs((draw_fields(20_000, np.random.default_rng(1), gain=0.01) ** 4).mean() - 3) < 0.1


def test_distances_are_periodic():
    c = field_covariance(10, 1, 0.2)
    np.testing.assert_allclose(c, np.roll(np.roll(c, 3, 0), 3, 1))
    torus = field_covariance(5, 2, 0.3).reshape(5, 5, 5, 5)
    np.testing.assert_allclose(torus[0, 0, 0, 4], torus[2, 1, 2, 2])


@pytest.mark.parametrize("name", ["nlgp", "nlgp-gaussian"])
def test_they_are_data_sets(name):
    data, again, other = (load(name, seed=seed) for seed in (0, 0, 1))
    assert data.x_train.shape == (1000, 40)
    np.testing.assert_array_equal(data.x_train, again.x_train)
    assert not np.array_equal(data.x_train, other.x_train)
    near = [
        np.mean(data.x_train[data.y_train == c][:, 0] * data.x_train[data.y_train == c][:, 2]) for c in (0, 1)
    ]
    assert near[1] > near[0]  # class 1 has the longer edges
    with pytest.raises(ValueError, match="length: expected another one than other_length"):
        load(name, parameters={"length": 0.05})
