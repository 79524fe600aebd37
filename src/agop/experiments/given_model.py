"""A model of the user's as options describe it: what it is given, and what is measured of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from agop import _checks
from agop.datasets import Dataset, Standardiser
from agop.experiments.input_statistics import read_statistics
from agop.experiments.subjects.user_model_config import ProfileConfig
from agop.networks.models import as_images
from agop.profiles.network import Network

MEASURED = ("nc1", "nc2", "nc3", "nfa")


def measures_of(config: ProfileConfig) -> tuple[str, ...]:
    """What was asked for, without the NFA if its AGOPs are not wanted."""
    asked = config.measures or MEASURED
    return asked if config.nfa else tuple(name for name in asked if name != "nfa")


def scaler_of(config: ProfileConfig, data: Dataset) -> Standardiser | None:
    """What scales the points: statistics of the model's training, or of the points themselves, or nothing."""
    if config.statistics is not None:
        return read_statistics(config.statistics, data.shape)
    return Standardiser.of(data.x_train) if config.standardise else None


def points_of(config: ProfileConfig, model: nn.Module, data: Dataset, scaler: Standardiser | None) -> Tensor:
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


def layers_of(config: ProfileConfig) -> list[str] | None:
    """The layers that were asked for; None for all."""
    return None if config.layers is None else [name.strip() for name in config.layers.split(",")]


def subject_of(config: ProfileConfig, model: nn.Module) -> Network:
    """The model with the options that belong to it."""
    return Network(model, pool=config.pool)


@contextmanager
def refusals(x: Tensor) -> Iterator[None]:
    """Say in a sentence that the model does not take the points."""
    try:
        yield
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
