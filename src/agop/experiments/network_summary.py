"""What a run of a network says about itself in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from agop.datasets import Dataset
from agop.experiments.network_config import NetworkConfig, ProfileConfig


def network(config: NetworkConfig, data: Dataset, n_parameters: int) -> str:
    """The architecture in a few words."""
    head = f"{config.width}×{config.depth}-{len(data.class_names)}"
    name = {"mlp": f"MLP {int(np.prod(data.shape))}-{head}", "resnet18": f"ResNet-18, head {head}"}.get(
        config.arch, f"VGG-11, head {head}"
    )
    return f"{name}, {n_parameters:,} parameters"


def result(
    config: NetworkConfig, data: Dataset, frames: Mapping[str, pd.DataFrame], notes: list[str], seconds: float
) -> dict[str, Any]:
    """The content of `result.json` of `agop network`."""
    layers, epochs = frames["layers"], frames["epochs"]
    optimiser = f"SGD, momentum {config.momentum:g}" if config.optimiser == "sgd" else "Adam"
    loss = "mean squared error to ±1" if config.loss == "mse" else "cross-entropy"
    last = epochs.iloc[-1]
    accuracy = f"training accuracy {last['accuracy']:.3f}"
    if pd.notna(last["test_accuracy"]):
        accuracy += f", test accuracy {float(last['test_accuracy']):.3f}"
    return {
        "title": f"{network(config, data, 0).split(',')[0]} on {data.name}",
        "headline": f"{headline(layers)} {accuracy[0].upper()}{accuracy[1:]}.",
        "facts": {
            "Data": data.source,
            "Points": f"{data.x_train.shape[1]:,} features (shape {'×'.join(map(str, data.shape))}), "
            f"{len(data.class_names)} classes, standardised with the training points",
            "Network": f"{config.arch}, head of {config.depth} bias-free ReLU layers of width {config.width:,}, "
            f"Xavier normal initialisation times {config.init_gain:g}",
            "Training": f"{config.epochs:,} epochs of {optimiser}, learning rate {config.lr:g} ({config.schedule}), "
            f"batches of {config.batch_size:,}, weight decay {config.weight_decay:g}, {loss}",
            "Arithmetic": f"{config.dtype} on {config.device}",
            "Seed": str(config.seed),
            "Measured on": "the training points, in evaluation mode"
            + ("; beside it an untrained network with another seed" if config.untrained else ""),
            "Time": _time(seconds),
        },
        "notes": notes,
        "seconds": seconds,
    }


def profile_result(
    config: ProfileConfig, data: Dataset, layers: pd.DataFrame, notes: list[str], seconds: float
) -> dict[str, Any]:
    """The content of `result.json` of `agop profile`."""
    return {
        "title": f"{config.model} on {data.name}",
        "headline": headline(layers),
        "facts": {
            "Data": data.source,
            "Points": f"{data.x_train.shape[1]:,} features (shape {'×'.join(map(str, data.shape))}), "
            f"{len(data.class_names)} classes"
            + (", standardised with the training points" if config.standardise else ", as they are"),
            "Model": config.model
            + (f" with {config.weights}" if config.weights else " as the factory makes it"),
            "Positions": {"mean": "averaged", "flatten": "side by side", "none": "every position a sample"}[
                config.pool
            ],
            "Measured on": "the training points, in evaluation mode"
            + ("; beside it an untrained copy" if config.untrained else ""),
            "Time": _time(seconds),
        },
        "notes": notes,
        "seconds": seconds,
    }


def headline(layers: pd.DataFrame) -> str:
    """One sentence with the paper's claim as this network shows it, or does not.

    >>> p = pd.DataFrame({"layer": [1, 2], "drop_projection": [0.5, 0.9], "drop_nonlinearity": [0.1, -0.02]})
    >>> headline(p.assign(nfa=[0.9, 0.8]))
    'NC1 falls 30× over all layers, 95 % of that (in log) at the projections; median NFA correlation 0.85.'
    """
    nfa = ""
    if "nfa" in layers and layers["nfa"].notna().any():
        nfa = f"; median NFA correlation {layers['nfa'].median():.2f}"
    if "drop_projection" not in layers:
        return f"{len(layers)} layers were measured{nfa}."
    rows = layers.dropna(subset=["drop_projection", "drop_nonlinearity"])
    projection, rest = rows["drop_projection"].sum(), rows["drop_nonlinearity"].sum()
    total = projection + rest
    if not total > 0:
        return f"NC1 does not fall through the layers{nfa}."
    times = 10**total
    fall = f"{times:.2g}" if times < 10 else f"{times:,.0f}" if times < 1e5 else f"{times:.1e}"
    where = f"{100 * projection / total:.0f} % of that (in log) at the projections"
    if rest < 0:
        where = f"all of it at the projections, {-100 * rest / projection:.0f} % of whose work (in log) the nonlinearities undo"
    return f"NC1 falls {fall}× over all layers, {where}{nfa}."


def _time(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.1f} min"
