"""Whether importances can be trusted: how often a column of noise outranks a true one, and how much weight noise gets.

Two parts: draws of (age, income, noise) with a noisy yes or no; and real tables beside five shuffled copies of their columns. RFM as it
was in 0.1.0 (on standardised columns), as it is, and permutation importance of HistGradientBoosting on held-out rows.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.inspection import permutation_importance

import agop
from benchmarks._harness import PAPER, record
from benchmarks._tables import table

DRAWS, ROWS, COPIES, TABLE_DRAWS = 50, 300, 5, 10
REAL = ("concrete", "Boston", "Carseats", "credit", "OJ")
OLD: dict[str, Any] = {**PAPER, "scaling": "columns", "bandwidth": 10.0, "ridge": 1e-3, "n_iter": 5}


def draw(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Age and income decide, noisily; the third column decides nothing."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(ROWS, 3))
    return X, np.where(X[:, 0] + X[:, 1] + rng.logistic(size=ROWS) > 0, "yes", "no")


def rfm(**options: Any) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Importances of an RFM."""

    def shares(X: np.ndarray, y: np.ndarray) -> np.ndarray:
        cls = agop.RFMRegressor if y.dtype.kind == "f" else agop.RFMClassifier
        return cls(**options).fit(X, y).feature_importances_

    return shares


def permuted(X: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Permutation importance on the third of the rows that was not fitted on."""
    cls = HistGradientBoostingRegressor if y.dtype.kind == "f" else HistGradientBoostingClassifier
    cut = 2 * len(X) // 3
    model = cls(random_state=0).fit(X[:cut], y[:cut])
    return permutation_importance(model, X[cut:], y[cut:], n_repeats=5, random_state=0).importances_mean


METHODS = {"0.1.0": rfm(**OLD), "default": rfm(), "permutation, boosting": permuted}


def main() -> None:
    """Both parts; shares of draws with their standard errors."""
    warnings.simplefilter("ignore")
    first: dict[str, list[float]] = {name: [] for name in METHODS}
    last: dict[str, list[float]] = {name: [] for name in METHODS}
    for seed in range(DRAWS):
        X, y = draw(seed)
        for name, method in METHODS.items():
            found = method(X, y)
            first[name].append(float(found[2] > found[:2].max()))
            last[name].append(float(found[2] > found[:2].min()))
    result: dict[str, Any] = {}
    for name in METHODS:
        result[name] = {"noise first": np.mean(first[name]), "noise above a true one": np.mean(last[name])}
        print(name, result[name], flush=True)
    tables = {}
    for item in REAL:
        data = table(item, ROWS)
        top: dict[str, list[float]] = {name: [] for name in METHODS}
        for seed in range(TABLE_DRAWS):
            rng = np.random.default_rng(seed)
            copied = rng.choice(data.X.shape[1], COPIES, replace=False)
            noise = rng.permuted(data.X[:, copied], axis=0)
            order = rng.permutation(len(data.X))
            for name, method in METHODS.items():
                found = method(np.c_[data.X, noise][order], data.y[order])
                top[name].append(float(found.argmax() >= data.X.shape[1]))
        tables[item] = {name: float(np.mean(values)) for name, values in top.items()}
        print(item, tables[item], flush=True)
    record("importances", {"draws": DRAWS, "rows": ROWS, "synthetic": result, "shuffled copy first": tables})


if __name__ == "__main__":
    sys.exit(main())
