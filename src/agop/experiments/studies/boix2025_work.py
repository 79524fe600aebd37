"""Units of boix2025: networks trained to convergence, and feature machines on a table.

train      path: epoch, layer, fact, distance, fact_correlation, nfa, centred_nfa, loss, train_accuracy, test_accuracy
machines   errors: test mean squared error on friedman1 over the variance of the target, by what the metric is learned from
"""

from __future__ import annotations

import copy
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import torch.nn.functional as F
from sklearn.datasets import make_friedman1
from torch import nn

from agop.experiments.studies.mlps import Points, error, points_of
from agop.experiments.tables import write_table
from agop.experiments.units import Unit
from agop.gradients import nfm
from agop.linalg.compare import matrix_correlation
from agop.machines.rfm import RFMRegressor
from agop.networks.streams import derived_seed
from agop.profiles.fact import fact
from agop.profiles.network import Network
from agop.profiles.profile import profile

RATES = {"sgd": 0.1, "adamw": 1e-3}
MOMENTUM, NOISE = 0.9, 1.0
_WEIGHTS, _TABLE = 71, 72  # uses of a unit's seed


def run_training(unit: Unit, folder: Path) -> list[str]:
    """Train on full batches, and measure FACT, NFA and centred NFA of every layer on the way."""
    options, points = dict(unit.options), points_of(unit)
    model = _mlp(points, int(options["width"]), int(options["depth"]), derived_seed(unit.seed, _WEIGHTS))
    start = copy.deepcopy(model.state_dict())
    decay = float(options["decay"])
    own, rate = decay if options["decays"] else 0.0, RATES[str(options["optimiser"])]
    optimiser: torch.optim.Optimizer = (
        torch.optim.AdamW(model.parameters(), rate, weight_decay=own)
        if options["optimiser"] == "adamw"
        else torch.optim.SGD(model.parameters(), rate, momentum=MOMENTUM, weight_decay=own)
    )
    path: list[dict[str, Any]] = []
    for epoch in range(int(options["epochs"]) + 1):
        if epoch % int(options["every"]) == 0:
            path += [{"epoch": epoch, **row} for row in _measured(model, start, points, decay)]
        optimiser.zero_grad()
        F.cross_entropy(model(points.x), points.y).backward()
        optimiser.step()
    write_table(folder, "path", pd.DataFrame(path))
    return []


def _mlp(points: Points, width: int, depth: int, seed: int) -> nn.Sequential:
    """ReLU layers with biases, weights of variance 2/fan-in."""
    sizes = [points.x.shape[1], *[width] * depth, points.n_classes]
    generator, parts = torch.Generator().manual_seed(seed), list[nn.Module]()
    for fan_in, fan_out in pairwise(sizes):
        layer = nn.Linear(fan_in, fan_out)
        with torch.no_grad():
            layer.weight.copy_(torch.randn(fan_out, fan_in, generator=generator) * (2 / fan_in) ** 0.5)
            layer.bias.zero_()
        parts += [layer, nn.ReLU()]
    return nn.Sequential(*parts[:-1])


def _measured(
    model: nn.Sequential, start: dict[str, torch.Tensor], points: Points, decay: float
) -> list[dict[str, Any]]:
    """A row a layer."""
    found = fact(model, points.x, points.y, weight_decay=decay)
    layers = profile(
        Network(model, initial=start), points.x, points.y, measures=["nfa", "centred_nfa"]
    ).layers.to_dict("records")
    with torch.no_grad():
        loss = float(F.cross_entropy(model(points.x), points.y))
    whole = {
        "loss": loss,
        "train_accuracy": 1 - error(model, points.x, points.y),
        "test_accuracy": 1 - error(model, points.x_test, points.y_test),
    }
    rows = []
    for own, (name, matrix) in zip(layers, found.items(), strict=True):
        residual = found.residuals[name]
        rows.append(
            {
                "layer": own["layer"],
                "fact": float(residual),
                "distance": residual.details["distance"],
                "fact_correlation": matrix_correlation(nfm(model.get_submodule(name)).double(), matrix),
                "nfa": own["nfa"],
                "centred_nfa": own["centred_nfa"],
                **whole,
            }
        )
    return rows


def run_machines(unit: Unit, folder: Path) -> list[str]:
    """Feature machines at their defaults on friedman1 with columns of noise: the error of each update, and of no learning."""
    n, seed = int(unit.options["rows"]), derived_seed(unit.seed, _TABLE) % 2**32
    x, y = make_friedman1(
        n_samples=2 * n, n_features=int(unit.options["columns"]), noise=NOISE, random_state=seed
    )
    made = {
        "none": RFMRegressor(n_iter=0),
        **{update: RFMRegressor(n_iter=5, update=update) for update in ("agop", "fact", "fact-geometric")},
    }
    errors = {
        name: float(((model.fit(x[:n], y[:n]).predict(x[n:]) - y[n:]) ** 2).mean() / y[n:].var())
        for name, model in made.items()
    }
    write_table(folder, "errors", pd.DataFrame([errors]))
    return []
