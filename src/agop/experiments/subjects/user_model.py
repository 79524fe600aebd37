"""A run of a model of the user's: measured on one data set, beside an untrained copy.

profile.csv, layers.csv                the model: by layer and stage, by layer
untrained.csv, untrained_layers.csv    the same of an untrained copy
scores.csv                             accuracy and loss on these very points: of the model, of the untrained copy
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd
from torch import Tensor, nn

from agop import _checks
from agop.datasets import Dataset, Standardiser
from agop.experiments import headlines, measured, model_factory, points
from agop.experiments.checkpoints import fill
from agop.experiments.given_model import layers_of, measures_of, points_of, refusals, scaler_of, subject_of
from agop.experiments.listener import Listener
from agop.experiments.model_names import is_folder
from agop.experiments.subject import Findings, Task
from agop.experiments.subjects.user_model_config import ProfileConfig
from agop.profiles.profile import profile
from agop.profiles.scores import NEAR_CHANCE, Scores
from agop.profiles.shown import Shown
from agop.profiles.table import Profile

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
        self.notes: list[str] = []
        if config.weights is not None:
            self.notes = fill(
                self.model, config.weights, trust_pickle=config.trust_pickle, prefix=config.prefix
            )
        super().__init__(config)
        measured.check(self.model, measures_of(config))
        self.scaler = scaler_of(config, self.data)
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
        notes = list(self.notes)
        x = points_of(self.config, self.model, self.data, self.scaler).to(self.device)
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
            scores=_plain(found.tables),
        )


def _plain(tables: dict[str, pd.DataFrame]) -> dict[str, dict[str, float | None]]:
    """The scores as JSON takes them."""
    rows = tables["scores"].set_index("of") if "scores" in tables else pd.DataFrame()
    return {
        str(of): {str(name): float(value) if math.isfinite(value) else None for name, value in row.items()}
        for of, row in rows.iterrows()
    }


def _tables(stages: str, layers: str, found: Profile) -> dict[str, pd.DataFrame]:
    by_layer = measured.with_classifiers(found.layers, found.table)
    return {stages: measured.without_classifiers(found.table), layers: by_layer}


def _answers(scores: Scores | None) -> str:
    """What a headline says of the model's answers."""
    if scores is None:
        return ""
    return f" {str(scores).capitalize()}{f', {NEAR_CHANCE}' if scores.near_chance else ''}."


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


def _origin(config: ProfileConfig) -> str:
    """Where the weights are from."""
    if config.weights:
        return f" with {config.weights}"
    return "" if is_folder(config.model) else " as the factory makes it"


def _facts(config: ProfileConfig, data: Dataset, scaler: Standardiser | None) -> dict[str, str]:
    scaled = "as they are"
    if scaler is not None:
        scaled = points.SCALED if config.statistics is None else f"standardised with {config.statistics}"
    return {
        "Points": points.fact(data, len(data.class_names), scaled),
        "Model": config.model + _origin(config),
        "Positions": _POSITIONS[config.pool],
        "Measured on": "the training points, in evaluation mode"
        + ("; beside it an untrained copy" if config.untrained else ""),
    }


def _profile(config: ProfileConfig, model: nn.Module, x: Tensor, data: Dataset) -> Profile:
    with refusals(x):
        return profile(
            subject_of(config, model), x, data.y_train, layers=layers_of(config), measures=measures_of(config)
        )


def _twin(config: ProfileConfig, model: nn.Module, notes: list[str]) -> nn.Module:
    """What the factory makes without the weights, or a copy with its parameters drawn anew."""
    fresh = model_factory.make(config.model, trained=False)
    given = config.weights is not None or is_folder(config.model)
    if given and fresh is not model and not model_factory.same_parameters(fresh, model):
        return fresh
    twin, kept = model_factory.untrained_copy(model, config.seed + 1)
    if kept:
        shown = ", ".join(kept[:5]) + (f" and {len(kept) - 5} more" if len(kept) > 5 else "")
        notes.append(f"the untrained copy keeps the values of {shown}: no module knows how to draw them")
    return twin
