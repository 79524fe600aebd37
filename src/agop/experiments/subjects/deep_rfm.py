"""A run of a Deep RFM: fitted layer by layer with checkpoints, measured layer by layer.

checkpoint/   the model after its last finished layer    (while the run is unfinished)
model.safetensors, standardisation.npz                   the model, and the scaling of its input
profile.csv   NC1, NC2 of the three stages by layer;  layers.csv   accuracy, seconds, solver by layer
gram.npz      class-sorted Gram matrices of a few layers
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from agop.datasets import Dataset, Standardiser
from agop.experiments import gram, headlines, measured, points
from agop.experiments.files import atomic
from agop.experiments.fitting import fit_in
from agop.experiments.listener import Listener
from agop.experiments.subject import Findings, Task
from agop.experiments.subjects.deep_rfm_config import DeepRFMConfig
from agop.machines.deep_rfm import DeepRFMClassifier
from agop.machines.memory import estimate_memory
from agop.profiles.profile import profile
from agop.profiles.table import Profile
from agop.ranks import current

GRAM_POINTS = 200
"""Points in a Gram matrix: enough to see the classes, few enough for a page one can mail."""


@dataclass(frozen=True, eq=False)
class _Fitted:
    """A fitted model with the scaling of its input, its profile, and how ranks shared the fit."""

    model: DeepRFMClassifier
    scaler: Standardiser
    x_train: np.ndarray
    collapse: Profile
    sharing: list[str]


class DeepRFMTask(Task[DeepRFMConfig, _Fitted]):
    """Fit a Deep RFM and measure every layer; ranks share both."""

    def __init__(self, config: DeepRFMConfig) -> None:
        super().__init__(config)
        measured.check(_model(config), config.measures)
        self.n_classes = len(np.unique(self.data.y_train))
        wide = max(self.data.x_train.shape[1], config.width)
        self.needs = 2 * 4 * config.layers * wide * (config.width + 2 * wide) + 50 * 2**20

    def plan(self) -> str:
        """The memory that the fit will need."""
        config, (n, d) = self.config, self.data.x_train.shape
        memory = estimate_memory(
            n, d, self.n_classes, width=config.width, n_layers=config.layers, dtype=getattr(torch, config.dtype),
            solver="cg" if config.solver == "cg" else "cholesky",
        )  # fmt: skip
        return f"memory: about {memory}"

    def do(self, folder: Path, listener: Listener) -> _Fitted:
        """Fit what is left to fit, and measure the stages on the training points."""
        scaler, labels = Standardiser.of(self.data.x_train), self.data.y_train
        x_train = scaler(self.data.x_train, np.dtype(self.config.dtype))
        model = fit_layers(self.config, x_train, labels, folder, listener)
        listener.measuring()
        collapse = profile(model, x_train, labels, measures=self.config.measures)
        return _Fitted(model, scaler, x_train, collapse, _sharing_note(current().size, model))

    def findings(self, found: _Fitted, folder: Path) -> Findings:
        """The tables; in the folder the Gram matrices and the scaling of the input."""
        data, model, test = self.data, found.model, self.data.x_test
        if test is not None:
            test = found.scaler(test, np.dtype(self.config.dtype))
        stages, layers = found.collapse.to_frame(), by_layer(model, data, test)
        layers = measured.with_asked(layers, found.collapse, self.config.measures)
        frames = {"profile": stages, "layers": layers, **measured.tables(found.collapse)}
        write_gram(model, found.x_train, data, folder)
        points.write_standardisation(found.scaler, folder)
        scaled = points.constant_note(found.scaler)
        return Findings(
            title=f"Deep RFM on {data.name}",
            headline=headlines.projected_falls(stages, layers),
            facts=_facts(self.config, data, self.n_classes),
            tables=frames,
            notes=[*found.sharing, *scaled, *found.collapse.notes, *layer_notes(model)],
            shown=measured.shown(found.collapse.shown, frames.values()),
        )


def _facts(config: DeepRFMConfig, data: Dataset, n_classes: int) -> dict[str, str]:
    features = f"{config.feature_map} features of width {config.width:,}"
    return {
        "Points": points.fact(data, n_classes),
        "Model": f"{config.layers} layers; {config.kernel} kernel of bandwidth {config.bandwidth:g}, "
        f"ridge {config.ridge:g}; {features}",
        "Arithmetic": f"{config.dtype}, {config.precision} precision, on {config.device}",
        "Seed": str(config.seed),
        "Measured on": "the training points; accuracy on training and test points",
    }


def fit_layers(
    config: DeepRFMConfig, x_train: np.ndarray, y_train: np.ndarray, folder: Path, listener: Listener
) -> DeepRFMClassifier:
    """Fit all layers, from the last checkpoint on if there is one: all ranks read it, rank 0 writes it."""
    changed = {"n_layers": config.layers, "max_memory": config.max_memory, "device": config.device}
    return fit_in(
        folder, _model(config), x_train, y_train, listener, total=config.layers, step="layer", changed=changed
    )


def _model(config: DeepRFMConfig) -> DeepRFMClassifier:
    return DeepRFMClassifier(
        n_layers=config.layers,
        width=config.width,
        feature_map=config.feature_map,
        feature_bandwidth=config.feature_bandwidth,
        kernel=config.kernel,
        bandwidth=config.bandwidth,
        ridge=config.ridge,
        solver=config.solver,
        precision=config.precision,
        max_memory=config.max_memory,
        device=config.device,
        dtype=config.dtype,
        random_state=config.seed,
    )


def by_layer(model: DeepRFMClassifier, data: Dataset, x_test: np.ndarray | None) -> pd.DataFrame:
    """One row per layer: accuracy on training and test points, and what the fit says about itself."""
    table = pd.DataFrame([{k: v for k, v in entry.items() if k != "notes"} for entry in model.history_])
    table["layer"] = np.arange(1, len(table) + 1)
    table["test_accuracy"] = np.nan
    if x_test is not None:
        table["test_accuracy"] = [float(np.mean(y == data.y_test)) for y in model.staged_predict(x_test)]
    first = ["layer", "train_accuracy", "test_accuracy", "seconds"]
    return table[first + [name for name in table.columns if name not in first]]


def write_gram(model: DeepRFMClassifier, x_train: np.ndarray, data: Dataset, folder: Path) -> None:
    """Write `gram.npz`: class-sorted Gram matrices of a few layers."""
    rows = gram.class_sorted(data.y_train, GRAM_POINTS)
    layers = gram.chosen_layers(len(model.history_))
    arrays: dict[str, np.ndarray] = {"labels": data.y_train[rows], "class_names": np.array(data.class_names)}
    for number, view in enumerate(model.views(x_train[rows]), start=1):
        if number in layers:
            for stage, features in view.stages().items():
                matrix = gram.centred_gram(features.detach().cpu())
                arrays[f"{number}/{stage}"] = matrix.numpy().astype(np.float16)
    with atomic(folder / "gram.npz") as partial:
        np.savez_compressed(partial, **arrays)  # type: ignore[arg-type]


def _sharing_note(size: int, model: DeepRFMClassifier) -> list[str]:
    if size == 1:
        return []
    repeated = any(entry["solver"] == "cholesky" for entry in model.history_)
    more = (
        "; all of them repeated the Cholesky factorisations, which solver cg would share" if repeated else ""
    )
    return [f"{size} ranks shared the fit{more}."]


def layer_notes(model: DeepRFMClassifier) -> list[str]:
    """The notes of the fit, each with its layer."""
    return [
        f"Layer {number}: {note}"
        for number, entry in enumerate(model.history_, start=1)
        for note in entry["notes"]
    ]
