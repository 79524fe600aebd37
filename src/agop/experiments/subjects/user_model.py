"""A run of a model of the user's: measured on one data set, beside an untrained copy.

profile.csv, layers.csv                the model: by layer and stage, by layer
untrained.csv, untrained_layers.csv    the same of an untrained copy
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from agop import _checks
from agop.datasets import Dataset, Standardiser
from agop.experiments import headlines, measured, model_factory, points
from agop.experiments.listener import Listener
from agop.experiments.subject import Findings, Task
from agop.experiments.subjects.user_model_config import ProfileConfig
from agop.networks.models import as_images
from agop.profiles.network import Network
from agop.profiles.profile import profile
from agop.profiles.shown import Shown
from agop.profiles.table import Profile

MEASURED = ("nc1", "nc2", "nc3", "nfa")
_POSITIONS = {"mean": "averaged", "flatten": "side by side", "none": "every position a sample"}


@dataclass(frozen=True, eq=False)
class _Measured:
    """The tables by the name of their file, and what their reader must know."""

    tables: dict[str, pd.DataFrame]
    notes: list[str]
    shown: dict[str, Shown]


class UserModelTask(Task[ProfileConfig, _Measured]):
    """Measure a model as it is; nothing is trained."""

    def __init__(self, config: ProfileConfig) -> None:
        self.device = _checks.device("device", config.device)
        self.model = model_factory.make(config.model)
        if config.weights is not None:
            model_factory.fill(self.model, config.weights, trust_pickle=config.trust_pickle)
        super().__init__(config)
        measured.check(self.model, _measures(config))
        self.model_fingerprint = model_factory.fingerprint(self.model)

    @property
    def fingerprint(self) -> str:
        """Of the points and of the model."""
        return self.data_fingerprint + self.model_fingerprint

    def plan(self) -> str:
        """The model in a few words."""
        n_parameters = sum(parameter.numel() for parameter in self.model.parameters())
        return f"{self.config.model}, {n_parameters:,} parameters"

    def do(self, folder: Path, listener: Listener) -> _Measured:
        """Measure the model, and an untrained copy."""
        listener.measuring()
        notes: list[str] = []
        x = _points(self.config, self.model, self.data, notes).to(self.device)
        found = _profile(self.config, self.model.to(self.device), x, self.data)
        tables = _tables("profile", "layers", found) | measured.tables(found)
        if self.config.untrained:
            twin = _twin(self.config, self.model.cpu(), notes)
            untrained = _profile(self.config, twin.to(self.device), x, self.data)
            tables |= _tables("untrained", "untrained_layers", untrained)
        return _Measured(tables, [*notes, *found.notes], measured.shown(found.shown, tables.values()))

    def findings(self, found: _Measured, folder: Path) -> Findings:
        """The tables."""
        return Findings(
            title=f"{self.config.model} on {self.data.name}",
            headline=headlines.drops(found.tables["layers"]),
            facts=_facts(self.config, self.data),
            tables=found.tables,
            notes=found.notes,
            shown=found.shown,
        )


def _tables(stages: str, layers: str, found: Profile) -> dict[str, pd.DataFrame]:
    by_layer = measured.with_classifiers(found.layers, found.table)
    return {stages: measured.without_classifiers(found.table), layers: by_layer}


def _measures(config: ProfileConfig) -> tuple[str, ...]:
    """What was asked for, without the NFA if its AGOPs are not wanted."""
    asked = config.measures or MEASURED
    return asked if config.nfa else tuple(name for name in asked if name != "nfa")


def _facts(config: ProfileConfig, data: Dataset) -> dict[str, str]:
    scaled = points.SCALED if config.standardise else "as they are"
    return {
        "Points": points.fact(data, len(data.class_names), scaled),
        "Model": config.model + (f" with {config.weights}" if config.weights else " as the factory makes it"),
        "Positions": _POSITIONS[config.pool],
        "Measured on": "the training points, in evaluation mode"
        + ("; beside it an untrained copy" if config.untrained else ""),
    }


def _points(config: ProfileConfig, model: nn.Module, data: Dataset, notes: list[str]) -> Tensor:
    """The training points as the model takes them: images for a model with convolutions, else rows."""
    if config.standardise:
        scaler = Standardiser.of(data.x_train)
        x = torch.from_numpy(scaler(data.x_train, np.dtype("float32")))
        notes += points.constant_note(scaler)
    else:
        x = torch.from_numpy(data.x_train.astype(np.float32))
    parameter = next(model.parameters(), None)
    if parameter is not None and parameter.is_floating_point():
        x = x.to(parameter.dtype)
    kind = config.points
    if kind == "auto":
        convolutional = any(isinstance(part, nn.modules.conv._ConvNd) for part in model.modules())
        kind = "images" if convolutional else "rows"
    return as_images(x, data.shape) if kind == "images" else x


def _profile(config: ProfileConfig, model: nn.Module, x: Tensor, data: Dataset) -> Profile:
    layers = None if config.layers is None else [name.strip() for name in config.layers.split(",")]
    try:
        subject = Network(model, pool=config.pool)
        return profile(subject, x, data.y_train, layers=layers, measures=_measures(config))
    except (RuntimeError, ValueError) as error:
        refused = error if isinstance(error, RuntimeError) else error.__cause__
        if not isinstance(refused, RuntimeError):
            raise
        reason = " ".join(str(refused).split())[:200]
        got = f"a model that stops with {reason!r} on points of shape {tuple(x.shape[1:])}"
        raise _checks.bad_value(
            "model",
            "one that takes the points",
            got,
            "try --points images or --points rows, or another data set",
        ) from None


def _twin(config: ProfileConfig, model: nn.Module, notes: list[str]) -> nn.Module:
    """What the factory makes without the weights, or a copy with its parameters drawn anew."""
    fresh = model_factory.make(config.model)
    if config.weights is not None and fresh is not model and not model_factory.same_parameters(fresh, model):
        return fresh
    twin, kept = model_factory.untrained_copy(model, config.seed + 1)
    if kept:
        shown = ", ".join(kept[:5]) + (f" and {len(kept) - 5} more" if len(kept) > 5 else "")
        notes.append(f"the untrained copy keeps the values of {shown}: no module knows how to draw them")
    return twin
