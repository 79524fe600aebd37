"""The main job: a Deep RFM on one data set, measured layer by layer, into a run directory.

config.json   options, data, versions, machine          (first)
checkpoint/   the model after its last finished layer    (while the run is unfinished)
model.safetensors, standardisation.npz                   the model, and the scaling of its input
profile.csv   NC1, NC2 of the three stages by layer;  layers.csv   accuracy, seconds, solver by layer
gram.npz      class-sorted Gram matrices of a few layers
result.json   headline, facts, notes                     (last)
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
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
from agop.profiles.profile import Profile, profile
from agop.ranks import ALONE, current, sharing

KIND = "deep-rfm"
GRAM_POINTS = 200
"""Points in a Gram matrix: enough to see the classes, few enough for a page one can mail."""

MODEL, CHECKPOINT = Path("model.safetensors"), Path("checkpoint", "model.safetensors")


def run(config: DeepRFMConfig, out: str | os.PathLike[str], listener: Listener | None = None) -> bool:
    """Do the run that `config` asks for in the directory `out`, or what is left of it.

    Under `agop.launched` the ranks share the fit; rank 0 alone writes, and all of them read what an earlier launch left in `out`.

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
    listener, ranks = listener or Listener(), current()
    data = ranks.together(
        lambda: load(
            config.data,
            root=config.data_root,
            download=config.download,
            n_train=config.n_train,
            n_test=config.n_test,
            subset=config.subset,
            seed=config.seed,
        )
    )
    fingerprint = data.fingerprint()
    header = {
        "id": identity(KIND, config.identity(), fingerprint),
        "options": config.identity(),
        "data": {"source": data.source, "fingerprint": fingerprint},
        "command": config.command(),
    }
    ranks.agree("options", str(config.identity()), "give every rank the same ones")
    ranks.agree("data", fingerprint, "give every machine the same files")
    d, c = data.x_train.shape[1], len(np.unique(data.y_train))
    wide = max(d, config.width)
    needs = 2 * 4 * config.layers * wide * (config.width + 2 * wide) + 50 * 2**20
    with ranks.together(lambda: _opened(out, header, needs)) as place:
        if ranks.gather("finished" if place is not None and place.finished else "")[0]:
            return False
        dtype = getattr(torch, config.dtype)
        memory = estimate_memory(
            len(data.x_train),
            d,
            c,
            width=config.width,
            n_layers=config.layers,
            dtype=dtype,
            solver="cg" if config.solver == "cg" else "cholesky",
        )
        listener.planned(data, str(memory))
        began = time.monotonic()
        scaler = Standardiser.of(data.x_train)
        x_train = scaler(data.x_train, np.dtype(config.dtype))
        model = fit_layers(config, x_train, data.y_train, Path(out), listener)
        listener.measuring()
        collapse = profile(model, x_train, data.y_train)
        if place is not None:
            place.notes += _sharing_note(ranks.size, model)
            with sharing(ALONE):
                _write(config, data, place, scaler, model, collapse, began)
    return True


def _opened(
    out: str | os.PathLike[str], header: Mapping[str, Any], needs: int
) -> RunDirectory | AbstractContextManager[None]:
    """The run directory, for rank 0; nothing for the others."""
    return RunDirectory(out, KIND, header, needs=needs) if current().is_main else nullcontext()


def _write(
    config: DeepRFMConfig,
    data: Dataset,
    place: RunDirectory,
    scaler: Standardiser,
    model: DeepRFMClassifier,
    collapse: Profile,
    began: float,
) -> None:
    """Put the tables and the Gram matrices of a fitted model into its directory, and finish it."""
    test = None if data.x_test is None else scaler(data.x_test, np.dtype(config.dtype))
    layers, frame = by_layer(model, data, test), collapse.to_frame()
    write_text(place.path / "profile.csv", frame.to_csv(index=False))
    write_text(place.path / "layers.csv", layers.to_csv(index=False))
    write_gram(model, scaler(data.x_train, np.dtype(config.dtype)), data, place.path)
    with atomic(place.path / "standardisation.npz") as partial:
        np.savez(partial, mean=scaler.mean, scale=scaler.scale)
    notes = [*place.notes, *data.notes, *_scaling_note(scaler), *collapse.notes, *layer_notes(model)]
    place.finish(summary.deep_rfm(config, data, frame, layers, notes, time.monotonic() - began))
    shutil.rmtree(place.path / CHECKPOINT.parent, ignore_errors=True)


def fit_layers(
    config: DeepRFMConfig, x_train: np.ndarray, y_train: np.ndarray, folder: Path, listener: Listener
) -> DeepRFMClassifier:
    """Fit all layers, from the last checkpoint on if there is one: all ranks read it, rank 0 writes it."""
    ranks, checkpoint, finished = current(), folder / CHECKPOINT, folder / MODEL
    there = next((path for path in (finished, checkpoint) if path.exists()), None)
    if not ranks.alone:
        ranks.agree("the model in --out", _digest(there), "choose a folder that all machines share")
    model = ranks.together(lambda: _stored(there, config)) if there else _model(config)
    done = len(model.history_) if there else 0
    listener.started(done, config.layers)
    if there == finished:
        return model
    if there:
        model.set_params(
            n_layers=config.layers, max_memory=config.max_memory, device=config.device, warm_start=True
        )

    def after(index: int, total: int, entry: Mapping[str, Any]) -> None:
        if ranks.is_main and index + 1 < total:
            checkpoint.parent.mkdir(exist_ok=True)
            model.save(checkpoint)
        listener.layer(index + 1, total, entry)

    model.fit(x_train, y_train, callback=after, progress=listener.progress)
    if ranks.is_main:
        model.save(finished)
    return model


def _digest(path: Path | None) -> str:
    if path is None:
        return "none"
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "blake2b").hexdigest()


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
