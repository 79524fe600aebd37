"""RFM and RFM…CV beside HistGradientBoosting, RandomForest, CatBoost, LightGBM and xRFM: as they come, and searched for equal time.

`python -m benchmarks.peers [TABLE …] [--seconds 10] [--rows 3000]` measures those tables (kept in `results/peers/` as they come, and not
measured twice); without names list A, two generated tables, and the summary. Seconds are those of the clock, with one thread for everyone:
run it on a quiet machine. `--seconds 60` searches that long, on the first fold only.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from catboost import CatBoostClassifier, CatBoostRegressor
from lightgbm import LGBMClassifier, LGBMRegressor, early_stopping
from scipy.stats import loguniform, randint, rankdata, uniform
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.metrics import log_loss
from sklearn.model_selection import ParameterSampler, train_test_split
from sklearn.preprocessing import LabelEncoder
from xrfm import xRFM

import agop
from benchmarks._harness import RESULTS, record
from benchmarks._tables import REAL, Table, table
from benchmarks.defaults import FOLDS, folds
from benchmarks.search import TIES, searched_boosting

PARTS = RESULTS / "peers"
LIST = (*REAL, "friedman1", "digits")
LONG = ("concrete", "Wage", "cells", "attrition", "OJ")
"""The tables that are searched for 60 s."""
PATIENCE = 50
MOST_TREES = 2000
LIGHT = {
    "learning_rate": loguniform(0.01, 0.3),
    "num_leaves": randint(4, 64),
    "min_child_samples": randint(2, 60),
    "reg_lambda": loguniform(1e-3, 10),
    "subsample": uniform(0.5, 0.5),
    "subsample_freq": [1],
    "colsample_bytree": uniform(0.4, 0.6),
}
CAT = {
    "learning_rate": loguniform(0.01, 0.3),
    "depth": randint(3, 9),
    "l2_leaf_reg": loguniform(0.5, 30),
    "random_strength": loguniform(0.1, 10),
    "bagging_temperature": uniform(0, 1),
}
XRFM = {
    "bandwidth": loguniform(0.5, 200),
    "reg": loguniform(1e-6, 10),
    "exponent": uniform(0.7, 0.7),
    "roundness": uniform(0, 0.8),
    "euclidean": [True, False, False, False],
    "bandwidth_mode": ["constant", "adaptive"],
    "diag": [False, True],
}
"""Its published space: q from .7 to 1.4, p = 2 or q + (2 − q) u."""


class Numbered:
    """A classifier that wants classes as 0, 1, …, among text."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def fit(self, X: np.ndarray, y: np.ndarray) -> Numbered:
        self.labels = LabelEncoder().fit(y)
        self.model.fit(X, self.labels.transform(y))
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        return self.labels.inverse_transform(np.asarray(self.model.predict(X)).astype(int).ravel())

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        return np.asarray(self.model.predict_proba(X))


class TreeOfRFMs:
    """xRFM with standardised columns and targets, and the fifth of the rows that it asks for held out."""

    def __init__(self, classes: bool, **params: Any) -> None:
        self.classes, self.params = classes, {"kernel": "l2", "bandwidth": 10.0, "reg": 1e-3, **params}

    def fit(self, X: np.ndarray, y: np.ndarray) -> TreeOfRFMs:
        self.mean, self.scale = X.mean(0), np.where(X.std(0) > 0, X.std(0), 1.0)
        self.labels = LabelEncoder().fit(y) if self.classes else None
        self.shift, self.unit = (0.0, 1.0) if self.classes else (y.mean(), y.std())
        target = self.labels.transform(y) if self.classes else (y - self.shift) / self.unit
        kept, held = split(y, self.classes)
        Z, T = (
            self._points(X),
            torch.as_tensor(target, dtype=torch.float32 if not self.classes else torch.long),
        )
        T = T if self.classes else T[:, None]
        options = dict(self.params)
        fit = {"reg": options.pop("reg"), "iters": 5, "verbose": False, "early_stop_rfm": True}
        self.model = xRFM(
            rfm_params={"model": options, "fit": fit},
            device="cpu",
            tuning_metric="brier" if self.classes else "mse",
            verbose=False,
        )
        self.model.fit(Z[kept], T[kept], Z[held], T[held])
        return self

    def _points(self, X: np.ndarray) -> torch.Tensor:
        return torch.as_tensor((X - self.mean) / self.scale, dtype=torch.float32)

    def predict(self, X: np.ndarray) -> np.ndarray:
        found = np.asarray(self.model.predict(self._points(X)))
        if self.labels is None:
            return found.ravel() * self.unit + self.shift
        return self.labels.inverse_transform(found.astype(int).ravel())

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        return np.asarray(self.model.predict_proba(self._points(X)))


def split(y: np.ndarray, classes: bool) -> tuple[np.ndarray, np.ndarray]:
    """Four fifths and one fifth of the rows; stratified where every class has two."""
    whole = classes and np.unique(y, return_counts=True)[1].min() > 1
    kept, held = train_test_split(
        np.arange(len(y)), test_size=0.2, random_state=0, stratify=y if whole else None
    )
    return np.sort(kept), np.sort(held)


def loss(model: Any, X: np.ndarray, y: np.ndarray, classes: bool) -> float:
    """Log loss, or squared error."""
    if not classes:
        return float(np.mean((model.predict(X) - y) ** 2))
    p = np.clip(model.predict_proba(X), 1e-6, None)
    labels = getattr(model, "classes_", None)
    labels = model.labels.classes_ if labels is None else labels
    return float(log_loss(y, p / p.sum(1, keepdims=True), labels=labels))


def light(classes: bool, **params: Any) -> Any:
    """LightGBM."""
    cls = LGBMClassifier if classes else LGBMRegressor
    return cls(random_state=0, n_jobs=1, verbose=-1, **params)


def cat(classes: bool, **params: Any) -> Any:
    """CatBoost."""
    cls = CatBoostClassifier if classes else CatBoostRegressor
    return cls(random_seed=0, thread_count=1, verbose=False, allow_writing_files=False, **params)


def searched(data: Table, fit: np.ndarray, seconds: float, draw: Callable[..., Any], space: dict) -> Any:
    """The best of random draws on a fifth of the rows; what early stopping found there; then a fit to all rows."""
    start, best, chosen = time.perf_counter(), np.inf, {}
    X, y = data.X[fit], data.y[fit]
    kept, held = split(y, data.is_classes)
    for params in ParameterSampler(space, 10_000, random_state=0):
        found, stopped = draw(params, X, y, kept, held)
        if found < best:
            best, chosen = found, {**params, **stopped}
        # what the last fit takes is part of the time
        if time.perf_counter() - start > 0.85 * seconds:
            break
    return chosen


def searched_light(data: Table, fit: np.ndarray, seconds: float) -> Any:
    """LightGBM, searched."""

    def draw(params: dict, X: np.ndarray, y: np.ndarray, kept: np.ndarray, held: np.ndarray) -> Any:
        model = light(data.is_classes, n_estimators=MOST_TREES, **params)
        stop = [early_stopping(PATIENCE, verbose=False)]
        model.fit(X[kept], y[kept], eval_set=[(X[held], y[held])], callbacks=stop)
        return loss(model, X[held], y[held], data.is_classes), {"n_estimators": max(1, model.best_iteration_)}

    return light(data.is_classes, **searched(data, fit, seconds, draw, LIGHT)).fit(data.X[fit], data.y[fit])


def searched_cat(data: Table, fit: np.ndarray, seconds: float) -> Any:
    """CatBoost, searched."""

    def draw(params: dict, X: np.ndarray, y: np.ndarray, kept: np.ndarray, held: np.ndarray) -> Any:
        model = cat(data.is_classes, iterations=MOST_TREES, early_stopping_rounds=PATIENCE, **params)
        model.fit(X[kept], y[kept], eval_set=(X[held], y[held]))
        return loss(model, X[held], y[held], data.is_classes), {"iterations": model.tree_count_}

    return cat(data.is_classes, **searched(data, fit, seconds, draw, CAT)).fit(data.X[fit], data.y[fit])


def searched_xrfm(data: Table, fit: np.ndarray, seconds: float) -> Any:
    """xRFM, searched; its last fit holds the same fifth out, as each of its fits does."""

    def draw(params: dict, X: np.ndarray, y: np.ndarray, kept: np.ndarray, held: np.ndarray) -> Any:
        model = TreeOfRFMs(data.is_classes, **of_space(params)).fit(X[kept], y[kept])
        return loss(model, X[held], y[held], data.is_classes), {}

    chosen = of_space(searched(data, fit, seconds, draw, XRFM))
    return TreeOfRFMs(data.is_classes, **chosen).fit(data.X[fit], data.y[fit])


def of_space(drawn: dict[str, Any]) -> dict[str, Any]:
    """What xRFM takes."""
    params = dict(drawn)
    q, u = params["exponent"], params.pop("roundness")
    if params.pop("euclidean"):
        return {**params, "kernel": "l2"}
    return {**params, "kernel": "lpq", "norm_p": q + (2 - q) * u}


def contenders(data: Table, fit: np.ndarray, seconds: float, defaults: bool) -> dict[str, Callable[[], Any]]:
    """Name to a function that fits."""
    X, y, classes = data.X[fit], data.y[fit], data.is_classes
    ours, cv = (
        (agop.RFMClassifier, agop.RFMClassifierCV) if classes else (agop.RFMRegressor, agop.RFMRegressorCV)
    )
    boosting = HistGradientBoostingClassifier if classes else HistGradientBoostingRegressor
    forest = RandomForestClassifier if classes else RandomForestRegressor
    plain = {
        "RFM": lambda: ours().fit(X, y),
        "HistGradientBoosting": lambda: boosting(random_state=0).fit(X, y),
        "RandomForest": lambda: forest(random_state=0).fit(X, y),
        "CatBoost": lambda: cat(classes).fit(X, y),
        "LightGBM": lambda: light(classes).fit(X, y),
        "xRFM": lambda: TreeOfRFMs(classes).fit(X, y),
    }
    long = {
        "RFM…CV": lambda: cv(random_state=0, max_time=seconds).fit(X, y),
        "HistGradientBoosting, searched": lambda: searched_boosting(data, fit, seconds)[0],
        "CatBoost, searched": partial(searched_cat, data, fit, seconds),
        "LightGBM, searched": partial(searched_light, data, fit, seconds),
        "xRFM, searched": partial(searched_xrfm, data, fit, seconds),
    }
    return {**(plain if defaults else {}), **long}


def measured(data: Table, fold: int, seconds: float, defaults: bool, path: Path) -> None:
    """Score, loss and seconds of everyone on one fold, kept in `path` as they come; an error is kept as one."""
    fit, held = folds(data)[fold]
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    for name, make in contenders(data, fit, seconds, defaults).items():
        if name in found:
            continue
        start = time.perf_counter()
        try:
            model = make()
            took = time.perf_counter() - start
            right = model.predict(data.X[held]).ravel() if data.is_classes else model.predict(data.X[held])
            score = (
                float(np.mean(right == data.y[held]))
                if data.is_classes
                else 1 - float(np.mean((right - data.y[held]) ** 2) / data.y[held].var())
            )
            found[name] = {
                "score": score,
                "loss": loss(model, data.X[held], data.y[held], data.is_classes),
                "seconds": took,
            }
        except Exception as error:  # noqa: BLE001 - a peer that fails is part of the result
            found[name] = {"score": None, "error": f"{type(error).__name__}: {error}"[:200]}
        print(f"{data.name} {fold} {name}: {found[name]}", flush=True)
        path.write_text(json.dumps(found) + "\n")


def mean_ranks(parts: dict[str, list[dict[str, Any]]]) -> dict[str, float]:
    """Over tables, of the folds' mean scores; scores within `TIES` of the next better share a rank, a failure comes last."""
    names = list(next(iter(parts.values()))[0])
    rows = []
    for part in parts.values():
        scores = np.array(
            [np.mean([np.nan if f[n]["score"] is None else f[n]["score"] for f in part]) for n in names]
        )
        scores = np.where(np.isnan(scores), -np.inf, scores)
        levels, order = np.zeros(len(scores)), np.argsort(-scores)
        for before, after in pairwise(order):
            levels[after] = levels[before] + (scores[before] - scores[after] > TIES)
        rows.append(rankdata(levels))
    return dict(zip(names, np.mean(rows, 0).round(2).tolist(), strict=True))


def as_markdown(parts: dict[str, list[dict[str, Any]]]) -> str:
    """The table of the page."""
    ranks = mean_ranks(parts)
    names = sorted(ranks, key=ranks.__getitem__)
    lines = ["| | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for item, part in parts.items():
        means = [np.mean([fold[n]["score"] or np.nan for fold in part]) for n in names]
        best = np.nanmax(means)
        cells = [f"**{m:.3f}**" if m > best - TIES else f"{m:.3f}" for m in means]
        lines.append(f"| {item} | " + " | ".join(cell.replace("0.", ".", 1) for cell in cells) + " |")
    return "\n".join([*lines, "| mean rank | " + " | ".join(f"{ranks[n]:.2f}" for n in names) + " |"])


def main() -> None:
    """Measure what is missing; then the summary of what is there."""
    parser = argparse.ArgumentParser()
    parser.add_argument("tables", nargs="*")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rows", type=int, default=3000)
    given = parser.parse_args()
    long = given.seconds > 30
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    PARTS.mkdir(parents=True, exist_ok=True)
    parts: dict[str, list[dict[str, Any]]] = {}
    everything = LONG if long else LIST
    for fold in range(1 if long else FOLDS):
        for name in given.tables or everything:
            path = PARTS / f"{name}-{given.seconds:g}s-{given.rows}-{fold}.json"
            measured(table(name, given.rows), fold, given.seconds, not long, path)
    for name in everything:
        paths = sorted(PARTS.glob(f"{name}-{given.seconds:g}s-{given.rows}-*.json"))
        if paths:
            parts[name] = [json.loads(path.read_text()) for path in paths]
    print(as_markdown(parts))
    result = {"rows": given.rows, "seconds": given.seconds, "tables": parts, "mean_ranks": mean_ranks(parts)}
    record(f"peers-{given.seconds:g}s", result)


if __name__ == "__main__":
    main()
