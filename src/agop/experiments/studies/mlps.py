"""Multilayer perceptrons of studies: the points of a unit as tensors, a training from a unit's options, and errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from agop._checks import bad_value
from agop.experiments.units import DataSource, Unit
from agop.networks.models import HeadedNetwork, mlp
from agop.networks.training import Training, train

_TRAINING = {entry.name for entry in fields(Training)}


@dataclass(frozen=True, eq=False)
class Points:
    """Training and test points in float32, and labels 0..C−1.

    Every feature is centred by its training mean, and all of them are divided by one number, the root mean square over training points and
    features: a border pixel that is lit in one image only stays small, where a standard deviation of its own would make that image an
    outlier that rules every variance of the features.
    """

    x: Float[Tensor, "n d"]
    y: Int[Tensor, " n"]
    x_test: Float[Tensor, "m d"]
    y_test: Int[Tensor, " m"]
    n_classes: int

    def of(self, name: str) -> tuple[Float[Tensor, "n d"], Int[Tensor, " n"]]:
        """Those called "train" or "test"."""
        return (self.x, self.y) if name == "train" else (self.x_test, self.y_test)


def points_of(unit: Unit) -> Points:
    """The points of a unit.

    Raises
    ------
    ValueError
        One sentence, if the data have no test points.
    """
    assert isinstance(unit.data, DataSource)
    data = unit.data.load(unit.seed)
    if data.x_test is None or data.y_test is None:
        raise bad_value("data", "data with test points", f"{unit.label} without any", "add x_test and y_test")
    rows, test = (torch.from_numpy(part).double() for part in (data.x_train, data.x_test))
    mean = rows.mean(0)
    scale = (rows - mean).square().mean().sqrt()
    if not float(scale) > 0:
        raise bad_value("data", "training points that differ", f"{len(rows)} equal ones")
    x, x_test = (((part - mean) / scale).float() for part in (rows, test))
    y, y_test = (torch.from_numpy(part) for part in (data.y_train, data.y_test))
    return Points(x, y, x_test, y_test, len(data.class_names))


def trained(points: Points, options: Mapping[str, Any], seed: int, *, dropout: Any = 0.0) -> HeadedNetwork:
    """An MLP with the options `width`, `depth`, `init_gain` and those of `Training`, trained to the end, in evaluation mode."""
    shape = {name: options[name] for name in ("width", "depth", "init_gain")}
    model = mlp(points.x.shape[1], points.n_classes, seed=seed, dropout=dropout, **shape)
    own = {name: value for name, value in options.items() if name in _TRAINING}
    for _ in train(model, points.x, points.y, Training(seed=seed, **own)):
        pass
    return model.eval()


@torch.no_grad()
def last_features(model: HeadedNetwork, x: Float[Tensor, "n d"]) -> Float[Tensor, "n h"]:
    """What the last linear map of the head reads."""
    rows: Tensor = model.head[:-1](model.backbone(x))
    return rows


def readout(model: HeadedNetwork) -> Float[Tensor, "c h"]:
    """The weight of that linear map, which has no bias."""
    last = model.head[-1]
    assert isinstance(last, torch.nn.Linear)
    return last.weight.detach()


@torch.no_grad()
def error(model: torch.nn.Module, x: Float[Tensor, "n d"], y: Int[Tensor, " n"]) -> float:
    """Share of points that are decided wrongly."""
    return float((model(x).argmax(1) != y).double().mean())
