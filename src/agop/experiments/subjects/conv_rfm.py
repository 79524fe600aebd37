"""A run of a ConvRFM or a Deep ConvRFM on images, with checkpoints after every iteration or stage.

checkpoint/   the model after its last finished iteration or stage    (while the run is unfinished)
model.safetensors   the model; its images are pixels divided by `scale` of facts
iterations.csv   accuracies by iteration (or stage), and which one predicts
profile.csv   NC1, NC2 of the stages of the model's views;  layers.csv   accuracies
patches.npz   filters, and the energy of patches in a few test images
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from agop._checks import bad_value, device
from agop._memory import parse_memory
from agop.experiments import headlines, measured
from agop.experiments.fitting import fit_in
from agop.experiments.images import Images
from agop.experiments.listener import Listener
from agop.experiments.patch_pictures import write_patches
from agop.experiments.subject import Findings, Task
from agop.experiments.subjects.conv_rfm_config import ConvRFMConfig
from agop.machines.conv_machine import conv_memory
from agop.machines.conv_rfm import ConvRFMClassifier
from agop.machines.deep_conv_rfm import DeepConvRFMClassifier
from agop.profiles.profile import profile
from agop.profiles.table import Profile

_MEASURED_BYTES = 256 * 2**20
"""What the patches of the images that are measured may take side by side."""

Model = ConvRFMClassifier | DeepConvRFMClassifier


@dataclass(frozen=True, eq=False)
class _Fitted:
    """A fitted model and its profile, of how many training images."""

    model: Model
    collapse: Profile
    n_measured: int


class ConvRFMTask(Task[ConvRFMConfig, _Fitted]):
    """Fit a ConvRFM, or a Deep ConvRFM stage by stage; ranks share the kernel matrices and the AGOPs."""

    def __init__(self, config: ConvRFMConfig) -> None:
        super().__init__(config)
        if config.stages and config.choose == "cross-fitted":
            remedy = "choose by validation, or leave the stages out"
            raise bad_value("choose", "validation or last with stages", repr(config.choose), remedy)
        self.device = device("device", config.device)
        self.images = Images.of(self.data)
        self.n_classes = len(np.unique(self.data.y_train))
        measured.check(_model(config), config.measures)
        grid = _grid(config, self.images)
        grid.sides(config.stages or (config.depth if config.kernel == "cntk" else 1))
        self.needs = 4 * (self.images.x.nbytes + 8 * grid.features**2) + 50 * 2**20

    def plan(self) -> str:
        """The memory that the fit will need."""
        config, grid = self.config, _grid(self.config, self.images)
        memory, _, _ = conv_memory(
            len(self.images.x), grid.pixels, self.n_classes, getattr(torch, config.dtype), grid.features,
            parse_memory("max_memory", config.max_memory), self.device,
        )  # fmt: skip
        return f"memory: about {memory}"

    def do(self, folder: Path, listener: Listener) -> _Fitted:
        """Fit what is left to fit, and measure the views on training images."""
        x, y = self.images.x, self.data.y_train
        model = fit(self.config, x, y, folder, listener)
        listener.measuring()
        chosen = slice(_measurable(self.config, self.images))
        collapse = profile(model, x[chosen], y[chosen], measures=self.config.measures)
        return _Fitted(model, collapse, len(y[chosen]))

    def findings(self, found: _Fitted, folder: Path) -> Findings:
        """The tables; in the folder filters and energies."""
        config, images, model = self.config, self.images, found.model
        scores = by_iteration(model) if isinstance(model, ConvRFMClassifier) else by_stage(model, images)
        accuracy = _accuracy(model, images)
        stages, layers = found.collapse.to_frame(), _layers(model, found.collapse, scores, accuracy)
        layers = measured.with_asked(layers, found.collapse, config.measures)
        frames = {
            "profile": stages,
            "layers": layers,
            "iterations": scores,
            **measured.tables(found.collapse),
        }
        write_pictures(model, images, folder, config)
        notes = [] if found.n_measured == len(images.x) else [
            f"NC1 and other measures are of the first {found.n_measured:,} training images."
        ]  # fmt: skip
        return Findings(
            title=f"{'Deep ConvRFM' if config.stages else 'ConvRFM'} on {self.data.name}",
            headline=_headline(model, scores, accuracy, stages),
            facts=_facts(config, images, self.n_classes),
            tables=frames,
            notes=[*notes, *_notes(model), *found.collapse.notes],
            shown=measured.shown(found.collapse.shown, frames.values()),
        )


def _grid(config: ConvRFMConfig, images: Images) -> Any:
    from agop.kernels.patches import PatchGrid

    c, h, w = images.x.shape[1:]
    return PatchGrid(c, h, w, config.patch_size, config.stride, config.padding)


def _model(config: ConvRFMConfig) -> Model:
    common: dict[str, Any] = {
        "kernel": config.kernel,
        "patch_size": config.patch_size,
        "stride": config.stride,
        "padding": config.padding,
        "bandwidth": "median" if config.bandwidth is None else config.bandwidth,
        "ridge": config.ridge,
        "n_iter": config.iterations,
        "n_agop": config.n_agop,
        "max_memory": config.max_memory,
        "validation": {"validation": config.validation, "last": None}.get(config.choose, config.choose),
        "device": config.device,
        "dtype": config.dtype,
        "random_state": config.seed,
    }
    if config.stages:
        return DeepConvRFMClassifier(n_layers=config.stages, width=config.width, **common)
    return ConvRFMClassifier(depth=config.depth, **common)


def fit(config: ConvRFMConfig, x: np.ndarray, y: np.ndarray, folder: Path, listener: Listener) -> Model:
    """Fit all iterations or stages, from the last checkpoint on if there is one."""
    total, step = (config.stages, "stage") if config.stages else (config.iterations + 1, "iteration")
    changed = {"max_memory": config.max_memory, "device": config.device}
    return fit_in(folder, _model(config), x, y, listener, total=total, step=step, changed=changed)


def _measurable(config: ConvRFMConfig, images: Images) -> int:
    """How many training images are measured: those whose patches, side by side, take a bounded memory."""
    grid = _grid(config, images)
    height, width = grid.sides()[0]
    channels = max(grid.channels, config.width if config.stages else 0)
    a_row = 4 * height * width * channels * config.patch_size**2
    return max(2, _MEASURED_BYTES // a_row)


def by_iteration(model: ConvRFMClassifier) -> pd.DataFrame:
    """One row per iteration: accuracies on training images and on those that choose, and which one predicts."""
    table = pd.DataFrame([{k: v for k, v in entry.items() if k != "notes"} for entry in model.history_])
    crossed = getattr(model, "cross_fitted_scores_", None)
    if crossed is not None:
        table = table.set_index("iteration").reindex(range(len(crossed))).reset_index()
        table["score"] = crossed
    elif "validation_score" in table:
        table["score"] = table["validation_score"]
    table["predicts"] = table["iteration"] == model.best_iteration_
    return _ordered(table, "iteration")


def by_stage(model: DeepConvRFMClassifier, images: Images) -> pd.DataFrame:
    """One row per stage: the iteration it kept, accuracies, and which one predicts."""
    lists = ("notes", "validation_scores")
    table = pd.DataFrame([{k: v for k, v in entry.items() if k not in lists} for entry in model.history_])
    table = table.rename(columns={"layer": "stage", "validation_score": "score"})
    if images.x_test is not None:
        table["test_accuracy"] = [
            float(np.mean(np.asarray(labels) == images.y_test))
            for labels in model.staged_predict(images.x_test)
        ]
    table["predicts"] = table["stage"] == model.best_layer_ + 1
    return _ordered(table, "stage")


def _ordered(table: pd.DataFrame, first: str) -> pd.DataFrame:
    named = [first, "train_accuracy", "score", "test_accuracy", "predicts"]
    columns = [name for name in named if name in table]
    return table[columns + [name for name in table if name not in columns]]


def _layers(model: Model, collapse: Profile, scores: pd.DataFrame, accuracy: float) -> pd.DataFrame:
    """One row per layer of the views: accuracies."""
    if isinstance(model, DeepConvRFMClassifier):
        columns = ["train_accuracy", "test_accuracy", "seconds"]
        return scores.rename(columns={"stage": "layer"}).reindex(columns=["layer", *columns])
    chosen = scores[scores["predicts"]].iloc[0]
    row = {
        "layer": int(collapse.table["layer"].min()),
        "train_accuracy": chosen.get("train_accuracy", np.nan),
        "test_accuracy": accuracy,
    }
    return pd.DataFrame([{**row, "seconds": float(scores["seconds"].sum())}])


def _accuracy(model: Model, images: Images) -> float:
    """On test images, of a ConvRFM; a Deep ConvRFM has it by stage. NaN without them."""
    if images.x_test is None or isinstance(model, DeepConvRFMClassifier):
        return float("nan")
    return float(np.mean(np.asarray(model.predict(images.x_test)) == images.y_test))


def write_pictures(model: Model, images: Images, folder: Path, config: ConvRFMConfig) -> None:
    """Write filters and energies: of the M that predicts, of the identity beside it; of a Deep ConvRFM, its first stage."""
    matrix = model.layers_[0].agop if isinstance(model, DeepConvRFMClassifier) else model.agop_
    name = "first stage" if config.stages else f"iteration {model.best_iteration_}"
    source = images.x if images.x_test is None else images.x_test
    shown = torch.from_numpy(source[: config.pictured])
    write_patches(
        folder,
        {name: matrix.detach().cpu().float()},
        shown,
        stride=config.stride,
        padding=config.padding,
        plain=True,
    )


def _headline(model: Model, scores: pd.DataFrame, measured_accuracy: float, stages: pd.DataFrame) -> str:
    if isinstance(model, DeepConvRFMClassifier):
        return headlines.projected_falls(stages, scores[scores["predicts"]])
    accuracy = "" if np.isnan(measured_accuracy) else f"; test accuracy {measured_accuracy:.3f}"
    best = model.best_iteration_
    if "score" not in scores or len(scores) < 2:
        return f"Iteration {best} predicts{accuracy}."
    first, chosen = (float(scores.loc[scores["iteration"] == i, "score"].iloc[0]) for i in (0, best))
    where = "leave-one-out accuracy" if hasattr(model, "cross_fitted_scores_") else "held-out accuracy"
    if best == 0:
        return f"The fixed kernel predicts: no iteration has a better {where} than {first:.3f}{accuracy}."
    return f"Iteration {best} predicts: {where} {chosen:.3f}, {first:.3f} of the fixed kernel{accuracy}."


def _facts(config: ConvRFMConfig, images: Images, n_classes: int) -> dict[str, str]:
    c, h, w = images.x.shape[1:]
    kernel = f"{config.kernel} kernel" + (
        f" of depth {config.depth}" if config.kernel == "cntk" and not config.stages else ""
    )
    stages = f"{config.stages} stages of {config.width} channels; " if config.stages else ""
    chosen = {
        "validation": f"chosen on {config.validation:.0%} of the training images, which are held out",
        "cross-fitted": "chosen by cross-fitted leave-one-out",
        "last": "the last one predicts",
    }[config.choose]
    return {
        "Points": f"images of {h}×{w} pixels and {c} channels, {n_classes} classes, divided by the largest pixel {images.scale:g}",
        "Model": f"{stages}{kernel}; patches of {config.patch_size}×{config.patch_size}, stride {config.stride}, padding {config.padding}; "
        f"ridge {config.ridge:g} of the largest entry",
        "Iterations": f"{config.iterations} of the metric, {chosen}",
        "AGOP": "at all images that are fitted" if config.n_agop is None else f"at {config.n_agop:,} images",
        "Arithmetic": f"{config.dtype} on {config.device}",
        "Seed": str(config.seed),
    }


def _notes(model: Model) -> list[str]:
    name = "Stage" if isinstance(model, DeepConvRFMClassifier) else "Iteration"
    return [
        f"{name} {entry.get('layer', entry.get('iteration'))}: {note}"
        for entry in model.history_
        for note in entry["notes"]
    ]
