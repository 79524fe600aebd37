"""A run of a model of the user's: measured on one data set, beside an untrained copy.

profile.csv, layers.csv                the model: by layer and stage, by layer
untrained.csv, untrained_layers.csv    the same of an untrained copy
scores.csv                             accuracy and loss on these very points: of the model, of the untrained copy
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from agop import _checks
from agop.datasets import Dataset, Standardiser
from agop.experiments import headlines, measured, model_factory, points
from agop.experiments.input_statistics import read_statistics
from agop.experiments.listener import Listener
from agop.experiments.subject import Findings, Task
from agop.experiments.subjects.user_model_config import ProfileConfig
from agop.networks.models import as_images
from agop.profiles.network import Network
from agop.profiles.profile import profile
from agop.profiles.scores import Scores
from agop.profiles.shown import Shown
from agop.profiles.table import Profile

MEASURED = ("nc1", "nc2", "nc3", "nfa")
_POSITIONS = {
    "mean": "averaged",
    "flatten": "side by side",
    "none": "every position a sample",
    "first": "the first token",
    "last": "the last token",
}


@dataclass(frozen=True, eq=False)
class _Measured:
    """The tables by the name of their file, and what their reader must know."""

    tables: dict[str, pd.DataFrame]
    notes: list[str]
    shown: dict[str, Shown]
    scores: Scores | None


class UserModelTask(Task[ProfileConfig, _Measured]):
    """Measure a model as it is; nothing is trained."""

    def __init__(self, config: ProfileConfig) -> None:
        self.device = _checks.device("device", config.device)
        self.model = model_factory.make(config.model)
        if config.weights is not None:
            model_factory.fill(self.model, config.weights, trust_pickle=config.trust_pickle)
        super().__init__(config)
        measured.check(self.model, _measures(config))
        self.scaler = _scaler(config, self.data)
        self.model_fingerprint = model_factory.fingerprint(self.model)

    @property
    def fingerprint(self) -> str:
        """Of the points, of the model, and of statistics from a file."""
        scaled = "" if self.config.statistics is None or self.scaler is None else self.scaler.fingerprint()
        return self.data_fingerprint + self.model_fingerprint + scaled

    def plan(self) -> str:
        """The model in a few words."""
        n_parameters = sum(parameter.numel() for parameter in self.model.parameters())
        return f"{self.config.model}, {n_parameters:,} parameters"

    def do(self, folder: Path, listener: Listener) -> _Measured:
        """Measure the model, and an untrained copy."""
        listener.measuring()
        notes: list[str] = []
        x = _points(self.config, self.model, self.data, self.scaler).to(self.device)
        if self.scaler is not None:
            notes += points.constant_note(self.scaler)
        found = _profile(self.config, self.model.to(self.device), x, self.data)
        tables, scores = _tables("profile", "layers", found) | measured.tables(found), {"model": found.scores}
        if self.config.untrained:
            twin = _twin(self.config, self.model.cpu(), notes)
            untrained = _profile(self.config, twin.to(self.device), x, self.data)
            tables |= _tables("untrained", "untrained_layers", untrained)
            scores["untrained"] = untrained.scores
        if found.scores is not None:
            tables["scores"] = pd.DataFrame(
                [{"of": of} | asdict(told) for of, told in scores.items() if told]
            )
            notes += [found.scores.warning + _about_scale(self.scaler)] if found.scores.near_chance else []
        shown = measured.shown(found.shown, tables.values())
        return _Measured(tables, [*notes, *found.notes], shown, found.scores)

    def findings(self, found: _Measured, folder: Path) -> Findings:
        """The tables."""
        return Findings(
            title=f"{self.config.model} on {self.data.name}",
            headline=headlines.drops(found.tables["profile"], found.tables["layers"])
            + _answers(found.scores),
            facts=_facts(self.config, self.data, self.scaler) | _scores(found.scores),
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


def _answers(scores: Scores | None) -> str:
    """What a headline says of the model's answers."""
    return "" if scores is None else f" {str(scores).capitalize()}."


def _scores(scores: Scores | None) -> dict[str, str]:
    """The fact about the model's answers."""
    if scores is None:
        return {"Accuracy": "not known: the model gives no output a class"}
    return {
        "Accuracy": f"{scores.accuracy:.3f} on the points that were measured; the largest class has {scores.chance:.3f} of them",
        "Loss": f"{scores.loss:.4g} (cross-entropy) on the same points",
    }


def _about_scale(scaler: Standardiser | None) -> str:
    """What may be wrong with the inputs of a model near chance."""
    if scaler is None:
        return "; if it was trained on standardised inputs, pass --statistics FILE"
    return "; if it was trained on inputs as they are, leave --standardise out"


def _facts(config: ProfileConfig, data: Dataset, scaler: Standardiser | None) -> dict[str, str]:
    scaled = "as they are"
    if scaler is not None:
        scaled = points.SCALED if config.statistics is None else f"standardised with {config.statistics}"
    return {
        "Points": points.fact(data, len(data.class_names), scaled),
        "Model": config.model + (f" with {config.weights}" if config.weights else " as the factory makes it"),
        "Positions": _POSITIONS[config.pool],
        "Measured on": "the training points, in evaluation mode"
        + ("; beside it an untrained copy" if config.untrained else ""),
    }


def _scaler(config: ProfileConfig, data: Dataset) -> Standardiser | None:
    """What scales the points: statistics of the model's training, or of the points themselves, or nothing."""
    if config.statistics is not None:
        return read_statistics(config.statistics, data.shape)
    return Standardiser.of(data.x_train) if config.standardise else None


def _points(config: ProfileConfig, model: nn.Module, data: Dataset, scaler: Standardiser | None) -> Tensor:
    """The training points as the model takes them: images for a model with convolutions, integers for one that embeds them, else rows."""
    whole = data.x_train.dtype.kind in "bui" and scaler is None
    kind = config.points
    if kind == "auto":
        convolutional = any(isinstance(part, nn.modules.conv._ConvNd) for part in model.modules())
        embeds = whole and any(isinstance(part, nn.Embedding) for part in model.modules())
        kind = "images" if convolutional else "tokens" if embeds else "rows"
    if kind == "tokens":
        if not whole:
            raise _checks.bad_value(
                "points", "integers for tokens", f"{data.x_train.dtype}", "take --points rows"
            )
        return torch.from_numpy(data.x_train.astype(np.int64)).reshape(len(data.x_train), *data.shape)
    parameter = next((p for p in model.parameters() if p.is_floating_point()), None)
    dtype = torch.float32 if parameter is None else parameter.dtype
    arithmetic = np.dtype("float64" if dtype == torch.float64 else "float32")
    rows = data.x_train.astype(arithmetic) if scaler is None else scaler(data.x_train, arithmetic)
    x = torch.from_numpy(rows).to(dtype)
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
