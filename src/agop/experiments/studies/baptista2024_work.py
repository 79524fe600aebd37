"""Units of baptista2024: Ricci coefficients along the layers of networks and of a Deep RFM, on test points.

network    before and after training (`state`): coefficients.csv  layers ("all": input, hidden layers, class probabilities; "hidden": these
           only), kind, curvature, value, share_negative, pairs_lost; neighbours.csv  k, value; steps.csv  step, value (correlation over
           points); errors.csv  train_error, test_error
deep_rfm   depth.csv  rule (of the projection), value, share_negative, pairs_lost: input and every layer's features
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from agop.experiments.studies import mlps
from agop.experiments.studies.beaglehole2024.controls import control_views
from agop.experiments.subjects.deep_rfm_config import DeepRFMConfig
from agop.experiments.tables import write_table
from agop.experiments.units import Unit
from agop.measurement import Measurement
from agop.networks.models import HeadedNetwork
from agop.networks.streams import stream
from agop.probes.ricci import Curvature, ricci_coefficients

STATES = ("untrained", "trained")
_SHUFFLE = 21  # the use of a unit's seed


def halves(points: mlps.Points) -> mlps.Points:
    """The classes in two groups, the first half of them against the others."""
    first = points.n_classes // 2
    y, y_test = ((labels >= first).long() for labels in (points.y, points.y_test))
    return replace(points, y=y, y_test=y_test, n_classes=2)


@torch.no_grad()
def path_of(model: HeadedNetwork, x: Float[Tensor, "n d"]) -> list[Float[Tensor, "n _"]]:
    """Input, hidden layers behind their ReLU, and the probability of the second class."""
    x, path = model.backbone(x), [model.backbone(x)]
    for number, part in enumerate(model.head):
        x = part(x)
        if number % 2:
            path.append(x)
    return [*path, (x[:, 1:] - x[:, :1]).sigmoid()]


def run_network(unit: Unit, folder: Path) -> list[str]:
    """Measure a network before and after training."""
    points, options = halves(mlps.points_of(unit)), dict(unit.options)
    if options["shuffled_labels"]:
        order = torch.randperm(len(points.y), generator=stream(unit.seed, _SHUFFLE))
        points = replace(points, y=points.y[order])
    rows = points.x_test[: int(options["rows"])]
    tables: dict[str, list[dict[str, Any]]] = {
        "coefficients": [],
        "neighbours": [],
        "steps": [],
        "errors": [],
    }
    for state in STATES:
        training = options if state == "trained" else {**options, "epochs": 0}
        model = mlps.trained(points, training, unit.seed)
        for name, found in _of(path_of(model, rows), options).items():
            tables[name] += [{"state": state, **row} for row in found]
        errors = {f"{name}_error": mlps.error(model, *points.of(name)) for name in ("train", "test")}
        tables["errors"].append({"state": state, **errors})
    for name, found in tables.items():
        write_table(folder, name, pd.DataFrame(found))
    return []


def _of(path: list[Tensor], options: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    k = int(options["k"])
    curvatures: list[Curvature] = options["curvatures"]
    local = {curvature: ricci_coefficients(path, k, curvature=curvature) for curvature in curvatures}
    own = local["augmented"]
    found = [
        {"layers": "all", "kind": "local", "curvature": name, **_row(value)} for name, value in local.items()
    ]
    for layers, kind, value in (
        ("hidden", "local", ricci_coefficients(path[1:-1], k)),
        ("all", "global", ricci_coefficients(path, k, kind="global")),
    ):
        found.append({"layers": layers, "kind": kind, "curvature": "augmented", **_row(value)})
    steps = [{"step": step, "value": value} for step, value in enumerate(own.details["by_step"], start=1)]
    by_k = {k: own} | {
        other: ricci_coefficients(path, other) for other in options["neighbours"] if other != k
    }
    neighbours = [{"k": number, "value": float(by_k[number])} for number in sorted(by_k)]
    return {"coefficients": found, "steps": steps, "neighbours": neighbours}


def _row(value: Measurement) -> dict[str, float]:
    nan = float("nan")
    return {
        "value": float(value) if value.defined else nan,
        "share_negative": value.details.get("share_negative", nan),
        "pairs_lost": value.details["pairs_lost"],
    }


def run_deep_rfm(unit: Unit, folder: Path) -> list[str]:
    """The same along the depth of a Deep RFM, and of random features without its projection."""
    points, options, found = mlps.points_of(unit), dict(unit.options), []
    names = ("layers", "width", "kernel", "bandwidth", "ridge", "feature_map")
    config = DeepRFMConfig(**{name: options[name] for name in names}, seed=unit.seed)
    rows = points.x_test[: int(options["rows"])]
    for rule in options["rules"]:
        path: list[Tensor] = [rows]
        for _, view in control_views(rule, points.x, points.y, rows, config):
            assert view is not None
            path.append(view.output)
        value = ricci_coefficients(path, int(options["k"]))
        found.append({"rule": rule, **_row(value)})
    write_table(folder, "depth", pd.DataFrame(found))
    return []
