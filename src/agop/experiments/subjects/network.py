"""A run of a network: trained, and its layers measured as it learns.

checkpoint/state.safetensors  weights, optimiser, all tables so far               (while the run is unfinished)
model.safetensors, standardisation.npz   the trained network, and the scaling of its input
profile.csv, layers.csv     the trained network: by layer and stage, by layer
untrained.csv, untrained_layers.csv      the same of a network that was not trained
through.csv, through_layers.csv          the same at the chosen epochs, with a column `epoch`
whole.csv, curves.csv       measures of the whole network and those that are curves, if asked for; through_*.csv by epoch
epochs.csv                  loss, accuracy, learning rate, seconds by epoch
trajectory.safetensors      the measurements at the chosen epochs, for `agop.Trajectory.load`
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from agop import _checks
from agop.datasets import Dataset, Standardiser
from agop.experiments import headlines, measured, points
from agop.experiments.files import atomic
from agop.experiments.listener import Listener
from agop.experiments.subject import CHECKPOINTS, Findings, Task
from agop.experiments.subjects.network_config import NetworkConfig
from agop.experiments.subjects.network_tables import Tables
from agop.networks.models import HeadedNetwork, as_images, build
from agop.networks.state import load_state, save_state, save_weights
from agop.networks.training import Epoch, Training, evaluate, train
from agop.profiles.network import Network
from agop.profiles.profile import profile
from agop.profiles.scores import NEAR_CHANCE, Scores
from agop.profiles.table import Profile

MEASURED = ("nc1", "nc2", "trace_within_share", "trace_between_share", "nc3", "nfa")
MODEL, CHECKPOINT = Path("model.safetensors"), Path(CHECKPOINTS, "state.safetensors")
TRAJECTORY = "trajectory.safetensors"
UNTRAINED_SEED = 1_000_003
"""Added to the seed for the untrained network, so that its initialisation is a fresh one."""


class _Run:
    """One network from its first epoch, or from its checkpoint, to its last measurement."""

    def __init__(
        self, config: NetworkConfig, data: Dataset, model: HeadedNetwork, folder: Path, listener: Listener
    ) -> None:
        self.config, self.data, self.model = config, data, model
        self.folder, self.listener = folder, listener
        self.device = torch.device(config.device)
        self.training = Training(
            epochs=config.epochs, batch_size=config.batch_size, lr=config.lr, optimiser=config.optimiser,
            momentum=config.momentum, weight_decay=config.weight_decay, schedule=config.schedule,
            loss=config.loss, seed=config.seed,
        )  # fmt: skip
        self.scaler = Standardiser.of(data.x_train)
        self.x, self.y = self._points(data.x_train, data.y_train)
        self.test = None
        if data.x_test is not None and data.y_test is not None:
            self.test = self._points(data.x_test, data.y_test)
        self.layers = None if config.measure == "all" else _head_layers(model)
        self.tables = Tables()
        self.untrained: Profile | None = None

    def do(self) -> None:
        """Train what is left to train and measure it on the way; at last measure an untrained network."""
        self._train()
        self.listener.measuring()
        if self.config.untrained:
            twin = _network(self.config, self.data, self.config.seed + UNTRAINED_SEED)
            self.untrained = self._profile(twin.to(self.device))

    def _points(self, x: np.ndarray, y: np.ndarray) -> tuple[Tensor, Tensor]:
        rows = torch.from_numpy(self.scaler(x, np.dtype(self.config.dtype)))
        if self.config.arch != "mlp":
            rows = as_images(rows, self.data.shape)
        return rows.to(self.device), torch.from_numpy(y).to(self.device)

    def _train(self) -> None:
        config, checkpoint = self.config, self.folder / CHECKPOINT
        checkpoint.parent.mkdir(exist_ok=True)
        optimiser = self.training.make_optimiser(self.model)
        if checkpoint.exists():
            self.tables = _stored(self.model, optimiser, checkpoint)
        done = len(self.tables.epochs) - 1 if self.tables.epochs else 0
        self.listener.started(done, config.epochs, "epoch")
        if not self.tables.epochs:
            self._after(Epoch(0, *self._evaluated(self.x, self.y), 0.0, 0.0), optimiser)
        for epoch in train(self.model, self.x, self.y, self.training, optimiser=optimiser, done=done):
            self._after(epoch, optimiser)

    def _after(self, epoch: Epoch, optimiser: torch.optim.Optimizer) -> None:
        """Note the epoch; measure and save where that is due."""
        row: dict[str, Any] = asdict(epoch) | {"test_loss": None, "test_accuracy": None}
        self.tables.epochs.append(row)
        self.listener.stepped(epoch.number, self.config.epochs, asdict(epoch))
        if not self.config.measured_at(epoch.number):
            return
        if self.test is not None:
            row["test_loss"], row["test_accuracy"] = self._evaluated(*self.test)
        found = self._profile(self.model)
        self.tables.add(epoch.number, found)
        with atomic(self.folder / CHECKPOINT) as partial:
            save_state(self.model, optimiser, partial, self.tables.text())
        self.listener.measured(
            {
                "epoch": epoch.number,
                "loss": epoch.loss,
                "accuracy": epoch.accuracy,
                "test_accuracy": float("nan") if row["test_accuracy"] is None else row["test_accuracy"],
                **_told(found),
            }
        )

    def _evaluated(self, x: Tensor, y: Tensor) -> tuple[float, float]:
        return evaluate(self.model, x, y, self.config.loss)

    def _profile(self, model: nn.Module) -> Profile:
        subject, asked = Network(model, pool=self.config.pool), self.config.measures or MEASURED
        return profile(subject, self.x, self.data.y_train, layers=self.layers, measures=asked)

    def frames(self) -> dict[str, pd.DataFrame]:
        """Every table by the name of its file."""
        tables = self.tables
        stages, layers = tables.stages[-1].drop(columns="epoch"), tables.layers[-1].drop(columns="epoch")
        frames = {
            "profile": measured.without_classifiers(stages),
            "layers": measured.with_classifiers(layers, stages),
            "through": pd.concat(tables.stages),
            "through_layers": pd.concat(tables.layers),
            "epochs": pd.DataFrame(tables.epochs),
        }
        if self.untrained is not None:
            stages = self.untrained.table
            frames["untrained"] = measured.without_classifiers(stages)
            frames["untrained_layers"] = measured.with_classifiers(self.untrained.layers, stages)
        for name, there in tables.more.items():
            frames |= {name: there[-1].drop(columns="epoch"), f"through_{name}": pd.concat(there)}
        return frames


def _told(found: Profile) -> dict[str, float]:
    """What the terminal shows of a measurement: NC1 where the last layer begins, the median NFA of the layers before; as far as asked."""
    told = {}
    if "nc1" in found.table:
        told["nc1"] = float(found.table[found.table["stage"] == "input"]["nc1"].iloc[-1])
    if "nfa" in found.layers:
        told["nfa"] = float(found.layers["nfa"].iloc[:-1].median())
    return told


class NetworkTask(Task[NetworkConfig, _Run]):
    """Train a network and measure its layers as it learns."""

    def __init__(self, config: NetworkConfig) -> None:
        self.device = _checks.device("device", config.device)
        super().__init__(config)
        self.model = _network(config, self.data, config.seed)
        measured.check(self.model, config.measures)
        self.n_parameters = sum(parameter.numel() for parameter in self.model.parameters())
        self.needs = 20 * self.n_parameters + 50 * 2**20

    def plan(self) -> str:
        """The network in a few words."""
        return f"{_name(self.config, self.data)}, {self.n_parameters:,} parameters"

    def do(self, folder: Path, listener: Listener) -> _Run:
        """Train what is left to train, and measure."""
        run = _Run(self.config, self.data, self.model.to(self.device), folder, listener)
        run.do()
        return run

    def findings(self, found: _Run, folder: Path) -> Findings:
        """The tables; in the folder the network and the scaling of its input."""
        with atomic(folder / MODEL) as partial:
            save_weights(found.model, partial)
        points.write_standardisation(found.scaler, folder)
        found.tables.trajectory().save(folder / TRAJECTORY)
        frames = found.frames()
        scores = _scores(frames["epochs"], self.data)
        return Findings(
            title=f"{_name(self.config, self.data).split(',')[0]} on {self.data.name}",
            headline=f"{headlines.drops(frames['profile'], frames['layers'])} {_accuracy(frames['epochs'])}"
            + (f", {NEAR_CHANCE}." if scores.near_chance else "."),
            facts=_facts(self.config, self.data),
            tables=frames,
            notes=[
                *([f"{scores.warning}; train it longer, or with another learning rate"] * scores.near_chance),
                *found.tables.notes,
                *points.constant_note(found.scaler),
            ],
            shown=measured.shown(found.tables.shown, frames.values()),
        )


def _network(config: NetworkConfig, data: Dataset, seed: int) -> HeadedNetwork:
    model = build(
        config.arch,
        data.shape,
        len(data.class_names),
        width=config.width,
        depth=config.depth,
        init_gain=config.init_gain,
        dropout=config.dropout,
        seed=seed,
    )
    return model.to(getattr(torch, config.dtype))


def _name(config: NetworkConfig, data: Dataset) -> str:
    head = f"{config.width}×{config.depth}-{len(data.class_names)}"
    names = {"mlp": f"MLP {int(np.prod(data.shape))}-{head}", "resnet18": f"ResNet-18, head {head}"}
    return names.get(config.arch, f"VGG-11, head {head}")


def _accuracy(epochs: pd.DataFrame) -> str:
    last = epochs.iloc[-1]
    words = f"Training accuracy {last['accuracy']:.3f}"
    if pd.notna(last["test_accuracy"]):
        words += f", test accuracy {float(last['test_accuracy']):.3f}"
    return words


def _scores(epochs: pd.DataFrame, data: Dataset) -> Scores:
    """The answers of the network after its last epoch."""
    counts = np.bincount(data.y_train)
    last = epochs.iloc[-1]
    return Scores(
        accuracy=float(last["accuracy"]),
        loss=float(last["loss"]),
        chance=float(counts.max() / counts.sum()),
        samples=int(counts.sum()),
    )


def _facts(config: NetworkConfig, data: Dataset) -> dict[str, str]:
    optimiser = f"SGD, momentum {config.momentum:g}" if config.optimiser == "sgd" else "Adam"
    loss = "mean squared error to ±1" if config.loss == "mse" else "cross-entropy"
    return {
        "Points": points.fact(data, len(data.class_names)),
        "Network": f"{config.arch}, head of {config.depth} bias-free ReLU layers of width {config.width:,}, "
        f"Xavier normal initialisation times {config.init_gain:g}"
        + (f", dropout {config.dropout:g} behind each of them" if config.dropout else ""),
        "Training": f"{config.epochs:,} epochs of {optimiser}, learning rate {config.lr:g} ({config.schedule}), "
        f"batches of {config.batch_size:,}, weight decay {config.weight_decay:g}, {loss}",
        "Arithmetic": f"{config.dtype} on {config.device}",
        "Seed": str(config.seed),
        "Measured on": "the training points, in evaluation mode"
        + ("; beside it an untrained network with another seed" if config.untrained else ""),
    }


def _stored(model: nn.Module, optimiser: torch.optim.Optimizer, path: Path) -> Tables:
    """The tables of a checkpoint, whose weights and buffers the model and the optimiser take over."""
    try:
        return Tables.of(load_state(model, optimiser, path))
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        remedy = "delete it, and the run begins with the first epoch"
        raise _checks.bad_value(
            "out", "a checkpoint that can be read", f"{str(path)!r} ({reason})", remedy
        ) from None


def _head_layers(model: HeadedNetwork) -> list[str]:
    return [f"head.{name}" for name, part in model.head.named_children() if isinstance(part, nn.Linear)]
