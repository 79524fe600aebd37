"""Units of ingrosso2022: networks that see every point once, and RFMs, on nonlinear Gaussian processes and their Gaussian twins.

online     curve.csv   points, step, ipr (mean over units), largest, gaussian (what Gaussian weights have); units.csv   points, unit, ipr,
position, width; whole.csv   points, ipr_before,
           ipr_after, top_half (mean of the larger half of the units), tiling, accuracy (on fresh points); fields.npz   weights of the units
           after training, by data, each over its largest magnitude
rfm        agop.csv    points, accuracy, ipr (mean of the top four eigenvectors of the AGOP), smallest_gap, gaussian, band (share of
off-diagonal energy within
           two pixels); agops.npz   the AGOPs
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from agop.datasets import load
from agop.datasets.nlgp import KINDS, deviation, mixing
from agop.experiments.files import atomic
from agop.experiments.tables import write_table
from agop.experiments.units import Unit
from agop.machines.rfm import RFMClassifier
from agop.networks.streams import stream
from agop.probes.localisation import (
    band_energy,
    eigenvector_localisation,
    inverse_participation_ratio,
    localisation,
)

_WEIGHTS, _POINTS, _TEST = 41, 42, 43  # uses of a unit's seed
_BLOCK = 100
NAMES = {"nonlinear": "nlgp", "gaussian": "nlgp-gaussian"}


def _roots(options: dict[str, Any]) -> dict[tuple[str, float], Float[Tensor, "D D"]]:
    """What white noise is multiplied with, by kind and length."""
    return {
        (kind, length): torch.from_numpy(
            mixing(kind, side=options["side"], axes=1, gain=options["gain"], length=length)
        ).float()
        for length in (options["length"], options["other_length"])
        for kind in KINDS
    }


def _points(
    n: int, generator: torch.Generator, options: dict[str, Any], roots: dict[tuple[str, float], Tensor]
) -> Float[Tensor, "2 m D"]:
    """Fresh points of both kinds: n of class 1, then n of class 0."""
    gain = float(options["gain"])
    found = []
    for kind in KINDS:
        halves = []
        for length in (options["length"], options["other_length"]):
            z = torch.randn(n, options["side"], generator=generator) @ roots[kind, length]
            halves.append(torch.erf(gain * z / math.sqrt(2)) / deviation(gain) if kind == "nonlinear" else z)
        found.append(torch.cat(halves))
    return torch.stack(found)


class _Networks:
    """Two networks, one for each kind of data, that start from the same weights: f(x) = Σ_k a_k erf((w_k·x / √D + b_k) / √2)."""

    def __init__(self, options: dict[str, Any], seed: int) -> None:
        units, side = int(options["units"]), int(options["side"])
        generator = stream(seed, _WEIGHTS)
        signs = torch.where(torch.arange(units) < units // 2, 1.0, -1.0)
        # biases of both signs: with one the units stay symmetric, and learning stalls
        start = (
            torch.randn(units, side, generator=generator),
            signs[None],
            torch.randn(units, 1, generator=generator) / math.sqrt(units),
        )
        self.weight, self.bias, self.readout = (part.repeat(2, 1, 1).requires_grad_() for part in start)

    def __call__(self, x: Float[Tensor, "2 m D"]) -> Float[Tensor, "2 m 1"]:
        hidden = x @ self.weight.mT / math.sqrt(x.shape[-1]) + self.bias
        return torch.erf(hidden / math.sqrt(2)) @ self.readout


def _trained(networks: _Networks, options: dict[str, Any], seed: int) -> Iterator[int]:
    """Adam on the squared loss to targets ±1, every point once; yields the number of steps now and then."""
    half, roots = int(options["batch_size"]) // 2, _roots(options)
    generator = stream(seed, _POINTS)
    y = torch.cat([torch.ones(half), -torch.ones(half)])[None, :, None]
    optimiser = torch.optim.Adam([networks.weight, networks.bias, networks.readout], lr=options["lr"])
    yield 0
    for first in range(0, int(options["steps"]), _BLOCK):
        block = _points(half * _BLOCK, generator, options, roots)
        block = block.reshape(2, 2, _BLOCK, half, -1).transpose(1, 2).flatten(2, 3)
        for step in range(_BLOCK):
            optimiser.zero_grad(set_to_none=True)
            (networks(block[:, step]) - y).square().mean((1, 2)).sum().backward()
            optimiser.step()
        yield first + _BLOCK


def run_online(unit: Unit, folder: Path) -> list[str]:
    """Train on both kinds of data at once, and see where the weights of each unit lie."""
    options = dict(unit.options)
    networks, curve, steps = _Networks(options, unit.seed), [], int(options["steps"])
    gaussian = 3 / (int(options["side"]) + 2)
    before = inverse_participation_ratio(networks.weight.detach()[0])
    for step in _trained(networks, options, unit.seed):
        if step % (steps // 10) and step != steps:
            continue
        for kind, weight in zip(KINDS, networks.weight.detach(), strict=True):
            each = inverse_participation_ratio(weight)
            curve.append(
                {
                    "points": kind,
                    "step": step,
                    "ipr": float(each.mean()),
                    "largest": float(each.max()),
                    "gaussian": gaussian,
                }
            )
    write_table(folder, "curve", pd.DataFrame(curve))
    roots = _roots(options)
    with torch.no_grad():
        decided = networks(_points(5000, stream(unit.seed, _TEST), options, roots))[..., 0] > 0
    right = (decided == (torch.arange(10_000) < 5000)).double().mean(1)
    units, whole, fields = [], [], {}
    for number, kind in enumerate(KINDS):
        weight = networks.weight.detach()[number]
        found = localisation(weight)
        top = found.ipr.sort(descending=True).values[: len(weight) // 2]
        whole.append(
            {
                "points": kind,
                "ipr_before": float(before.mean()),
                "ipr_after": float(found.ipr.mean()),
                "top_half": float(top.mean()),
                "top_half_before": float(before.sort(descending=True).values[: len(before) // 2].mean()),
                "tiling": found.tiling,
                "accuracy": float(right[number]),
            }
        )
        for index in range(len(weight)):
            row = {"ipr": found.ipr[index], "position": found.position[index, 0], "width": found.width[index]}
            units.append(
                {"points": kind, "unit": index, **{name: float(value) for name, value in row.items()}}
            )
        weight = weight[found.position[:, 0].argsort()]
        fields[kind] = (weight / weight.abs().amax(1, keepdim=True)).numpy()
    write_table(folder, "units", pd.DataFrame(units))
    write_table(folder, "whole", pd.DataFrame(whole))
    with atomic(folder / "fields.npz") as file:
        np.savez_compressed(file, **fields)  # type: ignore[arg-type]
    return []


def run_rfm(unit: Unit, folder: Path) -> list[str]:
    """The AGOP of an RFM on points of both kinds."""
    options, rows, matrices = dict(unit.options), [], {}
    parameters = {name: options[name] for name in ("side", "gain", "length", "other_length", "train", "test")}
    for kind in KINDS:
        data = load(NAMES[kind], seed=unit.seed, parameters=parameters)
        assert data.x_test is not None
        # pixels of one scale, and the metric of the paper
        model = RFMClassifier(
            n_iter=options["iterations"],
            bandwidth=options["bandwidth"],
            bandwidth_factor=1.0,
            ridge=options["ridge"],
            power=0.5,
            scaling="none",
            center_targets=False,
        )
        model.fit(data.x_train, data.y_train)
        matrix = torch.as_tensor(model.agop_).double()
        found = eigenvector_localisation(matrix, options["vectors"])
        rows.append(
            {
                "points": kind,
                "accuracy": float(np.mean(model.predict(data.x_test) == data.y_test)),
                "ipr": float(found) if found.defined else float("nan"),
                "smallest_gap": found.details["smallest_gap"],
                "gaussian": 3 / (int(options["side"]) + 2),
                "band": float(band_energy(matrix, 2)),
            }
        )
        matrices[kind] = (matrix / matrix.abs().max()).numpy()
    write_table(folder, "agop", pd.DataFrame(rows))
    with atomic(folder / "agops.npz") as file:
        np.savez_compressed(file, **matrices)  # type: ignore[arg-type]
    return []
