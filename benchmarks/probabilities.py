"""How class probabilities should be made of the ±1 values of an average: log loss and Brier score of rows that were not searched with.

One slope is fitted to the honest values of a search on 500 rows; kernel logistic regression takes the kernel of the best single model.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from scipy.special import softmax

import agop
from agop.machines.probabilities import shares_of
from benchmarks._harness import record
from benchmarks._tables import table

TABLES = ("cells", "attrition", "mlc_churn", "credit", "OJ", "Caravan", "olive", "brca")
ROWS, FIT = 2500, 500
RIDGES = (1e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0)


class Kept(agop.RFMClassifierCV):
    """A search that keeps the honest values it was calibrated with."""

    def _calibrated(self, values: Any, fold: Any, rows: Any, samples: Any) -> Any:
        self.honest_values, self.honest_rows = values.numpy(), rows.numpy()
        return super()._calibrated(values, fold, rows, samples)


def log_loss(p: np.ndarray, labels: np.ndarray) -> float:
    return float(-np.log(p[np.arange(len(labels)), labels].clip(1e-15)).mean())


def brier(p: np.ndarray, labels: np.ndarray) -> float:
    return float(((p - np.eye(p.shape[1])[labels]) ** 2).sum(1).mean())


def logistic(K: np.ndarray, Y: np.ndarray, ridge: float, steps: int = 60) -> np.ndarray:
    """Coefficients of kernel logistic regression by steps with the fixed bound ½ on the Hessian (Böhning 1992), one factor for all."""
    factor = np.linalg.inv(K + 2 * ridge * np.eye(len(K)))
    A, prior = np.zeros_like(Y), np.log(Y.mean(0).clip(1e-9))
    for _ in range(steps):
        P = softmax(prior + K @ A, axis=1)
        A = factor @ (K @ A + 2 * (Y - P))
    return A


def ways(values: np.ndarray, slope_of: Any, prior: np.ndarray) -> dict[str, np.ndarray]:
    """Probabilities of all ways; `slope_of` fits the slope of a way."""
    made: dict[str, np.ndarray] = {}
    shares = shares_of(torch.from_numpy(values)).numpy()
    for least in (1e-3, 0.02):

        def temper(q: np.ndarray, slope: float, least: float = least) -> np.ndarray:
            evidence = np.log(np.maximum(q, np.minimum(prior, least))) - np.log(prior)
            return softmax(np.log(prior) + slope * evidence, axis=1)

        made[f"shares, at least {least}"] = temper(shares, 1.0)
        slope = slope_of(lambda v, b, f=temper: f(shares_of(torch.from_numpy(v)).numpy(), b))
        made[f"tempered, at least {least}"] = temper(shares, slope)

    def tilt(v: np.ndarray, slope: float) -> np.ndarray:
        return softmax(np.log(prior) + slope * (v - 2 * prior + 1), axis=1)

    made["tilted"] = tilt(values, slope_of(tilt))
    return made


def measured(name: str) -> dict[str, Any]:
    data = table(name, ROWS)
    order = np.random.default_rng(0).permutation(len(data.y))
    fit, held = np.split(order, [min(FIT, len(order) // 2)])
    model = Kept(random_state=0, n_candidates=8).fit(data.X[fit], data.y[fit])
    y, test = (np.searchsorted(model.classes_, data.y[rows]) for rows in (fit, held))
    known, prior = y[model.honest_rows], model.class_prior_

    def slope_of(way: Any) -> float:
        found = minimize_scalar(
            lambda e: log_loss(way(model.honest_values, np.exp(e)), known),
            bounds=(-2.1, 3.5),
            method="bounded",
        )
        return float(np.exp(found.x))

    raw, _ = model._checked(data.X[held])
    made = ways(model._decision(raw).numpy(), slope_of, prior)
    best = model.best_estimator_
    placed = best._placed(raw, torch.float64) @ best._map
    machine = best.machine_
    K, across = machine.kernel(machine.centers).numpy(), machine.kernel(placed, machine.centers).numpy()
    Y, fold = np.eye(len(prior))[y], np.random.default_rng(0).permutation(len(y)) % 3
    losses = []
    for ridge in RIDGES:
        p = np.empty_like(Y)
        for k in range(3):
            a, b = fold != k, fold == k
            A = logistic(K[np.ix_(a, a)], Y[a], ridge)
            p[b] = softmax(np.log(Y[a].mean(0).clip(1e-9)) + K[np.ix_(b, a)] @ A, axis=1)
        losses.append(log_loss(p, y))
    A = logistic(K, Y, RIDGES[int(np.argmin(losses))])
    made["kernel logistic regression"] = softmax(np.log(prior) + across @ A, axis=1)
    return {way: {"log_loss": log_loss(p, test), "brier": brier(p, test)} for way, p in made.items()}


def main() -> None:
    warnings.simplefilter("ignore")
    found = {}
    for name in TABLES:
        found[name] = measured(name)
        print(name, {way: round(one["log_loss"], 3) for way, one in found[name].items()}, flush=True)
    means = {
        way: {
            score: float(np.mean([found[name][way][score] for name in TABLES]))
            for score in ("log_loss", "brier")
        }
        for way in found[TABLES[0]]
    }
    for way, scores in means.items():
        print(f"| {way} | {scores['log_loss']:.3f} | {scores['brier']:.4f} |")
    record("probabilities", {"tables": found, "means": means})


if __name__ == "__main__":
    main()
