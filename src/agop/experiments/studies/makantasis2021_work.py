"""Units of makantasis2021: networks with dense first layers and first layers of rank R, before and after training.

networks   whole.csv  variant ("dense", "rank"; twins of the quarter: "slim", dense with as many weights, "permuted" pixels, "frozen"
                      factors), rank (0: dense), quarter, gain, state, line (state and gain), share (of the dense layer's weights), weights,
                      train_accuracy, test_accuracy, nfa (first layer, training points), mode_nfa (mean over modes)
           modes.csv  variant, rank, quarter, gain, state, share, mode (from 1), nfa
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn

from agop.experiments.studies import mlps
from agop.experiments.tables import write_table
from agop.experiments.units import DataSource, Unit
from agop.gradients.ansatz import nfa_of_weight
from agop.gradients.layers import layer_agops
from agop.gradients.modes import mode_nfa
from agop.networks.blockwise import train_by_blocks
from agop.networks.rank_r import FactoredLinear, blocks_of, tensor_network
from agop.networks.streams import stream
from agop.networks.training import Training, train

_SHUFFLE, _PERMUTE = 22, 23  # uses of a unit's seed


@dataclass(frozen=True)
class Variant:
    """One network: what is constrained, what is trained, what it sees."""

    name: str
    gain: float
    rank: int | None = None
    units: int = 75
    quarter: bool = False


def quarter_of(shape: tuple[int, ...]) -> int:
    """The largest rank with at most a quarter of the dense weights, at least 1."""
    return max(1, prod(shape) // (4 * sum(shape)))


def variants_of(shape: tuple[int, ...], options: dict[str, Any]) -> Iterator[Variant]:
    """The networks of a unit: dense (with true labels), ranks that save weights, and the twins of the quarter."""
    hidden, quarter = int(options["hidden"]), quarter_of(shape)
    ranks = sorted({quarter, *(rank for rank in options["ranks"] if rank * sum(shape) < prod(shape))})
    for gain in options["gains"]:
        if not options["shuffled_labels"]:
            yield Variant("dense", gain, units=hidden)
        for rank in ranks:
            yield Variant("rank", gain, rank, hidden, rank == quarter)
        if options["twins"]:
            yield Variant("frozen", gain, quarter, hidden)
        if options["twins"] and gain == 1:
            yield Variant("permuted", gain, quarter, hidden)
            yield Variant("slim", gain, units=max(1, round(hidden * quarter * sum(shape) / prod(shape))))


def run_networks(unit: Unit, folder: Path) -> list[str]:
    """Train the networks of a unit, and measure each before and after."""
    assert isinstance(unit.data, DataSource)
    points, options = mlps.points_of(unit), dict(unit.options)
    shape = tuple(unit.data.load(unit.seed).shape)
    if options["shuffled_labels"]:
        order = torch.randperm(len(points.y), generator=stream(unit.seed, _SHUFFLE))
        points = replace(points, y=points.y[order])
    pixels = torch.randperm(prod(shape), generator=stream(unit.seed, _PERMUTE))
    permuted = replace(points, x=points.x[:, pixels], x_test=points.x_test[:, pixels])
    whole: list[dict[str, Any]] = []
    modes: list[dict[str, Any]] = []
    for variant in variants_of(shape, options):
        seen = permuted if variant.name == "permuted" else points
        model = tensor_network(
            shape,
            points.n_classes,
            units=variant.units,
            rank=variant.rank,
            init_gain=variant.gain,
            seed=unit.seed,
        )
        for state in ("untrained", "trained"):
            if state == "trained":
                trained(model, shape, seen, options, unit.seed, frozen=variant.name == "frozen")
            weights = sum(part.numel() for part in model[0].parameters())
            about = {
                "variant": variant.name, "rank": variant.rank or 0, "quarter": variant.quarter, "gain": variant.gain, "state": state,
                "share": weights / (int(options["hidden"]) * prod(shape)),
            }  # fmt: skip
            values, by_mode = measured(model, shape, seen)
            whole.append({**about, "line": f"{state}, {variant.gain:g}", "weights": weights, **values})
            modes += [{**about, "mode": mode, "nfa": value} for mode, value in enumerate(by_mode, start=1)]
    write_table(folder, "whole", pd.DataFrame(whole))
    write_table(folder, "modes", pd.DataFrame(modes))
    return []


def trained(
    model: nn.Sequential,
    shape: tuple[int, ...],
    points: mlps.Points,
    options: dict[str, Any],
    seed: int,
    *,
    frozen: bool,
) -> None:
    """Train a network in place, its first layer as it is if `frozen`."""
    model[0].requires_grad_(not frozen)
    names = ("epochs", "batch_size", "lr", "loss", "optimiser")
    how = Training(seed=seed, **{name: options[name] for name in names})
    x = points.x.reshape(-1, *shape)
    if options["way"] == "by-mode":
        blocks = [[part for part in block if part.requires_grad] for block in blocks_of(model)]
        epochs = train_by_blocks(model, x, points.y, how, blocks, inner=int(options["inner"]))
    else:
        epochs = train(model, x, points.y, how)
    for _ in epochs:
        pass
    model.requires_grad_(True).eval()


def measured(
    model: nn.Sequential, shape: tuple[int, ...], points: mlps.Points
) -> tuple[dict[str, float], tuple[float, ...]]:
    """Accuracies, and the NFA correlation of the first layer: whole, and mode by mode."""
    model.eval()
    x, x_test = (rows.reshape(-1, *shape) for rows in (points.x, points.x_test))
    first = first_linear(model)
    agop = next(iter(layer_agops(model, x, [first]).values()))
    weight = first.weight.detach()
    by_mode = mode_nfa(weight.mT @ weight, agop, shape)
    values = {
        "train_accuracy": 1 - mlps.error(model, x, points.y),
        "test_accuracy": 1 - mlps.error(model, x_test, points.y_test),
        "nfa": nfa_of_weight(weight, agop),
        "mode_nfa": sum(by_mode) / len(by_mode),
    }
    return values, by_mode


def first_linear(model: nn.Sequential) -> nn.Linear:
    """The linear map of flattened inputs, factored or dense."""
    return next(part for part in model[0].modules() if isinstance(part, FactoredLinear | nn.Linear))
