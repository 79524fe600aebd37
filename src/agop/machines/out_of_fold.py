"""What the recursion of an RFM predicts of rows that it has not seen, iteration by iteration and ridge by ridge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from agop.machines.fold_chain import follow
from agop.machines.importances import machine_agop


@dataclass(frozen=True, eq=False)
class HonestStage:
    """One iteration: the ridges on top of its metric, and what each predicts of every row out of its fold, (r, n, c)."""

    ridges: tuple[float, ...]
    values: Float[Tensor, "r n c"]


def out_of_fold(
    estimator: Any, X: Any, y: Any, fold: Int[np.ndarray, " n"], ridges: Sequence[float]
) -> list[HonestStage]:
    """The recursion of an unfitted RFM on each fold's complement, up to its `n_iter`, judged nowhere.

    Parameters
    ----------
    estimator
        An `RFMClassifier` or `RFMRegressor`; it is not fitted. Its `learning_ridge` is that of the fits that learn the metric.
    X, y
        Rows and targets, as for its `fit`; every class occurs in every complement.
    fold
        The fold in which each row is held out, from 0.
    ridges
        Of the fits that predict.

    Returns
    -------
    list of HonestStage
        The iterations that all folds have. A ridge whose system is singular has values NaN.
    """
    samples, _, dtype = estimator._read(X, y, None, None, None, None)
    parts = torch.from_numpy(fold)
    plan = [tuple(float(ridge) for ridge in ridges)] * (int(estimator.n_iter) + 1)
    by_fold = []
    for k in range(int(fold.max()) + 1):
        fit, held = samples.take(parts != k), samples.take(parts == k)
        by_fold.append(follow(estimator, fit, held, dtype, plan, judge=None, halt=lambda: False))
    stages = []
    for stage in zip(*by_fold):  # the shortest decides
        values = stage[0].values.new_empty(len(plan[0]), len(samples), samples.Y.shape[1])
        for k, own in enumerate(stage):
            values[:, (parts == k).to(values.device)] = own.values
        stages.append(HonestStage(plan[0], values))
    return stages


def output_agop(estimator: Any, output: int) -> Float[Tensor, "p p"]:
    """The AGOP of one output of a fitted RFM, over encoded columns and in float64, not rescaled; `predictor_agop_` is their sum."""
    machine = estimator.machine_
    alone = replace(machine, coefficients=machine.coefficients[:, output : output + 1])
    return machine_agop(alone, estimator._map, estimator._weight_, computed=estimator.best_iteration_ > 0)
