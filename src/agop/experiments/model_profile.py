"""A model of the user's, measured on one data set, into a run directory.

config.json   options, data, model, versions, machine   (first)
profile.csv, layers.csv                the model: by layer and stage, by layer
untrained.csv, untrained_layers.csv    the same of an untrained copy
result.json   headline, facts, notes                    (last)
"""

from __future__ import annotations

import os
import time

import numpy as np
import torch
from torch import Tensor, nn

from agop import _checks
from agop.datasets import Dataset, Standardiser, load
from agop.experiments import network_summary as summary
from agop.experiments import user_model
from agop.experiments.files import write_text
from agop.experiments.network import with_nc3, without_nc3
from agop.experiments.network_config import ProfileConfig
from agop.experiments.rundir import RunDirectory, identity
from agop.networks.models import as_images
from agop.profiles.profile import profile
from agop.profiles.table import Profile

KIND = "profile"


def run(config: ProfileConfig, out: str | os.PathLike[str]) -> bool:
    """Do the run that `config` asks for in the directory `out`; False if it holds the finished run already.

    Raises
    ------
    ValueError
        One sentence, if the model, its weights, the data or the directory can't be used.
    """
    began = time.monotonic()
    device = _checks.device("device", config.device)
    model, notes = _model(config)
    data = load(
        config.data, root=config.data_root, download=config.download,
        n_train=config.n_train, n_test=config.n_test, subset=config.subset, seed=config.seed,
    )  # fmt: skip
    known = data.fingerprint() + user_model.fingerprint(model)
    header = {
        "id": identity(KIND, config.identity(), known),
        "options": config.identity(),
        "data": {"source": data.source, "fingerprint": data.fingerprint()},
        "command": config.command(),
    }
    with RunDirectory(out, KIND, header, needs=10 * 2**20) as place:
        if place.finished:
            return False
        x = _points(config, model, data, notes).to(device)
        measured = _profile(config, model.to(device), x, data)
        frames = {
            "profile": without_nc3(measured.table),
            "layers": with_nc3(measured.layers, measured.table),
        }
        if config.untrained:
            twin = _twin(config, model.cpu(), notes)
            untrained = _profile(config, twin.to(device), x, data)
            frames["untrained"] = without_nc3(untrained.table)
            frames["untrained_layers"] = with_nc3(untrained.layers, untrained.table)
        for name, frame in frames.items():
            write_text(place.path / f"{name}.csv", frame.to_csv(index=False))
        notes = [*data.notes, *notes, *measured.notes]
        layers = frames["layers"]
        place.finish(summary.profile_result(config, data, layers, notes, time.monotonic() - began))
    return True


def _model(config: ProfileConfig) -> tuple[nn.Module, list[str]]:
    model = user_model.make(config.model)
    if config.weights is not None:
        user_model.fill(model, config.weights, trust_pickle=config.trust_pickle)
    return model, []


def _points(config: ProfileConfig, model: nn.Module, data: Dataset, notes: list[str]) -> Tensor:
    """The training points as the model takes them: images for a model with convolutions, else rows."""
    if config.standardise:
        scaler = Standardiser.of(data.x_train)
        x = torch.from_numpy(scaler(data.x_train, np.dtype("float32")))
        if scaler.n_constant:
            notes.append(f"{scaler.n_constant} features are constant over the training points and became 0.")
    else:
        x = torch.from_numpy(data.x_train.astype(np.float32))
    parameter = next(model.parameters(), None)
    if parameter is not None and parameter.is_floating_point():
        x = x.to(parameter.dtype)
    points = config.points
    if points == "auto":
        convolutional = any(isinstance(part, nn.modules.conv._ConvNd) for part in model.modules())
        points = "images" if convolutional else "rows"
    return as_images(x, data.shape) if points == "images" else x


def _profile(config: ProfileConfig, model: nn.Module, x: Tensor, data: Dataset) -> Profile:
    layers = None if config.layers is None else [name.strip() for name in config.layers.split(",")]
    measures = ("nc1", "nc2", "nc3", *(("nfa",) if config.nfa else ()))
    try:
        return profile(model, x, data.y_train, layers=layers, measures=measures, pool=config.pool)
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
    fresh = user_model.make(config.model)
    if config.weights is not None and fresh is not model and not user_model.same_parameters(fresh, model):
        return fresh
    twin, kept = user_model.untrained_copy(model, config.seed + 1)
    if kept:
        shown = ", ".join(kept[:5]) + (f" and {len(kept) - 5} more" if len(kept) > 5 else "")
        notes.append(f"the untrained copy keeps the values of {shown}: no module knows how to draw them")
    return twin
