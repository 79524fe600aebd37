"""Which defaults RFM should have on tables: exponent, ridge, bandwidth, iterations, diagonal; 3-fold scores of all candidates.

`python -m benchmarks.defaults [TABLE …]` measures those tables (each is kept in `results/defaults/`, and not measured twice); without names
all of them, and the summary. A score is accuracy or R² of the folds that were not fitted on, for every iteration from 0 on.
"""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import rankdata
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.model_selection import KFold, StratifiedKFold

import agop
from benchmarks._harness import RESULTS, record
from benchmarks._tables import PIXELS, TABLES, Table, table

ROWS, FOLDS, ITERATIONS = 600, 3, 5
POWERS = (0.5, 0.25)
RIDGES = (1e-3, 1e-2, 0.1, 1.0)
BANDWIDTHS: tuple[tuple[Any, float, str], ...] = (
    (10.0, 1.0, "start"),
    *(("median", factor, at) for at in ("start", "each") for factor in (0.5, 1.0, 2.0, 4.0)),
)
PARTS = RESULTS / "defaults"


def candidates() -> list[dict[str, Any]]:
    """Every combination, full metric; and with a diagonal one the middle of the grid."""
    full = [
        {"power": power, "ridge": ridge, "bandwidth": b, "bandwidth_factor": factor, "bandwidth_at": at}
        for power, ridge, (b, factor, at) in product(POWERS, RIDGES, BANDWIDTHS)
    ]
    middle = [one for one in full if one["ridge"] in (0.01, 0.1) and one["bandwidth_factor"] in (1.0, 2.0)]
    return [*full, *({**one, "diagonal": True} for one in middle if one["bandwidth"] == "median")]


def folds(data: Table) -> list[tuple[np.ndarray, np.ndarray]]:
    """Rows to fit on and rows to score on."""
    kind = StratifiedKFold if data.is_classes else KFold
    return list(kind(FOLDS, shuffle=True, random_state=0).split(data.X, data.y))


def measured(data: Table, part: Path) -> dict[str, Any]:
    """Mean scores of every candidate, iteration by iteration, and of the two forests; kept in `part` as they come."""
    scaling = "common" if data.name in PIXELS else "columns"
    cls = agop.RFMClassifier if data.is_classes else agop.RFMRegressor
    rows = json.loads(part.read_text())["rows"] if part.exists() else []
    for options in candidates()[len(rows) :]:
        start, scores = time.process_time(), []
        for fit, held in folds(data):
            model = cls(**options, n_iter=ITERATIONS, scaling=scaling)
            model.fit(data.X[fit], data.y[fit], X_val=data.X[held], y_val=data.y[held])
            scores.append([entry["validation_score"] for entry in model.history_])
        rows.append(
            {**options, "scores": np.mean(scores, 0).round(5).tolist(), "s": time.process_time() - start}
        )
        part.write_text(json.dumps({"rows": rows}) + "\n")
    beside = {}
    for name, peers in PEERS.items():
        peer = peers[data.is_classes]
        scores = [
            peer(random_state=0).fit(data.X[fit], data.y[fit]).score(data.X[held], data.y[held])
            for fit, held in folds(data)
        ]
        beside[name] = float(np.mean(scores))
    return {"table": data.name, "shape": data.X.shape, "rows": rows, "beside": beside}


PEERS = {
    "HistGradientBoosting": (HistGradientBoostingRegressor, HistGradientBoostingClassifier),
    "RandomForest": (RandomForestRegressor, RandomForestClassifier),
}


def summary(parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every candidate and iteration: mean over tables of how far it stays behind the best candidate of the table (regret), and how often
    it is above HistGradientBoosting's default.
    """
    best = [max(max(row["scores"]) for row in part["rows"]) for part in parts]
    lines = []
    for place, first in enumerate(parts[0]["rows"]):
        options = {name: value for name, value in first.items() if name not in ("scores", "s")}
        for iteration in range(ITERATIONS + 1):
            scores = [part["rows"][place]["scores"][iteration] for part in parts]
            regret = [top - score for top, score in zip(best, scores, strict=True)]
            wins = sum(
                score > part["beside"]["HistGradientBoosting"]
                for score, part in zip(scores, parts, strict=True)
            )
            lines.append(
                {
                    **options,
                    "n_iter": iteration,
                    "regret": float(np.mean(np.minimum(regret, 0.1))),
                    "worst": float(np.max(regret)),
                    "above_boosting": wins,
                }
            )
    return sorted(lines, key=lambda line: line["regret"])


CHOSEN = {
    "power": 0.25,
    "ridge": 0.1,
    "bandwidth": "median",
    "bandwidth_factor": 4.0,
    "bandwidth_at": "start",
}
NAMED = {
    "default": (CHOSEN, 2),
    "metric not learned": (CHOSEN, 0),
    "diagonal": ({**CHOSEN, "bandwidth_factor": 2.0, "diagonal": True}, 5),
    "0.1.0": ({**CHOSEN, "power": 0.5, "ridge": 1e-3, "bandwidth": 10.0, "bandwidth_factor": 1.0}, 5),
}
"""What the page shows: options, and the iteration."""


def named_scores(part: dict[str, Any]) -> dict[str, float]:
    """Scores of one table by the names of the page."""
    found = {}
    for name, (options, iteration) in NAMED.items():
        wanted = {"diagonal": False, **options}
        row = next(
            row for row in part["rows"] if {"diagonal": False, **row} | wanted == {"diagonal": False, **row}
        )
        found[name] = row["scores"][iteration]
    best = max(max(row["scores"]) for row in part["rows"])
    return {**found, **part["beside"], "best of all candidates": best}


def as_markdown(named: dict[str, dict[str, float]]) -> str:
    """The table of the page, with mean ranks (ties share theirs; the best candidate has none)."""
    columns = [name for name in next(iter(named.values())) if name != "best of all candidates"]
    lines = [
        "| | " + " | ".join([*columns, "best of all candidates"]) + " |",
        "|---" * (len(columns) + 2) + "|",
    ]
    for table_name, scores in named.items():
        cells = [
            f"{scores[name]:.3f}"[1:] if 0 <= scores[name] < 1 else f"{scores[name]:.3f}" for name in scores
        ]
        lines.append(f"| {table_name} | " + " | ".join(cells) + " |")
    ranks = [rankdata([-round(scores[name], 3) for name in columns]) for scores in named.values()]
    lines.append("| mean rank | " + " | ".join(f"{rank:.2f}" for rank in np.mean(ranks, 0)) + " | |")
    return "\n".join(lines)


def is_done(part: Path) -> bool:
    """Whether all of a table was measured."""
    return part.exists() and "beside" in json.loads(part.read_text())


def main(names: list[str] | None = None) -> None:
    """Measure what is missing; then the summary."""
    os.nice(10)
    PARTS.mkdir(parents=True, exist_ok=True)
    warnings.simplefilter("ignore")
    for name in names or TABLES:
        path = PARTS / f"{name}.json"
        if is_done(path):
            continue
        start = time.perf_counter()
        part = measured(table(name, ROWS), path)
        path.write_text(json.dumps(part) + "\n")
        print(f"{name}: {part['shape']}, {time.perf_counter() - start:.0f} s", flush=True)
    there = [name for name in TABLES if is_done(PARTS / f"{name}.json")]
    if len(there) < len(TABLES):
        return
    parts = [json.loads((PARTS / f"{name}.json").read_text()) for name in there]
    lines = summary(parts)
    for line in lines[:12]:
        print(line)
    rounded = [
        {name: round(value, 4) if isinstance(value, float) else value for name, value in line.items()}
        for line in lines
    ]
    named = {part["table"]: named_scores(part) for part in parts}
    print(as_markdown(named))
    record("defaults", {"rows": ROWS, "folds": FOLDS, "tables": named, "candidates": rounded[:200]})


if __name__ == "__main__":
    main(sys.argv[1:])
