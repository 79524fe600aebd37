"""Fit an RFM in regions: the tree, then a model a region, each with the estimator's own parameters."""

from __future__ import annotations

from typing import Any

from jaxtyping import Float
from sklearn.base import clone
from torch import Tensor

from agop import _checks
from agop._progress import ProgressHook
from agop.machines.regions import RegionalMachine, RegionTree
from agop.machines.samples import Samples

LEAST = 20
"""Rows below which no region may be asked for."""


def check_regions(estimator: Any, *, in_memory: bool, validated: bool) -> int:
    """The most rows of a region.

    Raises
    ------
    ValueError, TypeError
        For parameters that regions can't be combined with.
    """
    most = _checks.integer("regions", estimator.regions, at_least=LEAST)
    refused = {
        "rows in blocks, which nobody holds": not in_memory,
        "validation samples": validated,
        "warm_start=True": bool(estimator.warm_start),
        'solver="nystrom"': estimator.solver == "nystrom",
    }
    for what, there in refused.items():
        if there:
            expected, remedy = f"None with {what}", "leave one of both out"
            raise _checks.bad_value("regions", expected, str(most), remedy)
    return most


def fit_regions(estimator: Any, samples: Samples, most: int, progress: ProgressHook | None) -> dict[str, Any]:
    """What a fit to prepared samples learns."""
    tell = progress or (lambda done, total, text: None)

    def agop_of(rows: Tensor) -> Float[Tensor, "d d"]:
        tell(0.0, 1.0, "where regions part")
        reader = _twin(estimator, n_iter=0)
        reader._fit_samples(samples.take(rows), None, None, None)
        matrix: Tensor = reader.predictor_agop_
        return matrix

    tree, regions = RegionTree.grown(samples.X, samples.weight, most, agop_of)
    models, history = [], []
    for number, rows in enumerate(regions):
        tell(float(number), float(len(regions)), f"region {number + 1} of {len(regions)}")
        model = _twin(estimator)
        model._fit_samples(samples.take(rows), None, None, None)
        models.append(model)
        history += [{"region": number, **entry} for entry in model.history_]
    weight = samples.weight
    masses = [len(rows) if weight is None else float(weight[rows].sum()) for rows in regions]
    machine = RegionalMachine(tree, tuple(models), tuple(mass / sum(masses) for mass in masses))
    tell(1.0, 1.0, "done")
    return {
        "machine_": machine,
        "history_": history,
        "agop_": machine.averaged("agop_"),
    }


def _twin(estimator: Any, **changed: Any) -> Any:
    """An RFM like this one for some of its prepared samples, without regions of its own."""
    twin = clone(estimator).set_params(
        regions=None, importance_control=0, validation=None, verbose=False, **changed
    )
    parameters = estimator.get_params(deep=False)
    twin.__dict__ |= {
        name: value
        for name, value in vars(estimator).items()
        if name.endswith("_") and name not in parameters and not name.startswith("__")
    }
    return twin
