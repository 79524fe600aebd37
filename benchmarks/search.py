"""Choosing an RFM without a validation set: RFM…CV beside its own default, two forests, and a boosted forest with a search of equal time.

`python -m benchmarks.search [TABLE …]` measures those tables (each is kept in `results/search/`, and not measured twice); without names all
of list A, and the summary. Time is that of the processor, because a search may share its machine.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import loguniform, randint, rankdata
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.metrics import get_scorer, log_loss
from sklearn.model_selection import KFold, ParameterSampler, StratifiedKFold, cross_val_score

import agop
from benchmarks._harness import RESULTS, record
from benchmarks._tables import REAL, Table, table
from benchmarks.defaults import FOLDS, PEERS, folds

ROWS = 600
PARTS = RESULTS / "search"
SPACE = {
    "learning_rate": loguniform(0.01, 0.3),
    "max_iter": randint(30, 400),
    "max_leaf_nodes": randint(3, 40),
    "min_samples_leaf": randint(2, 40),
    "l2_regularization": loguniform(1e-3, 10),
}
TIES = 0.002
"""Scores closer than this share a rank."""


def searched_boosting(data: Table, fit: np.ndarray, seconds: float) -> tuple[Any, int]:
    """HistGradientBoosting with a random search that takes as long; and how many draws that were."""
    cls = HistGradientBoostingClassifier if data.is_classes else HistGradientBoostingRegressor
    X, y = data.X[fit], data.y[fit]
    kind = StratifiedKFold if data.is_classes else KFold
    inner = list(kind(3, shuffle=True, random_state=0).split(X, y))
    scoring = "neg_log_loss" if data.is_classes else "neg_mean_squared_error"
    start, best, chosen, count = time.process_time(), -np.inf, {}, 0
    for params in ParameterSampler(SPACE, 10_000, random_state=0):
        score = cross_val_score(cls(random_state=0, **params), X, y, cv=inner, scoring=scoring).mean()
        count += 1
        if score > best:
            best, chosen = score, params
        if time.process_time() - start > seconds:
            break
    return cls(random_state=0, **chosen).fit(X, y), count


def honesty(model: Any, data: Table, fit: np.ndarray, held: np.ndarray) -> dict[str, float]:
    """The honest score and that of the held-out rows in the same unit, and the standard error of their difference."""
    if data.is_classes:
        p = model.predict_proba(data.X[held])
        hot = (model.classes_ == data.y[held][:, None]).astype(float)
        losses = ((p - hot) ** 2).sum(1) / (2 if p.shape[1] == 2 else 1)
    else:
        losses = (model.predict(data.X[held]) - data.y[held]) ** 2 / data.y[fit].var()
    error = np.hypot(model.best_score_error_, losses.std() / np.sqrt(len(held)))
    return {"honest": model.best_score_, "test": -float(losses.mean()), "error": float(error)}


def measured(data: Table) -> dict[str, Any]:
    """Scores of everything in every fold."""
    cls, default = (
        (agop.RFMClassifierCV, agop.RFMClassifier)
        if data.is_classes
        else (agop.RFMRegressorCV, agop.RFMRegressor)
    )
    found: dict[str, list[Any]] = {"seconds": [], "draws": [], "honesty": [], "log_loss": []}

    def score(name: str, model: Any, held: np.ndarray) -> None:
        found.setdefault(name, []).append(float(model.score(data.X[held], data.y[held])))

    for fit, held in folds(data):
        start = time.process_time()
        model = cls(random_state=0).fit(data.X[fit], data.y[fit])
        seconds = time.process_time() - start
        found["seconds"].append(seconds)
        found["honesty"].append(honesty(model, data, fit, held))
        score("RFM…CV", model, held)
        score("its best single model", model.best_estimator_, held)
        boosted, draws = searched_boosting(data, fit, seconds)
        found["draws"].append(draws)
        score("boosting, searched", boosted, held)
        score("RFM", default().fit(data.X[fit], data.y[fit]), held)
        for name, peers in PEERS.items():
            score(name, peers[data.is_classes](random_state=0).fit(data.X[fit], data.y[fit]), held)
        if data.is_classes:
            losses = {
                "RFM…CV": log_loss(data.y[held], model.predict_proba(data.X[held]), labels=model.classes_)
            }
            losses["boosting, searched"] = -float(
                get_scorer("neg_log_loss")(boosted, data.X[held], data.y[held])
            )
            slope, model.slope_ = model.slope_, 1.0
            plain = model.predict_proba(data.X[held])
            losses["RFM…CV, not calibrated"] = log_loss(data.y[held], plain, labels=model.classes_)
            found["log_loss"].append({**losses, "slope": slope})
    return {"table": data.name, "shape": data.X.shape, **found}


SHOWN = ("RFM…CV", "its best single model", "RFM", "boosting, searched", *PEERS)


def ranks(parts: list[dict[str, Any]]) -> dict[str, float]:
    """Mean ranks over tables; scores within `TIES` of the next better share a rank."""
    competing = [name for name in SHOWN if name != "its best single model"]
    rows = []
    for part in parts:
        scores = np.array([np.mean(part[name]) for name in competing])
        levels, order = np.zeros(len(scores)), np.argsort(-scores)
        for before, after in pairwise(order):
            levels[after] = levels[before] + (scores[before] - scores[after] > TIES)
        rows.append(rankdata(levels))
    return dict(zip(competing, np.mean(rows, 0).round(3).tolist(), strict=True))


def as_markdown(parts: list[dict[str, Any]]) -> str:
    """The table of the page."""
    lines = [
        "| | " + " | ".join(SHOWN) + " | seconds | honest − test (2 s.e.) |",
        "|---" * (len(SHOWN) + 3) + "|",
    ]
    for part in parts:
        cells = [f"{np.mean(part[name]):.3f}".replace("0.", ".", 1) for name in SHOWN]
        gap = np.mean([one["honest"] - one["test"] for one in part["honesty"]])
        error = 2 * np.mean([one["error"] for one in part["honesty"]])
        cells += [f"{np.mean(part['seconds']):.0f}", f"{gap:+.3f} ({error:.3f})"]
        lines.append(f"| {part['table']} | " + " | ".join(cells) + " |")
    mean = ranks(parts)
    last = [f"{mean[name]:.2f}" if name in mean else "" for name in SHOWN]
    lines.append("| mean rank | " + " | ".join(last) + " | | |")
    return "\n".join(lines)


def summary(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """What the page says in words."""
    every = [one for part in parts for one in part["honesty"]]
    within = [abs(one["honest"] - one["test"]) <= 2 * one["error"] for one in every]
    means = [
        abs(np.mean([one["honest"] - one["test"] for one in part["honesty"]]))
        <= 2 * np.mean([one["error"] for one in part["honesty"]])
        for part in parts
    ]
    classes = [one for part in parts for one in part["log_loss"]]
    losses = {
        name: float(np.mean([one[name] for one in classes])) for name in (classes[0] if classes else ())
    }
    best = [np.mean(part["RFM…CV"]) > max(np.mean(part[name]) for name in SHOWN[2:]) - TIES for part in parts]
    return {
        "mean_ranks": ranks(parts),
        "best_or_within_ties": float(np.mean(best)),
        "folds_within_2_se": float(np.mean(within)),
        "tables_within_2_se": float(np.mean(means)),
        "mean_log_loss": losses,
    }


def main(names: list[str] | None = None) -> None:
    """Measure what is missing; then the summary of what is there."""
    PARTS.mkdir(parents=True, exist_ok=True)
    warnings.simplefilter("ignore")
    for name in names or REAL:
        path = PARTS / f"{name}.json"
        if path.exists():
            continue
        start = time.perf_counter()
        part = measured(table(name, ROWS))
        path.write_text(json.dumps(part) + "\n")
        shown = {name: round(float(np.mean(part[name])), 4) for name in SHOWN}
        print(f"{name}: {part['shape']}, {time.perf_counter() - start:.0f} s, {shown}", flush=True)
    parts = [
        json.loads(Path(PARTS / f"{name}.json").read_text())
        for name in REAL
        if (PARTS / f"{name}.json").exists()
    ]
    print(as_markdown(parts))
    found = summary(parts)
    print(found)
    record("search", {"rows": ROWS, "folds": FOLDS, "tables": parts, "summary": found})


if __name__ == "__main__":
    main(sys.argv[1:])
