"""Where noise ends among the importances of columns: what permuted copies of them get."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from sklearn.base import clone

from agop.machines.importances import column_importances
from agop.machines.samples import Samples

if TYPE_CHECKING:
    from agop.machines.rfm import _RFM


def importance_control(model: _RFM, samples: Samples, copies: int) -> list[list[float]]:
    """What permuted copies of the columns get of the importances, in a fit like this one to the columns and one copy of all."""
    order, d = np.random.RandomState(model.seed_ % 2**32), model.n_features_in_
    groups = [
        *model._indicator_groups,
        *([k + len(model.agop_) for k in own] for own in model._indicator_groups),
    ]
    sources = model._encoding.sources
    found = []
    for _ in range(copies):
        rows = torch.from_numpy(order.permutation(len(samples))).to(samples.X.device)
        twin = clone(model).set_params(
            solver="auto" if model.solver == "nystrom" else model.solver,
            n_centers="auto",
            importance_control=0,
            n_iter=getattr(model, "best_iteration_", model.n_iter),
            validation=None,
            warm_start=False,
        )
        if isinstance(model.bandwidth, list | tuple | np.ndarray):
            twin.bandwidth = model.bandwidth_
        twin.seed_ = model.seed_
        beside = replace(samples, X=torch.cat([samples.X, samples.X[rows]], 1))
        twin._fit_samples(beside, None, None, None)
        both = np.concatenate([sources, sources + d])
        found.append(column_importances(twin.predictor_agop_, both, groups, 2 * d)[d:].tolist())
    return found
