"""Images for benchmarks: an .npz file the user names, else digits enlarged, shifted and blurred to 28 x 28."""

from __future__ import annotations

import os

import numpy as np
from scipy.ndimage import shift, zoom
from sklearn.datasets import load_digits


def images(n_train: int, n_test: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, str]:
    """`x_train, y_train, x_test, y_test` (float32, flattened, in [0, 1]) and where they come from.

    The environment variable AGOP_BENCHMARK_DATA may name an .npz file with these arrays (MNIST, say).
    """
    path = os.environ.get("AGOP_BENCHMARK_DATA")
    if path:
        with np.load(path) as stored:
            parts = [stored[name] for name in ("x_train", "y_train", "x_test", "y_test")]
        x_train, y_train, x_test, y_test = parts
        x_train, y_train, x_test, y_test = (
            x_train[:n_train],
            y_train[:n_train],
            x_test[:n_test],
            y_test[:n_test],
        )
        return _flat(x_train) / 255, y_train, _flat(x_test) / 255, y_test, os.path.basename(path)
    rng = np.random.default_rng(0)
    X, y = load_digits(return_X_y=True)
    index = rng.integers(0, len(X), n_train + n_test)
    pictures = np.stack([_picture(X[i].reshape(8, 8), rng) for i in index])
    x, labels = _flat(pictures), y[index]
    return x[:n_train], labels[:n_train], x[n_train:], labels[n_train:], "digits, enlarged and shifted"


def _picture(digit: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    large = np.zeros((28, 28))
    large[2:26, 2:26] = zoom(digit / 16, 3, order=1)
    moved = shift(large, rng.uniform(-2, 2, 2), order=1) + rng.normal(0, 0.02, (28, 28))
    return np.clip(moved, 0, 1)


def _flat(x: np.ndarray) -> np.ndarray:
    return x.reshape(len(x), -1).astype(np.float32)
