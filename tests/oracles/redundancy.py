"""Chunks of units the slow way: scikit-learn's ridge on the rows, and loops over classes and pairs."""

from __future__ import annotations

import numpy as np
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score


def less_class_means(Z, y, fit):
    out = np.array(Z, dtype=float)
    for c in np.unique(y):
        out[y == c] -= Z[fit][y[fit] == c].mean(0)
    return out


def accuracy(Z, weight, bias, y, chosen):
    right = 0
    for row, label in zip(Z, y):
        logits = [bias[c] + sum(weight[c, j] * row[j] for j in chosen) for c in range(len(weight))]
        right += int(np.argmax(logits) == label)
    return right / len(y)


def residuals(Z, chosen, fit, score, ridge=1e-8):
    """What a ridge regression with intercept on the chunk leaves over, and its variance-weighted R²."""
    model = Ridge(alpha=ridge).fit(Z[fit][:, chosen], Z[fit])
    predicted = model.predict(Z[score][:, chosen])
    return Z[score] - predicted, r2_score(Z[score], predicted, multioutput="variance_weighted")


def mean_correlation(left, units, floor=1e-8):
    values = []
    for j in units:
        for k in units:
            if k < j:
                a, b = left[:, j] - left[:, j].mean(), left[:, k] - left[:, k].mean()
                covariance = abs((a * b).mean())
                values.append(covariance / (np.sqrt((a * a).mean() * (b * b).mean()) + floor))
    return np.mean(values)
