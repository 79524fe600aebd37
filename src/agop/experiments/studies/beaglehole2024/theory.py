"""Units of the theory: the linearised Deep RFM predicted and measured, its reach, and kernel learning.

linearised:  curves.csv   set, lambda_k, lambda_phi, layer, predicted, measured (NC1 of the projected stage)
             rates.csv    set, lambda_k, lambda_phi, ratio, closed_form, measured (factor per layer in the end), distance (to YYᵀ)
             wide.csv     width, layer, predicted, measured, error
reach:       curves.csv   layer, measured, step (predicted from the layer's own input), rollout (from the first layer's input)
             shifts.csv   layer, lambda_k, kernel_offset, kernel_r2, lambda_phi, feature_offset, feature_r2
kernel:      path.csv     classes ("balanced" or "imbalanced"), step, value, gap, distance, distance_permuted
             kernels.npz  the first and the last kernel of each path, sorted by class
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from agop.collapse import ClassMoments, nc1
from agop.experiments.files import atomic
from agop.experiments.studies.beaglehole2024.stacks import config_of, points_of, standardised
from agop.experiments.tables import write_table
from agop.experiments.units import Unit
from agop.kernels import Laplace
from agop.machines.deep_rfm import DeepRFMClassifier
from agop.machines.deep_rfm_layer import unit_rows
from agop.theory.kernel_learning import collapsed_kernel, learn_kernel, one_hot
from agop.theory.linear_machine import linear_deep_rfm
from agop.theory.linearised import limit, linearised_layers, ridge_shift
from agop.view import LayerView

FLOOR = 1e-14
"""Below this, the NC1 of measured features is rounding, and no prediction is compared with it."""

_TOY = {"classes": 4, "per_class": 25, "d": 200, "spread": 0.5}


def run_linearised(unit: Unit, folder: Path) -> list[str]:
    """Predict and measure the linear Deep RFM on a toy set and on the unit's data, for every pair of shifts."""
    curves, rates = [], []
    n_layers = int(unit.options["layers"])
    for name, X, labels in _sets(unit):
        Y = one_hot(labels)
        for lambda_k, lambda_phi in unit.options["shifts"]:
            predicted = _nc1s(linearised_layers(X @ X.mT, Y, lambda_k, lambda_phi, n_layers), labels)
            views = list(linear_deep_rfm(X, Y, lambda_k, lambda_phi, n_layers))
            measured = [_projected_nc1(view, labels) for view in views]
            pair = {"set": name, "lambda_k": lambda_k, "lambda_phi": lambda_phi}
            curves += [
                {**pair, "layer": layer, "predicted": p, "measured": m}
                for layer, (p, m) in enumerate(zip(predicted, measured, strict=True), start=1)
            ]
            Z = views[-1].projected
            assert Z is not None
            rates.append(
                {
                    **pair,
                    "ratio": lambda_k / lambda_phi,
                    "closed_form": limit(Y, lambda_k, lambda_phi).nc1_factor,
                    "measured": _last_factor(measured),
                    "distance": _direction_distance(Z @ Z.mT, Y @ Y.mT),
                }
            )
    write_table(folder, "curves", pd.DataFrame(curves))
    write_table(folder, "rates", pd.DataFrame(rates))
    write_table(folder, "wide", _wide(unit))
    return []


def _wide(unit: Unit) -> pd.DataFrame:
    """The linear Deep RFM with random features of growing width."""
    _, X, labels = next(_sets(unit))
    Y, rows = one_hot(labels), []
    lambda_k, lambda_phi = unit.options["wide_shifts"]
    predicted = _nc1s(linearised_layers(X @ X.mT, Y, lambda_k, lambda_phi, 4), labels)
    for width in unit.options["widths"]:
        generator = torch.Generator().manual_seed(1000 * unit.seed + 1)
        views = linear_deep_rfm(X, Y, lambda_k, lambda_phi, 4, width=int(width), generator=generator)
        for layer, (view, value) in enumerate(zip(views, predicted, strict=True), start=1):
            found = _projected_nc1(view, labels)
            row = {"width": width, "layer": layer, "predicted": value, "measured": found}
            rows.append({**row, "error": abs(found - value) / value})
    return pd.DataFrame(rows)


def run_reach(unit: Unit, folder: Path) -> list[str]:
    """How far the linearised theory predicts a Deep RFM with its radial kernel and its random features."""
    config, data = config_of(unit), points_of(unit)
    x_train, _ = standardised(data, "float64")
    labels = torch.from_numpy(data.y_train)
    model = DeepRFMClassifier(
        n_layers=config.layers, width=config.width, bandwidth=config.bandwidth, ridge=config.ridge,
        feature_map=config.feature_map, dtype="float64", random_state=unit.seed,
    ).fit(x_train, data.y_train)  # fmt: skip
    Y = 2 * one_hot(labels) - 1
    Y = Y[:, Y.amax(0) > 0]  # a column for each class that has samples, as the estimator's targets
    kernel, notes = Laplace(bandwidth=config.bandwidth), []
    curves: list[dict[str, Any]] = []
    shifts: list[dict[str, Any]] = []
    for layer, view in enumerate(model.views(x_train), start=1):
        X, Z = view.input, view.projected
        assert Z is not None
        G, P = X @ X.mT, Z @ Z.mT
        seen, made = ridge_shift(kernel(X), G), ridge_shift(view.output @ view.output.mT, P)
        if made.shift < 0:
            notes.append(f"Layer {layer}: the features' estimated shift is {made.shift:.3g}, taken as 0.")
        # the features scale with P; the theory's P is in the units of Y, so shifts go with the trace
        unit_of_p = float((Y.square().sum()) / P.diagonal().sum())
        row = {
            "layer": layer,
            "lambda_k": max(0.0, seen.shift) + config.ridge / seen.slope,
            "kernel_offset": max(0.0, seen.offset),
            "kernel_r2": seen.r2,
            "lambda_phi": max(0.0, made.shift) * unit_of_p,
            "feature_offset": max(0.0, made.offset) * unit_of_p,
            "feature_r2": made.r2,
        }
        shifts.append(row)
        step = linearised_layers(
            G, Y, row["lambda_k"], 0.0, 1, normalise="none", kernel_offset=row["kernel_offset"]
        )
        curves.append(
            {
                "layer": layer,
                "measured": float(nc1(ClassMoments.of(Z, labels))),
                "step": _nc1s(step, labels)[0],
            }
        )
    first, X = shifts[0], unit_rows(torch.from_numpy(x_train))
    rollout = linearised_layers(
        X @ X.mT, Y, first["lambda_k"], first["lambda_phi"], config.layers, normalise="rows",
        kernel_offset=first["kernel_offset"], feature_offset=first["feature_offset"],
    )  # fmt: skip
    table = pd.DataFrame(curves)
    table["rollout"] = _nc1s(rollout, labels)
    write_table(folder, "curves", table)
    write_table(folder, "shifts", pd.DataFrame(shifts))
    return notes


def run_kernel(unit: Unit, folder: Path) -> list[str]:
    """Learn the kernel of a few points of each class, from their Laplace kernel on, with balanced and with imbalanced classes."""
    data = points_of(unit)
    x_train, _ = standardised(data, "float64")
    present = np.unique(data.y_train)
    most, tables = int(unit.options["per_class"]), []
    kernels: dict[str, np.ndarray] = {}
    for name in ("balanced", "imbalanced"):
        sizes = [most] * len(present)
        if name == "imbalanced":
            sizes = [max(1, round(size)) for size in np.geomspace(2 * most, 1, len(present))]
        rows = np.concatenate(
            [np.flatnonzero(data.y_train == c)[:size] for c, size in zip(present, sizes, strict=True)]
        )
        labels = torch.from_numpy(np.unique(data.y_train[rows], return_inverse=True)[1])
        X = unit_rows(torch.from_numpy(x_train[rows]))
        start = Laplace(bandwidth=float(unit.options["bandwidth"]))(X)
        learned = learn_kernel(
            start, labels, float(unit.options["mu"]), max_steps=int(unit.options["max_steps"])
        )
        permuted = collapsed_kernel(labels[torch.randperm(len(labels), generator=_generator(unit))])
        table = pd.DataFrame({"value": learned.values, "gap": learned.gaps, "distance": learned.distances})
        table.insert(0, "classes", name)
        table.insert(1, "step", np.arange(len(table)))
        table["distance_permuted"] = np.nan
        last = float((learned.kernel - permuted).norm() / permuted.norm())
        table.loc[table.index[-1], "distance_permuted"] = last
        tables.append(table)
        kernels |= {f"{name}/start": start.numpy(), f"{name}/end": learned.kernel.numpy()}
        kernels[f"{name}/labels"] = labels.numpy()
    write_table(folder, "path", pd.concat(tables, ignore_index=True))
    with atomic(folder / "kernels.npz") as partial:
        np.savez_compressed(partial, **kernels)  # type: ignore[arg-type]
    return []


def _sets(unit: Unit) -> Iterator[tuple[str, Float[Tensor, "n d"], Int[Tensor, " n"]]]:
    """The toy set, and points of the unit's data: rows, float64, with labels 0..C-1."""
    generator = _generator(unit)
    n_classes, d = int(_TOY["classes"]), int(_TOY["d"])
    labels = torch.arange(n_classes).repeat_interleave(int(_TOY["per_class"]))
    means = _TOY["spread"] * torch.randn(n_classes, d, generator=generator, dtype=torch.float64)
    noise = torch.randn(len(labels), d, generator=generator, dtype=torch.float64)
    yield "toy", (means[labels] + noise) / d**0.5, labels
    data = points_of(unit)
    x_train, _ = standardised(data, "float64")
    yield (
        unit.label,
        torch.from_numpy(x_train),
        torch.from_numpy(np.unique(data.y_train, return_inverse=True)[1]),
    )


def _generator(unit: Unit) -> torch.Generator:
    return torch.Generator().manual_seed(1000 * unit.seed)


def _nc1s(layers: list[Any], labels: Int[Tensor, " n"]) -> list[float]:
    return [float(nc1(ClassMoments.of(layer.fitted, labels))) for layer in layers]


def _projected_nc1(view: LayerView, labels: Int[Tensor, " n"]) -> float:
    assert view.projected is not None
    return float(nc1(ClassMoments.of(view.projected, labels)))


def _last_factor(values: list[float]) -> float:
    """The factor from layer to layer at the end of a curve, before rounding takes over."""
    usable = [value for value in values if value > FLOOR]
    return usable[-1] / usable[-2] if len(usable) > 1 else float("nan")


def _direction_distance(P: Float[Tensor, "n n"], target: Float[Tensor, "n n"]) -> float:
    """Frobenius distance of two matrices of norm 1."""
    return float((P / P.norm() - target / target.norm()).norm())
