"""The honest score of one RFM without a validation set: cross-fitted leave-one-out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from sklearn.base import clone
from torch import Tensor

from agop import _checks
from agop.kernels.gram import fill_kernel_matrix
from agop.machines import _inputs
from agop.machines._table_estimator import READ
from agop.machines.folds import held_out
from agop.machines.rfm import RFMClassifier, RFMRegressor
from agop.machines.samples import Samples


@dataclass(frozen=True, eq=False)
class LeaveOneOut:
    """Predictions of rows by fits without them.

    Attributes
    ----------
    values
        Predicted targets (n, c), or for a classifier the values (n, C) whose largest names the class; NaN for rows of weight zero.
    predictions
        What `predict` would give.
    score
        Weighted R² or accuracy of them.
    """

    values: Float[np.ndarray, "n c"]
    predictions: np.ndarray
    score: float


def leave_one_out(
    estimator: Any,
    X: Any,
    y: Any,
    sample_weight: Any = None,
    *,
    cv: Any = 5,
    groups: Any = None,
    random_state: Any = None,
) -> LeaveOneOut:
    r"""Every row predicted without it, its metric learned without its fold.

    For each fold, M is learned on the other folds; then the ridge system with that M is solved on all rows, and for the rows of the fold
    the residual of row i left out is :math:`\alpha_i / ((K + D)^{-1})_{ii}`, exact for a given M (Wahba 1990, Spline Models for
    Observational Data, section 4.2). With an M that has seen :math:`y_i` the same formula is optimistic, which is why folds are needed.
    Scales of columns and the centre of the targets are those of the other folds too.

    Parameters
    ----------
    estimator
        An RFMRegressor or RFMClassifier, fitted or not; a copy of it is fitted. `validation`, `regions` and several bandwidths are not for
        this.
    X, y, sample_weight
        As for `fit`.
    cv, groups
        Folds, as for `RFMRegressorCV`. Equal rows share a fold, but one of them does help to predict the other.
    random_state
        Of the folds; None: that of the estimator.

    Returns
    -------
    LeaveOneOut

    Raises
    ------
    TypeError
        For other estimators than RFMRegressor and RFMClassifier.
    ValueError
        If `ridge` is 0, or the estimator holds samples out or has regions; and as `fit` does.

    Notes
    -----
    As many fits as there are folds, and for each an inverse of (n, n): 4/3 n³ operations.
    """
    if not isinstance(estimator, RFMRegressor | RFMClassifier):
        raise _checks.bad_type("estimator", "RFMRegressor or RFMClassifier", type(estimator).__name__)
    ridge = _checks.real("ridge", estimator.ridge, above=0)
    if estimator.validation is not None:
        raise _checks.bad_value("validation", "None", f"{estimator.validation!r}", "set validation=None")
    if estimator.regions is not None:
        raise _checks.bad_value("regions", "None", f"{estimator.regions!r}", "set regions=None")
    base = clone(estimator)
    base._check_constraints()
    samples, _, dtype = base._read(X, y, sample_weight, None, None, None)
    counts = None
    given = _inputs.counting(sample_weight)
    if given is not None and len(samples) < len(given):
        counts = given
    if groups is not None:
        groups = np.asarray(groups)
        groups = groups if counts is None else groups[counts]
        _checks.same_length("X", len(samples), "groups", len(groups))
    classes = samples.labels is not None
    target = samples.Y[:, 0].cpu().numpy() if samples.labels is None else samples.labels.cpu().numpy()
    weight = None if samples.weight is None else samples.weight.cpu().numpy()
    seed = base.seed_ if random_state is None else _inputs.seed_from(random_state)
    rows = samples.X.double().cpu().numpy()
    fold = held_out(cv, rows, target, classes, weight, groups, counts, seed)
    found = torch.full(samples.Y.shape, torch.nan, dtype=torch.float64)
    for number in range(int(fold.max()) + 1):
        apart = torch.from_numpy(np.flatnonzero(fold == number))
        others = torch.from_numpy(np.flatnonzero(fold != number))
        found[apart] = _left_out(estimator, base, samples, others, apart, ridge, dtype).cpu()
    if counts is None:
        values = found.numpy()
    else:
        values = np.full((len(counts), found.shape[1]), np.nan)
        values[counts] = found.numpy()
    return LeaveOneOut(values, _named(base, values), samples.score(found))


def _left_out(
    estimator: Any,
    base: Any,
    samples: Samples,
    others: Tensor,
    apart: Tensor,
    ridge: float,
    dtype: torch.dtype,
) -> Float[Tensor, "k c"]:
    """Values of the rows `apart`, each without it, with the metric of the `others`."""
    twin = clone(estimator)
    twin.__dict__ |= {name: value for name, value in vars(base).items() if name in READ}
    part = samples.take(others)
    twin._continue(part, None)
    fitted, everyone = twin._prepared(part, samples, dtype)
    twin._fit_samples(fitted, None, None, None)
    everyone = twin._reweighted(everyone)
    points = twin.machine_.kernel.points(
        (everyone.X @ twin._map).double() if twin.best_iteration_ else everyone.X.double(),
        dtype=torch.float64,
    )
    K = points.values.new_empty(len(points), len(points))
    fill_kernel_matrix(twin.machine_.kernel, points, values=K)
    mass = K.new_ones(len(K)) if everyone.weight is None else everyone.weight.to(K)
    K.diagonal().add_((ridge / mass).clamp_max(1e300))
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(K))
    Y = twin._scale_of_targets().scaled(samples.Y, torch.float64)
    residual = (inverse @ Y) / inverse.diagonal()[:, None]
    return twin._scale_of_targets().restored((Y - residual)[apart.to(Y.device)]).double()


def _named(base: Any, values: Float[np.ndarray, "n c"]) -> np.ndarray:
    if isinstance(base, RFMClassifier):
        places = np.nan_to_num(values, nan=-np.inf).argmax(1)
        return np.asarray(base.classes_)[places]
    return values[:, 0] if base._one_axis_ else values
