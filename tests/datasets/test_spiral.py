"""Two arms of a spiral."""

from __future__ import annotations

import numpy as np
import pytest

from agop.datasets import load
from agop.datasets.spiral import draw_spiral


def test_arms_are_where_the_formula_has_them():
    x, y = draw_spiral(500, 6.0, 0.0, np.random.default_rng(0))
    radius = np.linalg.norm(x, axis=1)
    angle = 6 * np.pi / 2 * radius
    side = np.where(y == 1, 1.0, -1.0)
    np.testing.assert_allclose(
        x, (side * radius)[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1), atol=1e-12
    )
    assert 0.4 < y.mean() < 0.6
    assert np.mean(radius**2) == pytest.approx(0.5, abs=0.05)  # as many points in each ring of equal area


def test_the_named_set():
    one, again, other = (
        load("spiral", seed=seed, parameters={"train": 50, "test": 20}) for seed in (0, 0, 1)
    )
    assert one.x_train.tolist() == again.x_train.tolist() != other.x_train.tolist()
    assert one.x_test.shape == (20, 2)
    with pytest.raises(ValueError, match="omega"):
        load("spiral", parameters={"omega": -1})
