"""Units of Deep RFM and of its controls: every stage of every layer, on training points and on points held out.

profile.csv   points ("train" or "test"), layer, stage, nc1, nc2; with label noise also nc1_true (against the true labels)
layers.csv    accuracy by layer (not for controls)
gram.npz      class-sorted Gram matrices of a few layers (not for controls)
"""

from __future__ import annotations

import shutil
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from agop.datasets import Dataset, Standardiser
from agop.experiments import fitting
from agop.experiments.listener import Listener
from agop.experiments.studies.beaglehole2024.controls import control_profile
from agop.experiments.subjects import deep_rfm
from agop.experiments.subjects.deep_rfm_config import DeepRFMConfig
from agop.experiments.tables import write_table
from agop.experiments.units import Unit
from agop.machines.deep_rfm import DeepRFMClassifier
from agop.profiles.profile import profile

_OPTIONS = {entry.name for entry in fields(DeepRFMConfig)}


def config_of(unit: Unit) -> DeepRFMConfig:
    """The Deep RFM of a unit."""
    return DeepRFMConfig(
        **{name: value for name, value in unit.options.items() if name in _OPTIONS}, seed=unit.seed
    )


def points_of(unit: Unit) -> Dataset:
    """The points of a unit."""
    assert unit.data is not None
    data = unit.data.load(unit.seed)
    assert isinstance(data, Dataset)
    return data


def run_stack(unit: Unit, folder: Path) -> list[str]:
    """Fit the Deep RFM of a unit, layer by layer with checkpoints, and measure it."""
    config, original = config_of(unit), points_of(unit)
    data = with_noise(
        with_imbalance(original, unit.options.get("imbalance")), unit.options.get("noise"), unit.seed
    )
    true = with_imbalance(original, unit.options.get("imbalance")).y_train
    x_train, x_test = standardised(data, config.dtype)
    model = deep_rfm.fit_layers(config, x_train, data.y_train, folder, Listener())
    rows = [measured(model, x_train, data.y_train).assign(points="train")]
    if unit.options.get("noise"):
        rows[0]["nc1_true"] = measured(model, x_train, true)["nc1"]
    if unit.options.get("permuted"):
        order = np.random.default_rng([unit.seed, 2]).permutation(len(x_train))
        rows[0]["nc1_permuted"] = measured(model, x_train, data.y_train[order])["nc1"]
    if x_test is not None and data.y_test is not None:
        rows.append(measured(model, x_test, data.y_test).assign(points="test"))
    table = pd.concat(rows, ignore_index=True)
    first = ["points", "layer", "stage"]
    write_table(folder, "profile", table[first + [name for name in table if name not in first]])
    write_table(folder, "layers", deep_rfm.by_layer(model, data, x_test).drop(columns="seconds"))
    deep_rfm.write_gram(model, x_train, data, folder)
    shutil.rmtree(folder / fitting.CHECKPOINT.parent, ignore_errors=True)
    (
        folder / fitting.MODEL
    ).unlink()  # the numbers are what is kept: a seed and a second bring the model back
    return [*data.notes, *deep_rfm.layer_notes(model)]


def run_control(unit: Unit, folder: Path) -> list[str]:
    """Run Deep RFM with another projection; see controls.py."""
    config, data = config_of(unit), points_of(unit)
    x_train, x_test = standardised(data, config.dtype)
    table = control_profile(
        unit.options["rule"],
        torch.from_numpy(x_train),
        torch.from_numpy(data.y_train),
        None if x_test is None else torch.from_numpy(x_test),
        None if data.y_test is None else torch.from_numpy(data.y_test),
        config,
    )
    write_table(folder, "profile", table)
    return list(data.notes)


def standardised(data: Dataset, dtype: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Training and test points, scaled with the statistics of the training points."""
    scaler = Standardiser.of(data.x_train)
    test = None if data.x_test is None else scaler(data.x_test, np.dtype(dtype))
    return scaler(data.x_train, np.dtype(dtype)), test


def measured(model: DeepRFMClassifier, x: np.ndarray, y: np.ndarray) -> pd.DataFrame:
    """NC1 and NC2 of every stage on labelled points."""
    return profile(model, x, y).to_frame()[["layer", "stage", "nc1", "nc2"]]


def with_noise(data: Dataset, share: Any, seed: int) -> Dataset:
    """The data with this share of training labels replaced by another class, drawn uniformly."""
    if not share:
        return data
    rng = np.random.default_rng([seed, 0])
    labels, classes = data.y_train.copy(), np.unique(data.y_train)
    rows = rng.choice(len(labels), size=round(share * len(labels)), replace=False)
    position = np.searchsorted(classes, labels[rows])
    labels[rows] = classes[(position + rng.integers(1, len(classes), size=len(rows))) % len(classes)]
    return replace(data, y_train=labels)


def with_imbalance(data: Dataset, ratio: Any) -> Dataset:
    """The data with class sizes that fall geometrically from the first class to the last, whose size is `ratio` of the first's.

    The first points of each class are kept, at least two.
    """
    if not ratio:
        return data
    classes, counts = np.unique(data.y_train, return_counts=True)
    shares = np.geomspace(1, ratio, len(classes))
    largest = int(np.min(counts / shares))
    kept = [
        np.flatnonzero(data.y_train == label)[: max(2, int(largest * share))]
        for label, share in zip(classes, shares, strict=True)
    ]
    rows = np.sort(np.concatenate(kept))
    return replace(data, x_train=data.x_train[rows], y_train=data.y_train[rows])
