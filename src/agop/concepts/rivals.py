"""What an RFM has to beat: linear models, and the difference of the class means."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float, Int
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from agop.concepts.scores import Concept

_MOST_STEPS = 3000


def linear_model(concept: Concept, inverse_penalty: float, *, standardised: bool = True) -> Any:
    """Logistic regression with penalty 1/C for classes, ridge regression with ridge 1/C for a number, on standardised features."""
    if concept.classes is None:
        model: Any = Ridge(alpha=1 / inverse_penalty)
    else:
        model = LogisticRegression(C=inverse_penalty, max_iter=_MOST_STEPS)
    return make_pipeline(StandardScaler(), model) if standardised else model


def linear_values(model: Any, concept: Concept, H: Float[np.ndarray, "m d"]) -> Float[np.ndarray, "m c"]:
    """What a fitted linear model says of rows, a column for each that tells the concept."""
    values = model.predict(H) if concept.classes is None else model.decision_function(H)
    return np.asarray(values, dtype=np.float64).reshape(len(H), -1)


def honest_linear(
    H: Float[np.ndarray, "n d"],
    concept: Concept,
    fold: Int[np.ndarray, " n"],
    inverse_penalties: tuple[float, ...],
    *,
    standardised: bool = True,
) -> Float[np.ndarray, "p n c"]:
    """Values of linear models at rows that they were not fitted on, one set for each penalty."""
    values = np.empty((len(inverse_penalties), len(H), concept.columns))
    for k in range(int(fold.max()) + 1):
        inside, held = fold != k, fold == k
        for place, inverse_penalty in enumerate(inverse_penalties):
            model = linear_model(concept, inverse_penalty, standardised=standardised)
            model.fit(H[inside], concept.y[inside])
            values[place, held] = linear_values(model, concept, H[held])
    return values


def mean_differences(Z: Float[np.ndarray, "n d"], goal: Float[np.ndarray, "n c"]) -> Float[np.ndarray, "d c"]:
    r"""For each column g of `goal`: :math:`\sum_i (g_i - \bar g) z_i / \sum_i (g_i - \bar g)^2`.

    Of an indicator that is the mean of the samples inside less the mean of those outside.
    """
    deviations = goal - goal.mean(0)
    return Z.T @ deviations / (deviations**2).sum(0)


def honest_mean_difference(
    H: Float[np.ndarray, "n d"], concept: Concept, fold: Int[np.ndarray, " n"]
) -> Float[np.ndarray, "1 n c"]:
    """Projections of rows on the difference of means of the rows of other folds, all standardised by the latter.

    Hidden states of language models have features whose scale is a thousand times that of the others; the difference would be theirs.
    """
    goal, values = concept.indicators(), np.empty((1, len(H), concept.columns))
    for k in range(int(fold.max()) + 1):
        scale = StandardScaler().fit(H[fold != k])
        direction = mean_differences(scale.transform(H[fold != k]), goal[fold != k])
        values[0, fold == k] = scale.transform(H[fold == k]) @ direction
    return values
