"""A search and its models as one header and tensors, and back: each model is what its own file would hold, under its number."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from agop.machines.stored import Damaged, kernel_of, numbered, of_type, restored_members

Parts = tuple[dict[str, Any], dict[str, Tensor]]

OBJECTS = ("param_distributions", "cv", "scoring")
"""Parameters that may be objects, which no file can hold: a loaded search has the defaults instead, and `notes_` says so."""

KEPT = (
    "estimators_",
    "best_estimator_",
    "weights_",
    "class_prior_",
    "best_params_",
    "cv_results_",
    "oof_predictions_",
    "notes_",
)
"""Fitted attributes of a search that are stored here."""

_MOST_MODELS = 1000


def search_parts(
    estimator: Any, described: Callable[[Any], Parts], plain: Callable[[str, Any], Any]
) -> Parts:
    """Header and tensors of what a search has beyond other estimators.

    Parameters
    ----------
    described
        Header and tensors of a model.
    plain
        A parameter as JSON.
    """
    models = list(estimator.estimators_)
    if not any(model is estimator.best_estimator_ for model in models):
        models.append(estimator.best_estimator_)
    best = next(place for place, model in enumerate(models) if model is estimator.best_estimator_)
    members: list[dict[str, Any]] = []
    tensors: dict[str, Tensor] = {}
    for place, model in enumerate(models):
        header, own = described(model)
        members.append(header)
        tensors |= numbered(place, own)
    lost = [name for name in OBJECTS if not _is_plain(getattr(estimator, name))]
    note = f"{', '.join(lost)}: an object, which a file does not hold; a loaded estimator has the default"
    results = estimator.cv_results_
    header = {
        "members": members,
        "best": best,
        "weights": estimator.weights_.tolist(),
        "best_params": {name: plain(name, value) for name, value in estimator.best_params_.items()},
        "results": {
            "params": [{name: plain(name, v) for name, v in one.items()} for one in results["params"]],
            "columns": {
                name: [None if value != value else value for value in column.tolist()]
                for name, column in results.items()
                if name != "params" and not name.startswith("param_")
            },
        },
        "prior": estimator.class_prior_.tolist() if hasattr(estimator, "class_prior_") else None,
        "notes": [*estimator.notes_, *([note] if lost else [])],
    }
    tensors["honest"] = torch.from_numpy(np.array(estimator.oof_predictions_))
    return header, tensors


def kept_parameters(estimator: Any) -> dict[str, Any]:
    """The constructor's arguments but for objects, which are left to their defaults."""
    given = estimator.get_params(deep=False)
    return {name: value for name, value in given.items() if name not in OBJECTS or _is_plain(value)}


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, str | int)


def restore_search(
    estimator: Any,
    header: dict[str, Any],
    tensors: dict[str, Tensor],
    restored: Callable[[dict[str, Any], dict[str, Tensor]], Any],
) -> None:
    """Give a constructed search its models and results back.

    Parameters
    ----------
    restored
        The model of a header and its tensors.
    """
    honest = tensors.pop("honest", None)
    if honest is None or honest.dtype != torch.float64 or honest.ndim not in (1, 2):
        raise Damaged("no honest predictions")
    members, weights = of_type(header, "members", list), of_type(header, "weights", list)
    best = of_type(header, "best", int)
    if not 0 < len(weights) <= len(members) <= _MOST_MODELS or not 0 <= best < len(members):
        raise Damaged("weights and models that do not belong together")
    if not all(type(w) is float and 0 < w <= 1 for w in weights) or not math.isclose(sum(weights), 1):
        raise Damaged("weights that are no shares")
    models = restored_members(header, members, tensors, estimator._base.__name__, restored)
    outputs = {len(model.target_means_) for model in models}
    columns = {model.n_features_in_ for model in models}
    if len(outputs) > 1 or columns != {estimator.n_features_in_}:
        raise Damaged("models of other columns or outputs")
    estimator.estimators_, estimator.weights_ = models[: len(weights)], np.array(weights)
    estimator.best_estimator_ = models[best]
    estimator._share_of_best()
    estimator.best_params_ = _params(of_type(header, "best_params", dict))
    estimator.cv_results_ = _results(of_type(header, "results", dict))
    estimator.oof_predictions_ = honest.cpu().numpy()
    notes = of_type(header, "notes", list)
    if not all(isinstance(note, str) for note in notes):
        raise Damaged("notes that are no texts")
    estimator.notes_ = notes
    prior = header.get("prior")
    if (prior is not None) != hasattr(estimator, "decision_function"):
        raise Damaged("class shares without classes")
    if prior is not None:
        shares = isinstance(prior, list) and all(type(share) is float and 0 <= share <= 1 for share in prior)
        if not shares or {len(prior)} != outputs:
            raise Damaged("class shares that are none")
        slope = getattr(estimator, "slope_", None)
        if type(slope) is not float or not 0 < slope < 100:
            raise Damaged("slope_ is no slope")
        estimator.class_prior_ = np.array(prior)


def _params(stored: dict[str, Any]) -> dict[str, Any]:
    return {name: kernel_of(v) if isinstance(v, dict) else v for name, v in stored.items()}


def _results(stored: dict[str, Any]) -> dict[str, Any]:
    params, columns = of_type(stored, "params", list), of_type(stored, "columns", dict)
    if not all(isinstance(one, dict) for one in params):
        raise Damaged("results without parameters")
    made: dict[str, Any] = with_columns([_params(one) for one in params])
    for name, column in columns.items():
        plain = isinstance(column, list) and all(v is None or type(v) in (int, float) for v in column)
        if not plain or len(column) != len(params):
            raise Damaged("results that are no columns")
        values = np.array([np.nan if value is None else value for value in column])
        made[name] = values.astype(np.int32) if name == "rank_test_score" else values
    return made


def with_columns(params: list[dict[str, Any]]) -> dict[str, Any]:
    """`params` and `param_…` of `cv_results_`, masked where a candidate does not set a parameter."""
    names = sorted({name for one in params for name in one})
    made: dict[str, Any] = {"params": params}
    for name in names:
        values = np.empty(len(params), dtype=object)
        values[:] = [one.get(name) for one in params]
        made[f"param_{name}"] = np.ma.MaskedArray(values, mask=[name not in one for one in params])
    return made
