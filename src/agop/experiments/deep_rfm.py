"""The main job: a Deep RFM on one data set, measured layer by layer, into a run directory.

config.json   options, data, versions, machine          (first)
checkpoint/   the model after its last finished layer    (while the run is unfinished)
model.safetensors, standardisation.npz                   the model, and the scaling of its input
profile.csv   NC1, NC2 of the three stages by layer;  layers.csv   accuracy, seconds, solver by layer
gram.npz      class-sorted Gram matrices of a few layers
result.json   headline, facts, notes                     (last)
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from agop._checks import bad_value
from agop.datasets import Dataset, Standardiser, load
from agop.experiments import gram, summary
from agop.experiments.config import DeepRFMConfig
from agop.experiments.files import atomic, write_text
from agop.experiments.listener import Listener
from agop.experiments.rundir import RunDirectory, identity
from agop.machines.deep_rfm import DeepRFMClassifier
from agop.machines.memory import estimate_memory
from agop.profiles.profile import profile

KIND = "deep-rfm"
GRAM_POINTS = 200
"""Points in a Gram matrix: enough to see the classes, few enough for a page one can mail."""

MODEL, CHECKPOINT = Path("model.safetensors"), Path("checkpoint", "model.safetensors")


def run(config: DeepRFMConfig, out: str | os.PathLike[str], listener: Listener | None = None) -> bool:
    """Do the run that `config` asks for in the directory `out`, or what is left of it.

    Returns
    -------
    bool
        Whether anything was done: False if the directory holds the finished run already.

    Raises
    ------
    ValueError
        One sentence, if the data, an option or the directory can't be used.
    MemoryError
        If the fit would not fit into memory, before it starts.

    """
    listener = listener or Listener()
    data = load(
        config.data,
        root=config.data_root,
        download=config.download,
        n_train=config.n_train,
        n_test=config.n_test,
        subset=config.subset,
        seed=config.seed,
    )
    fingerprint = data.fingerprint()
    header = {
        "id": identity(KIND, config.identity(), fingerprint),
        "options": config.identity(),
        "data": {"source": data.source, "fingerprint": fingerprint},
        "command": config.command(),
    }
    d, c = data.x_train.shape[1], len(np.unique(data.y_train))
    wide = max(d, config.width)
    needs = 2 * 4 * config.layers * wide * (config.width + 2 * wide) + 50 * 2**20
    with RunDirectory(out, KIND, header, needs=needs) as place:
        if place.finished:
            return False
        dtype = getattr(torch, config.dtype)
        memory = estimate_memory(
            len(data.x_train), d, c, width=config.width, n_layers=config.layers, dtype=dtype
        )
        listener.planned(data, str(memory))
        _work(config, data, place, listener)
    return True


def _work(config: DeepRFMConfig, data: Dataset, place: RunDirectory, listener: Listener) -> None:
    scaler = Standardiser.of(data.x_train)
    x_train = scaler(data.x_train, np.dtype(config.dtype))
    began = time.monotonic()
    model = fit_layers(config, x_train, data.y_train, place.path, listener)
    listener.measuring()
    collapse = profile(model, x_train, data.y_train)
    layers = by_layer(
        model, data, scaler(data.x_test, np.dtype(config.dtype)) if data.x_test is not None else None
    )
    frame = collapse.to_frame()
    write_text(place.path / "profile.csv", frame.to_csv(index=False))
    write_text(place.path / "layers.csv", layers.to_csv(index=False))
    write_gram(model, x_train, data, place.path)
    with atomic(place.path / "standardisation.npz") as partial:
        np.savez(partial, mean=scaler.mean, scale=scaler.scale)
    notes = [*place.notes, *data.notes, *_scaling_note(scaler), *collapse.notes, *layer_notes(model)]
    place.finish(summary.deep_rfm(config, data, frame, layers, notes, time.monotonic() - began))
    shutil.rmtree(place.path / CHECKPOINT.parent, ignore_errors=True)


def fit_layers(
    config: DeepRFMConfig, x_train: np.ndarray, y_train: np.ndarray, folder: Path, listener: Listener
) -> DeepRFMClassifier:
    """Fit all layers, from the last checkpoint on if there is one."""
    checkpoint, finished = folder / CHECKPOINT, folder / MODEL
    if finished.exists():
        listener.started(config.layers, config.layers)
        return _stored(finished, config)
    checkpoint.parent.mkdir(exist_ok=True)
    model, done = _model(config), 0
    if checkpoint.exists():
        model = _stored(checkpoint, config)
        done = len(model.history_)
        model.set_params(
            n_layers=config.layers, max_memory=config.max_memory, device=config.device, warm_start=True
        )
    listener.started(done, config.layers)

    def after(index: int, total: int, entry: Mapping[str, Any]) -> None:
        if index + 1 < total:
            model.save(checkpoint)
        listener.layer(index + 1, total, entry)

    model.fit(x_train, y_train, callback=after)
    model.save(finished)
    return model


def _stored(path: Path, config: DeepRFMConfig) -> DeepRFMClassifier:
    try:
        return DeepRFMClassifier.load(path, device=config.device)
    except ValueError as error:
        remedy = "delete it, and the run begins with the first layer"
        raise bad_value("out", "a model that can be read", f"{str(path)!r} ({error})", remedy) from None


def _model(config: DeepRFMConfig) -> DeepRFMClassifier:
    return DeepRFMClassifier(
        n_layers=config.layers,
        width=config.width,
        feature_map=config.feature_map,
        feature_bandwidth=config.feature_bandwidth,
        kernel=config.kernel,
        bandwidth=config.bandwidth,
        ridge=config.ridge,
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


def _scaling_note(scaler: Standardiser) -> list[str]:
    if not scaler.n_constant:
        return []
    count = "1 feature is" if scaler.n_constant == 1 else f"{scaler.n_constant:,} features are"
    return [f"{count} constant over the training points: set to 0."]


def layer_notes(model: DeepRFMClassifier) -> list[str]:
    """The notes of the fit, each with its layer."""
    return [
        f"Layer {number}: {note}"
        for number, entry in enumerate(model.history_, start=1)
        for note in entry["notes"]
    ]
