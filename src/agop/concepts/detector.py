"""A detector of a concept: a linear model on the projections of all blocks, stacked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.special import expit, softmax
from torch import Tensor

from agop.concepts.rivals import honest_linear, linear_model
from agop.concepts.scores import Concept, chosen


@dataclass(frozen=True, eq=False)
class Detector:
    r"""Logistic regression (for a number: ridge regression) on standardised projections of all blocks.

    Attributes
    ----------
    weight
        (c, m), of the m = blocks × directions standardised projections :math:`(\langle v, h\rangle - \bar p)/s`.
    intercept
        (c,), what is added.
    score
        AUC (for a number: correlation) by folds: the model is fitted on projections of other folds, each by directions that had not
        seen it.
    inverse_penalty
        C, chosen by that.
    """

    weight: Float[Tensor, "c m"]
    intercept: Float[Tensor, " c"]
    score: float
    inverse_penalty: float

    @classmethod
    def of(
        cls,
        projections: Float[np.ndarray, "n m"],
        concept: Concept,
        fold: Int[np.ndarray, " n"],
        inverse_penalties: tuple[float, ...],
    ) -> Detector:
        """Fitted on projections of held-out samples."""
        values = honest_linear(projections, concept, fold, inverse_penalties, standardised=False)
        best, score = chosen(concept.by_fold(values, fold))
        model = linear_model(concept, inverse_penalties[best], standardised=False)
        model.fit(projections, concept.y)
        weight, intercept = np.atleast_2d(model.coef_), np.atleast_1d(model.intercept_)
        return cls(torch.from_numpy(weight), torch.from_numpy(intercept), score, inverse_penalties[best])

    def values(self, projections: Float[Tensor, "n m"]) -> Float[np.ndarray, "n c"]:
        """Logits, of two classes one column; or the number."""
        return (projections.double() @ self.weight.mT + self.intercept).numpy()

    def probabilities(self, projections: Float[Tensor, "n m"]) -> Float[np.ndarray, "n c"]:
        """Of all classes."""
        values = self.values(projections)
        if values.shape[1] > 1:
            return softmax(values, axis=1)
        return np.concatenate([expit(-values), expit(values)], 1)


def projected(
    blocks: Mapping[str, Float[Tensor, "n d"]],
    directions: Mapping[str, Float[Tensor, "q d"]],
    centers: Mapping[str, Float[Tensor, " q"]],
    spreads: Mapping[str, Float[Tensor, " q"]],
) -> Float[Tensor, "n m"]:
    """Standardised projections of hidden states on the directions of each block, side by side."""
    parts = [
        (blocks[name].double() @ own.mT - centers[name]) / spreads[name] for name, own in directions.items()
    ]
    return torch.cat(parts, 1)
