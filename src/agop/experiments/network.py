"""Training a network and measuring its layers as it learns, into a run directory.

config.json                 options, data, versions, machine                      (first)
checkpoint/state.safetensors  weights, optimiser, all tables so far               (while the run is unfinished)
model.safetensors, standardisation.npz   the trained network, and the scaling of its input
profile.csv, layers.csv     the trained network: by layer and stage, by layer
untrained.csv, untrained_layers.csv      the same of a network that was not trained
through.csv, through_layers.csv          the same at the chosen epochs, with a column `epoch`
epochs.csv                  loss, accuracy, learning rate, seconds by epoch
result.json                 headline, facts, notes                                (last)
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from agop import _checks
from agop.datasets import Dataset, Standardiser, load
from agop.experiments import network_summary as summary
from agop.experiments.files import atomic, write_text
from agop.experiments.network_config import NetworkConfig
from agop.experiments.network_listener import NetworkListener
from agop.experiments.rundir import RunDirectory, identity
from agop.networks.models import HeadedNetwork, as_images, build
from agop.networks.state import load_state, save_state, save_weights
from agop.networks.training import Epoch, evaluate, train
from agop.profiles.profile import profile
from agop.profiles.table import Profile

KIND = "network"
MEASURES = ("nc1", "nc2", "trace_within_share", "trace_between_share", "nc3", "nfa")
MODEL, CHECKPOINT = Path("model.safetensors"), Path("checkpoint", "state.safetensors")
UNTRAINED_SEED = 1_000_003
"""Added to the seed for the untrained network, so that its initialisation is a fresh one."""


class _Tables:
    """What the run has found out so far; all of it goes into the checkpoint as text."""

    def __init__(self) -> None:
        self.epochs: list[dict[str, Any]] = []
        self.stages: list[pd.DataFrame] = []
        self.layers: list[pd.DataFrame] = []
        self.notes: dict[str, None] = {}

    def add(self, number: int, measured: Profile) -> None:
        """The profile after an epoch."""
        self.stages.append(measured.table.assign(epoch=number))
        self.layers.append(measured.layers.assign(epoch=number))
        self.notes.update(dict.fromkeys(measured.notes))

    def text(self) -> dict[str, str]:
        """As metadata of a safetensors file."""
        return {
            "epochs": json.dumps(self.epochs),
            "stages": json.dumps([frame.to_dict("list") for frame in self.stages]),
            "layers": json.dumps([frame.to_dict("list") for frame in self.layers]),
            "notes": json.dumps(list(self.notes)),
        }

    @classmethod
    def of(cls, text: Mapping[str, str]) -> _Tables:
        """From what `text` gave."""
        tables = cls()
        tables.epochs = json.loads(text["epochs"])
        tables.stages = [pd.DataFrame(columns) for columns in json.loads(text["stages"])]
        tables.layers = [pd.DataFrame(columns) for columns in json.loads(text["layers"])]
        tables.notes = dict.fromkeys(json.loads(text["notes"]))
        return tables


def run(config: NetworkConfig, out: str | os.PathLike[str], listener: NetworkListener | None = None) -> bool:
    """Do the run that `config` asks for in the directory `out`, or what is left of it.

    Returns
    -------
    bool
        Whether anything was done: False if the directory holds the finished run already.

    Raises
    ------
    ValueError
        One sentence, if the data, an option or the directory can't be used, or the training diverges.
    """
    listener = listener or NetworkListener()
    device = _checks.device("device", config.device)
    data = load(
        config.data, root=config.data_root, download=config.download,
        n_train=config.n_train, n_test=config.n_test, subset=config.subset, seed=config.seed,
    )  # fmt: skip
    fingerprint = data.fingerprint()
    header = {
        "id": identity(KIND, config.identity(), fingerprint),
        "options": config.identity(),
        "data": {"source": data.source, "fingerprint": fingerprint},
        "command": config.command(),
    }
    model = _network(config, data, config.seed)
    n_parameters = sum(parameter.numel() for parameter in model.parameters())
    with RunDirectory(out, KIND, header, needs=20 * n_parameters + 50 * 2**20) as place:
        if place.finished:
            return False
        listener.planned(data, summary.network(config, data, n_parameters))
        _Run(config, data, model.to(device), place, listener).do()
    return True


def _network(config: NetworkConfig, data: Dataset, seed: int) -> HeadedNetwork:
    model = build(
        config.arch,
        data.shape,
        len(data.class_names),
        width=config.width,
        depth=config.depth,
        init_gain=config.init_gain,
        seed=seed,
    )
    return model.to(getattr(torch, config.dtype))


class _Run:
    """One run from its first epoch, or from its checkpoint, to its last file."""

    def __init__(
        self,
        config: NetworkConfig,
        data: Dataset,
        model: HeadedNetwork,
        place: RunDirectory,
        listener: NetworkListener,
    ) -> None:
        self.config, self.data, self.model, self.place, self.listener = config, data, model, place, listener
        self.scaler = Standardiser.of(data.x_train)
        self.x, self.y = self._points(data.x_train, data.y_train)
        self.test = None
        if data.x_test is not None and data.y_test is not None:
            self.test = self._points(data.x_test, data.y_test)
        self.layers = None if config.measure == "all" else _head_layers(model)
        self.tables = _Tables()

    def _points(self, x: np.ndarray, y: np.ndarray) -> tuple[Tensor, Tensor]:
        rows = torch.from_numpy(self.scaler(x, np.dtype(self.config.dtype)))
        if self.config.arch != "mlp":
            rows = as_images(rows, self.data.shape)
        return rows.to(self.config.device), torch.from_numpy(y).to(self.config.device)

    def do(self) -> None:
        """Train, measure, write."""
        began = time.monotonic()
        self._train()
        self.listener.finishing()
        untrained = None
        if self.config.untrained:
            twin = _network(self.config, self.data, self.config.seed + UNTRAINED_SEED)
            untrained = self._profile(twin.to(self.config.device))
        self._write(untrained, time.monotonic() - began)

    def _train(self) -> None:
        config, checkpoint = self.config, self.place.path / CHECKPOINT
        checkpoint.parent.mkdir(exist_ok=True)
        optimiser = config.training().make_optimiser(self.model)
        if checkpoint.exists():
            self.tables = _stored(self.model, optimiser, checkpoint)
        done = len(self.tables.epochs) - 1 if self.tables.epochs else 0
        self.listener.started(done, config.epochs)
        if not self.tables.epochs:
            self._after(Epoch(0, *self._evaluated(self.x, self.y), 0.0, 0.0), optimiser)
        for epoch in train(self.model, self.x, self.y, config.training(), optimiser=optimiser, done=done):
            self._after(epoch, optimiser)

    def _after(self, epoch: Epoch, optimiser: torch.optim.Optimizer) -> None:
        """Note the epoch; measure and save where that is due."""
        row: dict[str, Any] = asdict(epoch) | {"test_loss": None, "test_accuracy": None}
        self.tables.epochs.append(row)
        self.listener.epoch(epoch)
        if not self.config.measured_at(epoch.number):
            return
        if self.test is not None:
            row["test_loss"], row["test_accuracy"] = self._evaluated(*self.test)
        measured = self._profile(self.model)
        self.tables.add(epoch.number, measured)
        with atomic(self.place.path / CHECKPOINT) as partial:
            save_state(self.model, optimiser, partial, self.tables.text())
        nc1 = measured.table[measured.table["stage"] == "input"]["nc1"].iloc[-1]
        self.listener.measured(
            {
                "epoch": epoch.number,
                "loss": epoch.loss,
                "accuracy": epoch.accuracy,
                "test_accuracy": float("nan") if row["test_accuracy"] is None else row["test_accuracy"],
                "nc1": float(nc1),
                "nfa": float(measured.layers["nfa"].iloc[:-1].median()),
            }
        )

    def _evaluated(self, x: Tensor, y: Tensor) -> tuple[float, float]:
        return evaluate(self.model, x, y, self.config.loss)

    def _profile(self, model: nn.Module) -> Profile:
        return profile(
            model, self.x, self.data.y_train, layers=self.layers, measures=MEASURES, pool=self.config.pool
        )

    def _write(self, untrained: Profile | None, seconds: float) -> None:
        folder, tables = self.place.path, self.tables
        with atomic(folder / MODEL) as partial:
            save_weights(self.model, partial)
        with atomic(folder / "standardisation.npz") as partial:
            np.savez(partial, mean=self.scaler.mean, scale=self.scaler.scale)
        stages, layers = tables.stages[-1].drop(columns="epoch"), tables.layers[-1].drop(columns="epoch")
        frames = {
            "profile": without_nc3(stages),
            "layers": with_nc3(layers, stages),
            "through": pd.concat(tables.stages),
            "through_layers": pd.concat(tables.layers),
            "epochs": pd.DataFrame(tables.epochs),
        }
        if untrained is not None:
            frames["untrained"] = without_nc3(untrained.table)
            frames["untrained_layers"] = with_nc3(untrained.layers, untrained.table)
        for name, frame in frames.items():
            write_text(folder / f"{name}.csv", frame.to_csv(index=False))
        notes = [*self.data.notes, *tables.notes]
        if self.scaler.n_constant:
            notes.append(
                f"{self.scaler.n_constant} features are constant over the training points and became 0."
            )
        self.place.finish(summary.result(self.config, self.data, frames, notes, seconds))
        shutil.rmtree(folder / CHECKPOINT.parent, ignore_errors=True)


def _stored(model: nn.Module, optimiser: torch.optim.Optimizer, path: Path) -> _Tables:
    """The tables of a checkpoint, whose weights and buffers the model and the optimiser take over."""
    try:
        return _Tables.of(load_state(model, optimiser, path))
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        remedy = "delete it, and the run begins with the first epoch"
        raise _checks.bad_value(
            "out", "a checkpoint that can be read", f"{str(path)!r} ({reason})", remedy
        ) from None


def _head_layers(model: HeadedNetwork) -> list[str]:
    return [f"head.{name}" for name, part in model.head.named_children() if isinstance(part, nn.Linear)]


def without_nc3(stages: pd.DataFrame) -> pd.DataFrame:
    """The table by layer and stage without NC3, which only the classifier has: no curve over layers."""
    return stages.drop(columns=[name for name in stages if str(name).startswith("nc3")])


def with_nc3(layers: pd.DataFrame, stages: pd.DataFrame) -> pd.DataFrame:
    """The table by layer with the NC3 of the stage that the classifier reads."""
    if "nc3" not in stages:
        return layers
    read = stages[stages["stage"] == "input"].set_index("layer")["nc3"]
    return layers.join(read, on="layer") if read.notna().any() else layers
