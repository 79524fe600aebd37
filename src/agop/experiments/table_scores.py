"""How good predictions of a table are: a measure a row, on honest and on held-out predictions, beside what no model at all would have."""

from __future__ import annotations

import numpy as np
import pandas as pd
from jaxtyping import Float
from sklearn.metrics import roc_auc_score


def regression_scores(
    true: Float[np.ndarray, " n"], predicted: Float[np.ndarray, " n"]
) -> dict[str, tuple[float, float]]:
    """R², root mean squared error and mean absolute error, each with its standard error.

    The errors are those of a mean over rows; of the root and of R² to first order, the variance of the target taken as known.
    """
    squared, absolute = (true - predicted) ** 2, np.abs(true - predicted)
    mse, error = _mean(squared)
    variance = float(true.var())
    root = mse**0.5
    return {
        "R²": (1 - mse / variance, error / variance) if variance > 0 else (np.nan, np.nan),
        "root mean squared error": (root, error / (2 * root) if root > 0 else 0.0),
        "mean absolute error": _mean(absolute),
    }


def classification_scores(
    labels: np.ndarray, shares: Float[np.ndarray, "n c"]
) -> dict[str, tuple[float, float]]:
    """Accuracy, balanced accuracy, log loss, Brier score, and the area under the curve, with standard errors where they are means of rows.

    The Brier score is the sum of squares over classes, from 0 to 2. The area is that of the second class for two, else the mean over
    classes of one against the rest. `labels` are positions of classes.
    """
    n, count = shares.shape
    one_hot = np.eye(count)[labels]
    right = (shares.argmax(1) == labels).astype(float)
    own = shares[np.arange(n), labels].clip(np.finfo(float).eps, 1)
    present = [k for k in range(count) if (labels == k).any()]
    found = {
        "accuracy": _mean(right),
        "balanced accuracy": (float(np.mean([right[labels == k].mean() for k in present])), np.nan),
        "log loss": _mean(-np.log(own)),
        "Brier score": _mean(((shares - one_hot) ** 2).sum(1)),
    }
    if len(present) == count:
        area = (
            roc_auc_score(labels, shares[:, 1])
            if count == 2
            else np.mean([roc_auc_score(labels == k, shares[:, k]) for k in present])
        )
        found["area under the curve"] = (float(area), np.nan)
    return found


def _mean(values: Float[np.ndarray, " n"]) -> tuple[float, float]:
    n = len(values)
    return float(values.mean()), float(values.std(ddof=1) / n**0.5) if n > 1 else np.nan


def score_table(**columns: dict[str, tuple[float, float]]) -> pd.DataFrame:
    """A row a measure; of each column its value and "… error"."""
    measures = list(dict.fromkeys(measure for scores in columns.values() for measure in scores))
    table = pd.DataFrame({"measure": measures})
    for name, scores in columns.items():
        pairs = [scores.get(measure, (np.nan, np.nan)) for measure in measures]
        table[name] = [value for value, _ in pairs]
        table[f"{name} error"] = [error for _, error in pairs]
    return table
