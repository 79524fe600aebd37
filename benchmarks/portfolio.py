"""With which recursions a search should begin: losses of many on tables that are not of list A, and the few that serve them best together.

`python -m benchmarks.portfolio [TABLE …]` measures those tables (each is kept in `results/portfolio/`, and not measured twice); without
names all of them, and the choice. A loss is the Brier score or the squared error, at the best iteration and ridge, on the third of the
rows that is not fitted on. The regret of a set of recursions is log(loss of its best / loss of the best of all), and at most `MOST`.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from typing import Any

import numpy as np
import torch
from sklearn.model_selection import ParameterSampler

import agop
from agop import _checks
from agop.machines import rfm_cv, search
from agop.machines.search_space import default_space
from benchmarks._harness import RESULTS, record
from benchmarks._tables import OTHERS, table

ROWS, ITERATIONS, DRAWS, SIZE, MOST = 1200, 8, 44, 8, 0.5
GENERATED = ("friedman1", "friedman2", "friedman3", "digits")
PARTS = RESULTS / "portfolio"


def recursions() -> list[dict[str, Any]]:
    """Round values of what is known to matter, and draws."""
    full = [
        {"kernel": "laplace", "bandwidth_factor": factor, "learning_ridge": ridge, "power": power}
        for factor, ridge, power in (
            *((factor, ridge, 0.25) for factor in (0.25, 0.5, 1.0, 4.0) for ridge in (0.01, 0.1)),
            *((0.5, 0.1, 0.5), (2.0, 1e-3, 0.5), (25.0, 1e-3, 0.5)),
        )
    ]
    columns = [
        {"kernel": "l1", "bandwidth_factor": factor, "learning_ridge": ridge, "diagonal": True}
        for factor, ridge in ((0.5, 0.1), (1.0, 0.1), (4.0, 0.1), (16.0, 0.01))
    ]
    others = [
        {
            "kernel": "laplace",
            "bandwidth_factor": 8.0,
            "learning_ridge": 1e-3,
            "diagonal": True,
            "power": 0.5,
        },
        {"kernel": "laplace", "bandwidth_factor": 2.0, "learning_ridge": 0.1, "bandwidth_at": "each"},
    ]
    space = default_space(1000)  # without "lpq", which costs many times the others
    drawn = [
        {name: _checks.plain(value) for name, value in one.items()}
        for one in ParameterSampler(space, DRAWS, random_state=1)
    ]
    return [*full, *columns, *others, *drawn]


def first_fold(rows: Any, samples: Any, seed: int) -> list[list[Any]]:
    """A race of one round."""
    place = torch.arange(len(rows.fold))
    return [[search.Heat(place[rows.fold != 0], place[rows.fold == 0], 0)]]


def measured(name: str) -> dict[str, Any]:
    """Losses and seconds of all recursions on a table."""
    data, tried = table(name, ROWS), recursions()
    rfm_cv.drawn = lambda *_: iter([dict(one) for one in tried])
    search.rounds_of = first_fold
    cls = agop.RFMClassifierCV if data.is_classes else agop.RFMRegressorCV
    model = cls(n_candidates=len(tried), ensemble=1, n_iter=ITERATIONS, random_state=0).fit(data.X, data.y)
    found = model.cv_results_
    scores, number = found["split0_test_score"], found["recursion"]
    losses = [float(-np.nanmax(np.append(scores[number == k], -np.inf))) for k in range(len(tried))]
    seconds = [float(np.append(found["recursion_time"][number == k], np.nan)[0]) for k in range(len(tried))]
    return {"shape": data.X.shape, "is_classes": data.is_classes, "losses": losses, "seconds": seconds}


def regrets(parts: dict[str, dict[str, Any]]) -> np.ndarray:
    """Of every recursion (columns) on every table (rows)."""
    losses = np.maximum([part["losses"] for part in parts.values()], 1e-6)
    return np.clip(np.log(losses / losses.min(1, keepdims=True)), 0, MOST)


def greedy(regret: np.ndarray, size: int = SIZE) -> list[int]:
    """The recursion that lowers the mean regret of the set most, again and again."""
    chosen: list[int] = []
    known = np.full(len(regret), MOST)
    for _ in range(size):
        chosen.append(int(np.minimum(known[:, None], regret).mean(0).argmin()))
        known = np.minimum(known, regret[:, chosen[-1]])
    return chosen


def summary(parts: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The chosen ones; mean regret of the first 1, 2, … of them, and of sets chosen on other tables, and of as many draws."""
    regret, tried = regrets(parts), recursions()
    chosen, sizes, tables = greedy(regret), range(1, SIZE + 1), np.arange(len(regret))
    apart = []
    for fold in range(5):
        held = tables % 5 == fold
        other = greedy(regret[~held])
        apart += [[row[other[:size]].min() for size in sizes] for row in regret[held]]
    rng = np.random.default_rng(0)
    draws = range(len(tried) - DRAWS, len(tried))
    by_chance = [
        np.mean([regret[:, rng.choice(draws, size, replace=False)].min(1).mean() for _ in range(200)])
        for size in sizes
    ]
    return {
        "chosen": [tried[place] for place in chosen],
        "regret": [float(regret[:, chosen[:size]].min(1).mean()) for size in sizes],
        "regret_on_other_tables": np.mean(apart, 0).tolist(),
        "regret_of_draws": [float(value) for value in by_chance],
    }


def main(names: list[str]) -> None:
    """Measure what is missing; then the choice."""
    PARTS.mkdir(parents=True, exist_ok=True)
    warnings.simplefilter("ignore")
    for name in names or [*OTHERS, *GENERATED]:
        path = PARTS / f"{name}.json"
        if path.exists():
            continue
        start = time.perf_counter()
        try:
            part = measured(name)
        except ValueError as error:
            print(f"{name}: {error}")
            continue
        path.write_text(json.dumps(part) + "\n")
        print(f"{name}: {part['shape']}, {time.perf_counter() - start:.0f} s", flush=True)
    parts = {path.stem: json.loads(path.read_text()) for path in sorted(PARTS.glob("*.json"))}
    found = summary(parts)
    for one in found["chosen"]:
        print(one)
    print({name: np.round(value, 4) for name, value in found.items() if name != "chosen"})
    record("portfolio", {"rows": ROWS, "tables": list(parts), **found})


if __name__ == "__main__":
    main(sys.argv[1:])
