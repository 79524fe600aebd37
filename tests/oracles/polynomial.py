"""Polynomial ridge as it is written down: scikit-learn's monomials and Ridge, the AGOP from finite differences."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from sklearn.linear_model import Ridge
from sklearn.preprocessing import PolynomialFeatures


def coordinates(X: np.ndarray, scaling: str, weight: np.ndarray | None = None) -> Callable:
    """The map to z, from weighted means and standard deviations."""
    if scaling == "none":
        return lambda x: x
    mean = np.average(X, axis=0, weights=weight)
    variance = np.average((X - mean) ** 2, axis=0, weights=weight)
    unit = np.sqrt(variance * X.shape[1]) if scaling == "columns" else np.sqrt(variance.sum())
    return lambda x: (x - mean) / unit


def polynomial_ridge(
    X: np.ndarray,
    Y: np.ndarray,
    *,
    degree: int = 2,
    ridge: float = 1.0,
    scaling: str = "columns",
    weight: np.ndarray | None = None,
    near: Callable[[int, int], bool] = lambda j, k: True,
) -> Callable[[np.ndarray], np.ndarray]:
    """The fitted function; `near` says which products of two columns there are."""
    to_z = coordinates(X, scaling, weight)
    features = PolynomialFeatures(degree, include_bias=False).fit(to_z(X))
    kept = [row.sum() == 1 or near(*np.repeat(np.arange(X.shape[1]), row)) for row in features.powers_]
    model = Ridge(alpha=ridge, solver="svd").fit(features.transform(to_z(X))[:, kept], Y, weight)
    return lambda x: model.predict(features.transform(to_z(x))[:, kept])


def central_differences(f: Callable, X: np.ndarray, step: float = 1e-4) -> np.ndarray:
    """Jacobians (n, c, d); exact for quadratics but for rounding."""
    shifts = step * np.eye(X.shape[1])
    return np.stack([(f(X + h) - f(X - h)) / (2 * step) for h in shifts], -1).reshape(len(X), -1, X.shape[1])


def neighbours(shape: tuple[int, ...], radius: int) -> Callable[[int, int], bool]:
    """Whether two pixels are at most `radius` rows and columns apart, in whatever channels."""

    def near(j: int, k: int) -> bool:
        one, other = (np.unravel_index(pixel, shape)[-2:] for pixel in (j, k))
        return max(abs(int(a) - int(b)) for a, b in zip(one, other, strict=True)) <= radius

    return near
