"""What `dang2023` computes: trained models beside their closed form.

errors.csv    one row for each number of layers: relative errors of Gram matrices, distances from frames, and those of controls
classes.csv   one row for each class and layer: predicted and trained
beside.csv    the joined profiles
sweep.csv     one row for each decay
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.optimize import brentq
from torch import Tensor

from agop.collapse.moments import ClassMoments
from agop.collapse.variability import nc1
from agop.experiments.tables import write_table
from agop.experiments.units import Unit
from agop.networks.unconstrained_features import (
    UnconstrainedFeatures,
    UnconstrainedFit,
    train_unconstrained_features,
)
from agop.profiles.network import Network
from agop.profiles.profile import profile
from agop.theory.deep_linear import DeepLinearCollapse, deep_linear_collapse

TOLERANCE = 1e-9
"""Of the gradient, whose rounding is about 1e-10."""

MEASURES = ("nc2_orthogonal", "nc3", "weight_singular_values")


def trained(
    *, seed: int, counts: Sequence[int], layers: Sequence[int], decay: float, bias: bool, width: int
) -> list[UnconstrainedFit]:
    """A model for each number of layers."""
    return [
        train_unconstrained_features(
            counts, n_layers=M, width=width, weight_decay=decay, feature_decay=decay, bias=bias, random_state=seed,
            tolerance=TOLERANCE,
        )
        for M in layers
    ]  # fmt: skip


def run_case(unit: Unit, folder: Path) -> list[str]:
    """Train the models of a case, and compare each with its closed form and with what it should not be."""
    told = dict(unit.data.parameters)  # type: ignore[union-attr]
    errors, classes, besides, notes = [], [], [], []
    for M, fit in zip(told["layers"], unit.data.load(unit.seed), strict=True):  # type: ignore[union-attr]
        theory = _theory(told, M)
        errors.append({"layers": M, **_errors(fit, theory, told, unit.seed)})
        classes += _classes(fit, theory)
        besides.append(_beside(fit, theory))
        if not fit.converged:
            notes.append(
                f"Training of {M} layers ended after {fit.steps} steps with a gradient of {fit.gradient:.1e}."
            )
    write_table(folder, "errors", pd.DataFrame(errors))
    write_table(folder, "classes", pd.DataFrame(classes))
    write_table(folder, "beside", pd.concat(besides, ignore_index=True))
    return notes


def _theory(told: dict[str, Any], M: int, counts: Sequence[int] | None = None) -> DeepLinearCollapse:
    decay = told["decay"]
    return deep_linear_collapse(
        told["counts"] if counts is None else counts, n_layers=M, weight_decay=decay, feature_decay=decay,
        bias=told["bias"], width=told["width"],
    )  # fmt: skip


def _errors(
    fit: UnconstrainedFit, theory: DeepLinearCollapse, told: dict[str, Any], seed: int
) -> dict[str, float]:
    M, C = theory.n_layers, theory.n_classes
    features = fit.model.features.detach()
    other = [*told["counts"][1:], told["counts"][0]]
    raw = UnconstrainedFeatures(
        len(fit.labels), C, n_layers=M, width=told["width"], bias=told["bias"], seed=seed
    )
    untrained = UnconstrainedFit(raw, fit.labels, math.nan, math.nan, 0, False)
    eye = torch.eye(C, dtype=torch.float64)
    return {
        "weight_gram": _relative(fit.weight_gram, theory.weight_gram),
        "means": max(_relative(fit.feature_gram, theory.feature_gram), _relative(fit.cross_gram, theory.cross_gram)),
        "nc1": float(nc1(ClassMoments.of(features, fit.labels))),
        "frame": _frame(fit.feature_gram, theory.feature_gram),
        "to_orthogonal": _apart(fit.feature_gram, eye),
        "to_etf": _apart(fit.feature_gram, eye - 1 / C),
        "other_counts": _relative(fit.weight_gram, _theory(told, M, other).weight_gram),
        "other_depth": _relative(fit.weight_gram, _theory(told, M + 1).weight_gram),
        "untrained": _apart(untrained.weight_gram, theory.weight_gram),
    }  # fmt: skip


def _relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


def _apart(found: Tensor, target: Tensor) -> float:
    """Frobenius distance of two matrices of norm 1."""
    return float((found / found.norm() - target / target.norm()).norm())


def _frame(found: Tensor, expected: Tensor) -> float:
    """The largest |cosine| off the diagonal, or the largest relative error of a length; undefined where a class is zero."""
    if not bool((expected.diagonal() > 0).all()):
        return math.nan
    lengths = found.diagonal().sqrt()
    cosines = (found / lengths / lengths[:, None]).fill_diagonal_(0)
    return max(float(cosines.abs().max()), float((lengths / expected.diagonal().sqrt() - 1).abs().max()))


def _classes(fit: UnconstrainedFit, theory: DeepLinearCollapse) -> list[dict[str, Any]]:
    """By layer and class; singular values are in the order of size, and so are classes of the theory for them."""
    found = [torch.linalg.svdvals(weight.detach()) for weight in fit.model.weights]
    return [
        {
            "layers": theory.n_layers,
            "layer": m + 1,
            "class": k,
            "samples": theory.counts[k],
            "predicted": float(theory.weight_gram[k, k]),
            "measured": float(fit.weight_gram[k, k]),
            "predicted_s": float(theory.singular_values[m].sort(descending=True).values[k]),
            "measured_s": float(found[m][k]) if k < len(found[m]) else math.nan,
        }
        for m, k in product(range(theory.n_layers), range(theory.n_classes))
    ]


def _beside(fit: UnconstrainedFit, theory: DeepLinearCollapse) -> pd.DataFrame:
    """The profile of the trained layers on the trained features, joined with that of the theory."""
    network = Network(fit.model.layers)
    measured = profile(network, fit.model.features.detach(), fit.labels, measures=list(MEASURES))
    joined = measured.beside(profile(theory, measures=list(MEASURES)))
    joined = joined.dropna(subset=["value", "other"])
    joined.insert(0, "layers", theory.n_layers)
    joined["error"] = (joined["value"] - joined["other"]).abs() / (1 + joined["other"].abs())
    return joined.rename(columns={"value": "measured", "other": "predicted"})


def swept(
    *, seed: int, counts: Sequence[int], layers: int, betas: Sequence[float], width: int
) -> list[tuple[float, float, UnconstrainedFit]]:
    """β of the last class, the decay that gives it, and the model trained with it."""
    fits = []
    for beta in betas:
        decay = decay_of(beta, counts, layers)
        (fit,) = trained(seed=seed, counts=counts, layers=[layers], decay=decay, bias=False, width=width)
        fits.append((beta, decay, fit))
    return fits


def decay_of(beta: float, counts: Sequence[int], M: int) -> float:
    r"""The decay of weights and features at which the last class has this β: from :math:`\beta = (N/n) M \lambda (N \lambda)^{1/M}`."""
    N = sum(counts)
    return float((beta * counts[-1] / (M * N ** (1 + 1 / M))) ** (M / (M + 1)))


def run_sweep(unit: Unit, folder: Path) -> list[str]:
    """A small class on both sides of its threshold."""
    told, rows = dict(unit.data.parameters), []  # type: ignore[union-attr]
    counts, M = told["counts"], told["layers"]
    for beta, decay, fit in unit.data.load(unit.seed):  # type: ignore[union-attr]
        theory = deep_linear_collapse(counts, n_layers=M, weight_decay=decay, feature_decay=decay)
        strengths, least = fit.weight_gram.diagonal(), least_loss(theory)
        rows.append(
            {
                "beta": beta,
                "decay": decay,
                "predicted": float(theory.weight_gram[-1, -1]),
                "root": largest_root(beta, M) ** M * sum(counts) * decay,
                "measured": float(strengths[-1]),
                "largest": float(strengths.max()),
                "excess": (fit.loss - least) / least,
            }
        )
    write_table(folder, "sweep", pd.DataFrame(rows))
    return []


def least_loss(theory: DeepLinearCollapse) -> float:
    r"""The loss at the minimum, :math:`\sum_k \frac{n_k}{2N} \big(\frac{1}{x_k^M + 1} + \beta_k x_k\big)`, without a bias."""
    N, M = sum(theory.counts), theory.n_layers
    powers = theory.weight_gram.diagonal() / (N * theory.feature_decay)
    each = 1 / (powers + 1) + theory.beta * powers ** (1 / M)
    return float((torch.tensor(theory.counts) * each).sum() / (2 * N))


def largest_root(beta: float, M: int) -> float:
    r"""The largest root of :math:`M x^{M-1} / (x^M + 1)^2 = \beta`, a local minimum or the global one; 0 where there is none."""

    def excess(x: float) -> float:
        return M * x ** (M - 1) / (x**M + 1) ** 2 - beta

    steepest = ((M - 1) / (M + 1)) ** (1 / M)
    if excess(steepest) <= 0:
        return 0.0
    beyond = float(np.power(M / beta, 1 / (M + 1))) + 1
    return float(brentq(excess, steepest, beyond, xtol=1e-15))
