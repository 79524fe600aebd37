"""Units of doimo2021: networks, and what chunks of their last hidden layer do, on test points.

released.csv, kept.csv, within.csv, held_out.csv, torn.csv, train.csv
             width, share (of the network's width), accuracy, r2, residual_correlation, each with _spread over draws, and floor (of the
             residual correlation, see `floor_of`), in those of `WAYS` that a unit asks for
whole.csv    units (the network's width), live, dead, train_error, full_accuracy, accuracy_width, and for each way but "train" the critical
             width: NaN where no width gets there
layers.csv   layer, stage, critical_width (class means removed), accuracy_width, with a linear classifier
excess.csv   width, share, error (of chunks), error_full, error_limit (of the mean of independent networks), excess
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from agop.experiments.studies import mlps
from agop.experiments.tables import write_table
from agop.experiments.units import Unit
from agop.networks.models import HeadedNetwork
from agop.networks.streams import derived_seed, stream
from agop.probes import PROBES
from agop.probes.redundancy import Redundancy, redundancy
from agop.probes.redundancy_probes import linear_head
from agop.profiles import Network, profile

MEMBERS = 4
"""The use of a unit's seed that makes the seeds of independent networks; 0 to 3 are used by one of them."""

WAYS: dict[str, dict[str, Any]] = {
    "released": {"class_means": "keep", "definition": "released"},
    "kept": {"class_means": "keep"},
    "within": {"class_means": "remove"},
    "held_out": {"class_means": "remove", "held_out": True},
    "torn": {"class_means": "remove"},
    "train": {"class_means": "keep"},
}
"""As the authors' scripts, with residuals of units outside the chunk only, without class means too, on rows that nothing was fitted on,
with each unit's values in another order within every class, and on training points."""


def run_network(unit: Unit, folder: Path) -> list[str]:
    """Train a network, or leave it untrained with a linear classifier on top, and measure chunks of its last hidden layer."""
    points = mlps.points_of(unit)
    model = mlps.trained(points, unit.options, unit.seed)
    head = _head(unit, model, points)
    found = {
        way: _measured(unit, *_rows(unit, model, points, way), head, way) for way in unit.options["ways"]
    }
    width = int(unit.options["width"])
    tables = {way: curve_of(one, width) for way, one in found.items()}
    for way, table in tables.items():
        write_table(folder, way, table)
    last = next(iter(found.values()))
    whole = {"units": width, "train_error": _train_error(model, points, head)}
    write_table(folder, "whole", pd.DataFrame([{**whole, **_whole(found)}]))
    if unit.options["layers"]:
        write_table(folder, "layers", _by_layer(model, points, unit))
    if unit.options["members"]:
        write_table(folder, "excess", _excess(unit, points, tables["released"], last.full_accuracy))
    dead = f"{len(last.dead)} of {width} units never vary on these points and are left out."
    return [dead] if last.dead else []


def _rows(
    unit: Unit, model: HeadedNetwork, points: mlps.Points, way: str
) -> tuple[Float[Tensor, "n d"], Int[Tensor, " n"]]:
    """The features of the last hidden layer that are measured on, and their labels."""
    x, y = points.of("train" if way == "train" else "test")
    most = int(unit.options["rows"])
    rows, y = mlps.last_features(model, x[:most]), y[:most]
    return (shuffled_within_classes(rows, y, stream(unit.seed, MEMBERS, 1)) if way == "torn" else rows), y


def _measured(
    unit: Unit,
    rows: Float[Tensor, "n d"],
    y: Int[Tensor, " n"],
    head: tuple[Tensor, Tensor | None],
    way: str,
) -> Redundancy:
    """Chunks of powers of two of the units from 4 on, and all that vary; the same in every way."""
    live = int((rows[0] != rows).any(0).sum())
    widths = [2**k for k in range(2, 20) if 2**k < live]
    weight, bias = (None if part is None else part.detach() for part in head)
    assert weight is not None
    return redundancy(
        rows, weight, bias, y, [*widths, live], int(unit.options["draws"]), unit.seed, **WAYS[way]
    )


def shuffled_within_classes(
    rows: Float[Tensor, "n d"], y: Int[Tensor, " n"], generator: torch.Generator
) -> Float[Tensor, "n d"]:
    """Each column in an order of its own within every class."""
    out = rows.clone()
    for label in y.unique():
        place = (y == label).nonzero().squeeze(1)
        order = torch.rand(len(place), rows.shape[1], generator=generator).argsort(0)
        out[place] = rows[place].gather(0, order)
    return out


def floor_of(found: Redundancy, width: int) -> float:
    r"""Mean :math:`|r|` of the residuals of independent Gaussian units, :math:`\sqrt{2 / (\pi (n - g - w))}`, g the means that are removed.

    What is left of n samples after g means and w coefficients has n − g − w degrees of freedom. NaN where fewer than 10 are left, and on
    rows that nothing was fitted on.
    """
    free = found.samples - found.groups - width
    return math.sqrt(2 / (math.pi * free)) if free >= 10 and not found.held_out else math.nan


def curve_of(found: Redundancy, units: int) -> pd.DataFrame:
    """By width: mean and spread of everything, the share of the units, and the floor."""
    table = found.to_frame()
    table["share"] = table["width"] / units
    return table.assign(floor=[floor_of(found, int(width)) for width in table["width"]])


def _whole(found: Mapping[str, Redundancy]) -> dict[str, float]:
    one = next(iter(found.values()))
    widths = {
        f"critical_width_{way}": float(way_.critical_width()) for way, way_ in found.items() if way != "train"
    }
    return {
        "full_accuracy": one.full_accuracy,
        "live": one.live,
        "dead": len(one.dead),
        "accuracy_width": float(one.accuracy_width()),
        **widths,
    }


def _head(unit: Unit, model: HeadedNetwork, points: mlps.Points) -> tuple[Tensor, Tensor | None]:
    """Weight and bias of the classifier: the network's own, or a linear one where the network isn't trained."""
    if unit.options["epochs"]:
        return mlps.readout(model), None
    return linear_head(mlps.last_features(model, points.x), points.y)


@torch.no_grad()
def _train_error(model: HeadedNetwork, points: mlps.Points, head: tuple[Tensor, Tensor | None]) -> float:
    weight, bias = head
    logits = mlps.last_features(model, points.x).double() @ weight.double().mT
    decided = (logits if bias is None else logits + bias).argmax(1)
    return float((decided != points.y).double().mean())


def _by_layer(model: HeadedNetwork, points: mlps.Points, unit: Unit) -> pd.DataFrame:
    """The probe at every stage, with a linear classifier."""
    x, y = points.of("test")
    rows = slice(int(unit.options["rows"]))
    probe = PROBES["redundancy_linear"].with_(draws=unit.options["layer_draws"], random_state=unit.seed)
    table = profile(Network(model), x[rows], y[rows], measures=[probe]).to_frame()
    columns = {f"linear_{name}": name for name in ("critical_width", "accuracy_width")}
    return table[["layer", "stage", *columns]].rename(columns=columns)


def _excess(unit: Unit, points: mlps.Points, curves: pd.DataFrame, full: float) -> pd.DataFrame:
    """The test error of chunks over that of the mean of independent networks."""
    x, y = points.of("test")
    members = range(1, int(unit.options["members"]) + 1)
    networks = [mlps.trained(points, unit.options, derived_seed(unit.seed, MEMBERS, 0, k)) for k in members]
    with torch.no_grad():
        logits = torch.stack([network(x) for network in networks]).mean(0)
    limit = float((logits.argmax(1) != y).double().mean())
    table = curves[["width", "share"]].assign(error=1 - curves["accuracy"])
    return table.assign(error_full=1 - full, error_limit=limit, excess=table["error"] - limit)
