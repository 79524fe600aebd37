"""Scores of fits on validation samples by any scorer of scikit-learn, which sees an estimator whose predictions are given."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from sklearn.metrics import get_scorer
from torch import Tensor

from agop import _checks
from agop.machines._inputs import Place
from agop.machines.samples import Samples

if TYPE_CHECKING:
    from agop.machines._base import KernelEstimator


def check_scoring(asked: Any) -> Any:
    """The scorer of a name, or the callable that was given; None stays None."""
    if asked is None or callable(asked):
        return asked
    try:
        return get_scorer(asked)
    except (ValueError, KeyError, TypeError):
        expected = "None, a name of sklearn.metrics.get_scorer_names(), or a callable (estimator, X, y)"
        raise _checks.bad_value("scoring", expected, _checks.shown(asked)) from None


def scored(
    estimator: KernelEstimator, validation: Samples, values: Float[Tensor, "m c"], asked: Any
) -> float:
    """The score of these values of the machine at the validation samples; larger is better.

    Parameters
    ----------
    estimator
        The estimator that is being fitted; the scorer gets a copy that predicts `values`.
    asked
        What `scoring` is; None is accuracy or R².
    """
    scorer = check_scoring(asked)
    if scorer is None:
        return validation.score(values)
    place = Place(values.device, values.dtype, False, values.device, values.dtype)
    frozen = copy.copy(estimator)
    restored = validation.restored(values)
    frozen.__dict__ |= {
        "_checked": lambda X: (X, place),
        "_decision": lambda X: restored,
        "machine_": None,
    }
    if validation.labels is not None:
        y = estimator.classes_[validation.labels.numpy()]
    else:
        targets = validation.restored(validation.Y).cpu().numpy()
        y = targets[:, 0] if targets.shape[1] == 1 else targets
    weight = {} if validation.weight is None else {"sample_weight": validation.weight.cpu().numpy()}
    score = float(scorer(frozen, validation.X.cpu().numpy(), y, **weight))
    return score if torch.isfinite(torch.tensor(score)) else -float(torch.finfo(torch.float64).max)
