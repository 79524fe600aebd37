from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits, make_classification


@pytest.fixture(scope="session")
def blobs():
    """120 points, 6 features, 3 classes."""
    return make_classification(120, 6, n_informative=4, n_classes=3, random_state=0)


@pytest.fixture(scope="session")
def digits():
    """Standardised digits: 600 points."""
    X, y = load_digits(return_X_y=True)
    X, y = X[:600], y[:600]
    spread = X.std(0)
    return (X - X.mean(0)) / np.where(spread > 0, spread, 1), y
