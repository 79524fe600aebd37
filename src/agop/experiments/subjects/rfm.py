"""A run on a table: columns read, a search, honest scores, what counts, and the model in one file.

model.safetensors   columns and estimator; `agop predict` and `agop.load` read it
columns.csv         what each column was taken for, why it was left out, its importance
scores.csv          measures of honest predictions, of those of held-out rows, of no model
honest.csv, test.csv   true and predicted, a row a row of the table
directions.csv      top directions of the AGOP;  search.csv   what was tried
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.model_selection import GroupShuffleSplit, train_test_split

from agop import _checks
from agop._memory import human
from agop.experiments.listener import Listener
from agop.experiments.subject import CHECKPOINTS, Findings, Task
from agop.experiments.subjects.rfm_config import RFMConfig
from agop.experiments.table_scores import classification_scores, regression_scores, score_table
from agop.machines.memory import default_centers, estimate_memory
from agop.machines.planning import FEATURE_POINTS
from agop.tables.large import LargeTable, is_large
from agop.tables.loading import load
from agop.tables.model import Prepared, TableModel, fitted, prepare
from agop.tables.reading import Table, named, read_table
from agop.tables.storing import MODEL
from agop.tables.target import Target

DIRECTIONS = 3
_COUNTS = 0.01
"""The least importance of a column that the headline names."""


@dataclass(frozen=True, eq=False)
class _Fitted:
    """The model, and which rows of the prepared table it was fitted to."""

    model: TableModel
    notes: list[str]


class RFMTask(Task[RFMConfig, _Fitted]):
    """Search RFMs for a column of a table."""

    data: Table  # type: ignore[assignment]

    def __init__(self, config: RFMConfig) -> None:
        self.config = config
        self.device = _checks.device("device", config.device)
        self.drawn: list[str] = []
        self.large = self._opened()
        if self.large is None:
            self.data = read_table(config.data, encoding=config.encoding)
            self.data_fingerprint = self.data.fingerprint()
            frame = self._drawn(self.data.frame)
        else:
            frame, self.places = named(self.large.frame), self.large.numbers
            self.data = Table(
                frame,
                f"{Path(config.data).name}: {self.large.raw.n_rows:,} rows, {frame.shape[1]:,} columns.",
            )
            self.data_fingerprint = self.large.raw.digest
        names = list(frame.columns)
        self.ready: Prepared = prepare(
            frame,
            config.target,
            task=config.task,
            drop=spelled(config.drop, names),
            categories=spelled(config.categories, names),
            keep=spelled(config.keep, names),
            group_by=config.group_by,
        )
        by = config.group_by
        self.groups = None if self.large is None or by is None else self.large.groups(by)
        self.train, self.test = self._split()
        self.needs = 100 * 2**20

    def _opened(self) -> LargeTable | None:
        """The table in blocks, if it has more rows than are searched with, and all of them may be learned from."""
        config = self.config
        if config.rows is not None or not is_large(config.data):
            return None
        return LargeTable.of(config.data, config.seed)

    def _of_all_rows(self) -> str:
        """What will be done with all rows, and what it takes."""
        assert self.large is not None
        n, target = self.large.raw.n_rows, self.ready.target
        outputs = 1 if target.task == "regression" else len(np.unique(target.values))
        d = len(self.ready.encoder.get_feature_names_out())
        centers = default_centers(n)
        need = estimate_memory(
            n, d, outputs, dtype=torch.float64, solver="nystrom", n_centers=centers, streamed=True, sums=4, feature_points=FEATURE_POINTS
        )  # fmt: skip
        searched = f"searched with {len(self.large.numbers):,} of {n:,} rows, then fitted to all in one pass"
        return (
            f"{searched}: up to {centers:,} centres, about {human(need.total)} of memory, whatever the rows"
        )

    def _drawn(self, frame: pd.DataFrame) -> pd.DataFrame:
        most = self.config.most_rows
        self.places = np.arange(len(frame))
        if len(frame) <= most:
            return frame
        self.drawn.append(
            f"{most:,} of {len(frame):,} rows were drawn (--rows takes more; time grows with their cube)."
        )
        self.places = np.sort(np.random.default_rng(self.config.seed).choice(len(frame), most, replace=False))
        return frame.iloc[self.places].reset_index(drop=True)

    def _split(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows to fit to, and rows to hold out: by group, by class where every class can be on both sides."""
        rows, share, seed = np.arange(len(self.ready.frame)), self.config.test, self.config.seed
        if not share:
            return rows, rows[:0]
        if self.ready.groups is not None:
            split = GroupShuffleSplit(1, test_size=share, random_state=seed)
            train, test = next(split.split(rows, groups=self.ready.groups))
        else:
            labels = self.ready.target.values if self.ready.target.task == "classification" else None
            try:
                train, test = train_test_split(rows, test_size=share, random_state=seed, stratify=labels)
            except ValueError:  # a class too small to be on both sides
                train, test = train_test_split(rows, test_size=share, random_state=seed)
        train, test = self._known(np.sort(train), np.sort(test))
        if self.ready.target.task == "classification" and len(np.unique(self.ready.target.values[train])) < 2:
            raise _checks.bad_value(
                "test", "a share that leaves two classes to learn from", f"{share:g}", "make it smaller"
            )
        return train, test

    def _known(self, train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Without held-out rows of a class that the others lack: no model could know it. Where groups allow it they are learned from."""
        if self.ready.target.task == "regression":
            return train, test
        known = np.isin(self.ready.target.values[test], self.ready.target.values[train])
        if known.all():
            return train, test
        rows = (
            f"{int((~known).sum()):,} row{'s' * (int((~known).sum()) > 1)} of a class that no other row has"
        )
        if self.ready.groups is None:
            self.drawn.append(f"{rows}: not held out.")
            train = np.sort(np.concatenate([train, test[~known]]))
        else:
            self.drawn.append(f"{rows} to learn from: held out, and not scored.")
        return train, test[known]

    def plan(self) -> str:
        """The target, and what the columns were taken for."""
        target = self.ready.target
        other = "regression" if target.task == "classification" else "classification"
        why = f", as {target.why}" if target.why else ""
        if target.values.dtype.kind in "if":
            why += f" (else --task {other})" if why else ""
        lines = [f"target: {target.name}, a {target.task}{why}"]
        for kind in ("number", "category", "date"):
            names = [
                column.name for column in self.ready.encoder.columns_ if column.used and column.kind == kind
            ]
            if names:
                lines.append(f"{_plural(kind)} ({len(names)}): {_listed(names)}")
        lines += [
            f"left out: {column.name} ({column.dropped})"
            for column in self.ready.encoder.columns_
            if not column.used
        ]
        lines += [] if self.large is None else [self._of_all_rows()]
        lines += [*self.data.notes, *self.drawn, *self.ready.notes]
        return "\n".join(lines)

    def do(self, folder: Path, listener: Listener) -> _Fitted:
        """Search, unless the model is there."""
        place = folder / MODEL
        notes: list[str] = []
        if place.exists():
            return _Fitted(load(place, device=self.config.device), notes)
        config, scoring = self.config, {} if self.config.scoring is None else {"scoring": self.config.scoring}
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always", UserWarning)
            source = (
                None
                if self.large is None
                else self.large.rows(self.ready.encoder, self.ready.target, self._held_out)
            )
            model = fitted(
                self.ready, self.train, source=source, groups=self.groups, checkpoint=None if source is None else folder / CHECKPOINTS,
                progress=listener.progress, max_time=config.seconds,
                n_candidates=config.candidates, ensemble=config.ensemble, device=config.device, random_state=config.seed, **scoring,
            )  # fmt: skip
        model.save(place)
        known = set(getattr(model.estimator, "notes_", []))
        notes += [f"{note[0].upper()}{note[1:]}." for note in known]
        notes += [str(one.message) for one in heard if not any(note in str(one.message) for note in known)]
        return _Fitted(model, list(dict.fromkeys(notes)))

    @property
    def _held_out(self) -> np.ndarray:
        """Numbers of the rows that are held out, of a large table with all rows of their groups."""
        numbers = self.places[self.ready.target.rows][self.test]
        return numbers if self.groups is None else np.flatnonzero(np.isin(self.groups, self.groups[numbers]))

    def findings(self, found: _Fitted, folder: Path) -> Findings:
        """Scores, importances and directions as tables."""
        model, target, frame = found.model, self.ready.target, self.ready.frame
        honest = np.asarray(model.estimator.oof_predictions_)
        if (
            self.large is not None
        ):  # of the rows that were looked at, which may have no target, or be held out
            honest = honest[target.rows][self.train]
        there = ~np.isnan(honest.reshape(len(honest), -1)).any(1)
        columns = {"honest": self._table(self.train[there], honest[there], model)}
        if len(self.test):
            raw = frame.iloc[self.test]
            values = model.predict_proba(raw) if target.task == "classification" else model.predict(raw)
            columns["test"] = self._table(self.test, values, model)
        scores = score_table(
            **{name: _scores(rows, model) for name, rows in columns.items()},
            none=_scores(self._nothing(columns["honest"], model), model),
        )
        tables = {
            "columns": self._columns(model), "scores": scores, "directions": model.directions(DIRECTIONS),
            "search": _search(model.estimator), **columns,
        }  # fmt: skip
        return Findings(
            title=f"{target.name} of {Path(self.config.data).name}",
            headline=_headline(target.task, scores, tables["columns"]),
            facts=self._facts(model, int(there.sum())),
            tables=tables,
            notes=[*self.drawn, *self.ready.notes, *found.notes, *_doubt(target, scores)],
        )

    def _table(self, rows: np.ndarray, values: np.ndarray, model: TableModel) -> pd.DataFrame:
        """Truth and prediction of rows; for classes also probabilities."""
        true = self.ready.target.values[rows]
        source = self.places[self.ready.target.rows][rows]
        table = pd.DataFrame({"row": source, "true": true})
        if model.task == "regression":
            return table.assign(predicted=values)
        table["predicted"] = model.classes_[values.argmax(1)]
        return pd.concat(
            [table, pd.DataFrame(values, columns=[f"probability of {name}" for name in model.classes_])],
            axis=1,
        )

    def _nothing(self, honest: pd.DataFrame, model: TableModel) -> pd.DataFrame:
        """What would be predicted without any column: the mean, or the shares of the classes."""
        true = self.ready.target.values[self.train]
        if model.task == "regression":
            return honest.assign(predicted=true.mean())
        table = honest.copy()
        for name in model.classes_:
            table[f"probability of {name}"] = float((true == name).mean())
        return table

    def _columns(self, model: TableModel) -> pd.DataFrame:
        shares = model.feature_importances_
        rows = [
            {
                "column": column.name,
                "taken_for": column.kind,
                "importance": float(shares.get(column.name, np.nan)) if column.used else np.nan,
                "left_out": column.dropped,
                "note": "; ".join(column.notes),
            }
            for column in self.ready.encoder.columns_
        ]
        table = pd.DataFrame(rows)
        return table.sort_values("importance", ascending=False, kind="stable", na_position="last")

    def _facts(self, model: TableModel, honest: int) -> dict[str, str]:
        config, estimator = self.config, model.estimator
        learned = len(self.train) if self.large is None else self.large.raw.n_rows - len(self.test)
        rows = f"{learned:,} to learn from" + (f", {len(self.test):,} held out" if len(self.test) else "")
        encoded = len(model.encoder.get_feature_names_out())
        results = estimator.cv_results_
        tried = len(set(results["recursion"].tolist()))
        limit = f"{config.seconds:g} s" if config.seconds is not None else f"{config.candidates} recursions"
        classes = (
            "" if model.task == "regression" else f", classes {_listed([str(c) for c in model.classes_])}"
        )
        judged = f"{tried} recursions, {len(results['params']):,} candidates judged"
        return {
            "Target": f"{model.target}, {model.task}{classes}",
            "Rows": rows,
            "Columns": f"{sum(c.used for c in model.encoder.columns_)} of {len(model.encoder.columns_)} used, {encoded} encoded",
            "Search": f"{limit}: {judged}; {len(estimator.estimators_)} models averaged",
            "Best": ", ".join(f"{name} {_short(value)}" for name, value in estimator.best_params_.items()),
            "Honest predictions": f"of {honest:,} rows, each by models that did not see it"
            + (f" nor its group ({config.group_by})" if config.group_by else ""),
            "Seed": str(config.seed),
        }


def spelled(given: tuple[str, ...] | None, names: list[str]) -> list[str]:
    """Names of columns as they were meant: a comma may be part of one."""
    parts, found = list(given or ()), []
    plain = {",".join(part.strip() for part in name.split(",")): name for name in names}
    while parts:
        count = next((k for k in range(len(parts), 0, -1) if ",".join(parts[:k]) in plain), 1)
        word = ",".join(parts[:count])
        found.append(plain.get(word, word))
        del parts[:count]
    return found


def _scores(rows: pd.DataFrame, model: TableModel) -> dict[str, tuple[float, float]]:
    if model.task == "regression":
        return regression_scores(rows["true"].to_numpy(float), rows["predicted"].to_numpy(float))
    labels = np.searchsorted(model.classes_, rows["true"].to_numpy())
    return classification_scores(
        labels, rows[[f"probability of {name}" for name in model.classes_]].to_numpy(float)
    )


def _headline(task: str, scores: pd.DataFrame, columns: pd.DataFrame) -> str:
    best = scores.iloc[0]
    name = "R²" if task == "regression" else "accuracy"
    value = f"{_plain(best['honest'])} ± {_plain(best['honest error'])}"
    held = f", {_plain(best['test'])} on held-out rows" if "test" in scores else ""
    top = [str(name) for name in columns[columns["importance"] >= _COUNTS]["column"].head(3)]
    counts = f"; what counts most: {', '.join(top)}" if top else ""
    return f"Honest {name} {value}{held} (without any column {_plain(best['none'])}){counts}."


def _doubt(target: Target, scores: pd.DataFrame) -> list[str]:
    """A sentence where the columns may say nothing of the target."""
    measure, sign = ("R²", 1) if target.task == "regression" else ("Brier score", -1)
    row = scores.set_index("measure").loc[measure]
    if sign * (row["honest"] - row["none"]) > row["honest error"]:
        return []
    worth = f"the honest {measure} is not a standard error better than without a model"
    return [f"Not shown that the columns say anything of {target.name}: {worth}."]


def _plain(value: float) -> str:
    """Three digits after the point, and no minus before a zero."""
    return f"{round(float(value), 3) + 0.0:.3f}"


def _search(estimator: Any) -> pd.DataFrame:
    results = estimator.cv_results_
    names = [name for name in results if name.startswith("param_")]
    table = pd.DataFrame(
        {
            name: results[name]
            for name in ("recursion", "rank_test_score", "mean_test_score", "n_folds", "weight")
        }
    )
    for name in names:
        table[name.removeprefix("param_")] = [
            None if value is np.ma.masked else _short(value) for value in results[name]
        ]
    return table.sort_values("rank_test_score", kind="stable")


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _plural(kind: str) -> str:
    return {"number": "numbers", "category": "categories", "date": "dates"}[kind]


def _listed(names: list[str], most: int = 12) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
