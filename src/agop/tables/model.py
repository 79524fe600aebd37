"""A model of a table: how its columns are read, and the estimator behind them; it predicts on raw frames."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import accuracy_score, r2_score

from agop import _checks
from agop.machines.rfm_cv import RFMClassifierCV, RFMRegressorCV
from agop.tables.encoder import TableEncoder, _frame
from agop.tables.kinds import as_numbers, as_texts, asked_names, no_such_column, require_columns
from agop.tables.large import TableBlocks
from agop.tables.reading import read_table
from agop.tables.storing import save
from agop.tables.target import Target, leaks, target_of

ESTIMATORS = {"classification": RFMClassifierCV, "regression": RFMRegressorCV}


@dataclass(frozen=True, eq=False)
class TableModel:
    """A fitted model that takes raw frames; `fit_table` makes one, `agop.load` reads one.

    Attributes
    ----------
    target
        Name of the column that is predicted.
    task
        "classification" or "regression".
    encoder
        A fitted `TableEncoder`.
    estimator
        A fitted estimator of agop.
    notes
        What had to be decided about the table, in sentences.
    """

    target: str
    task: str
    encoder: TableEncoder
    estimator: Any
    notes: tuple[str, ...] = field(default=())

    def predict(self, table: Any) -> np.ndarray:
        """The target of each row (m,): numbers or classes. Columns are matched by name; for what is raised see `TableEncoder.transform`."""
        return np.asarray(self.estimator.predict(self.encoder.transform(table)))

    def predict_proba(self, table: Any) -> np.ndarray:
        """Calibrated probabilities (m, C) of `classes_`; for classifications only."""
        return np.asarray(self.estimator.predict_proba(self.encoder.transform(table)))

    def differences(self, table: Any) -> list[str]:
        """How a table differs from the one that was learned from, in sentences; the target may be in it."""
        return self.encoder.differences(self._without_target(table))

    def score(self, table: Any, target: Any = None) -> float:
        """Accuracy or R² on rows whose target is known: `target` (m,), or the column of the table."""
        frame = _frame(table)
        if target is None:
            if self.target not in frame:
                raise no_such_column("table", self.target, list(frame.columns))
            target = frame[self.target]
        else:
            target = np.asarray(target, dtype=object)
            if target.ndim != 1:
                raise _checks.bad_value("target", "one value a row", f"shape {target.shape}")
            _checks.same_length("table", len(frame), "target", len(target))
        rows, truth = self.known_targets(pd.Series(target))
        least = 1 if self.task == "classification" else 2
        if len(rows) < least:
            expected = (
                "a row whose target is known" if least == 1 else "two rows whose target is known, for R²"
            )
            raise _checks.bad_value("target", expected, f"{len(rows)}")
        found = self.predict(frame.iloc[rows])
        return float(
            accuracy_score(truth, found) if self.task == "classification" else r2_score(truth, found)
        )

    def known_targets(self, column: pd.Series) -> tuple[np.ndarray, np.ndarray]:
        """Positions of the rows whose target is known, and their targets as `predict` gives them: numbers, or classes."""
        if self.task == "regression" or self.classes_.dtype.kind in "iu":
            values = as_numbers(column).to_numpy()
            rows = np.isfinite(values).nonzero()[0]
            return rows, values[rows]
        texts = as_texts(column)
        rows = texts.notna().to_numpy().nonzero()[0]
        return rows, texts.to_numpy()[rows].astype(str)

    @property
    def classes_(self) -> np.ndarray:
        """The classes, in the order of the columns of `predict_proba`."""
        return np.asarray(self.estimator.classes_)

    @property
    def feature_importances_(self) -> pd.Series:
        """How much the predictor changes along each column that is used: shares with sum 1, the largest first."""
        shares = pd.Series(self.estimator.feature_importances_, index=self.encoder.sources_)
        return shares.groupby(level=0, sort=False).sum().sort_values(ascending=False, kind="stable")

    def directions(self, count: int = 3) -> pd.DataFrame:
        """The top eigenvectors of the predictor's AGOP in standardised units: `direction`, `share` of the trace, `column`, `weight`.

        Directions that explain nothing are left out; the largest weight of a direction is positive.
        """
        matrix = self.estimator.predictor_agop_.cpu().numpy()
        values, vectors = np.linalg.eigh(matrix)
        values, vectors = values[::-1], vectors[:, ::-1]
        total, names = float(values.clip(min=0).sum()), self.estimator.encoded_feature_names_
        rows = []
        for place in range(min(count, len(values))):
            if total <= 0 or values[place] <= 1e-6 * total:
                break
            vector = vectors[:, place]
            vector = vector * np.sign(vector[np.abs(vector).argmax()])
            rows += [
                (place + 1, values[place] / total, name, weight)
                for name, weight in zip(names, vector, strict=True)
            ]
        return pd.DataFrame(rows, columns=["direction", "share", "column", "weight"])

    def save(self, path: str | Path) -> None:
        """Write one safetensors file that holds columns and estimator; `agop.load` reads it, and runs nothing that is in it."""
        save(self, path)

    def _without_target(self, table: Any) -> pd.DataFrame:
        frame = _frame(table)
        return frame.drop(columns=[self.target], errors="ignore")


@dataclass(frozen=True, eq=False)
class Prepared:
    """A table that is ready to be fitted: rows whose target is known, which group each belongs to, and how columns are read."""

    frame: pd.DataFrame
    target: Target
    encoder: TableEncoder
    groups: np.ndarray | None
    notes: tuple[str, ...]


def prepare(
    frame: pd.DataFrame,
    target: str,
    *,
    task: str = "auto",
    drop: Iterable[str] = (),
    categories: Iterable[str] = (),
    keep: Iterable[str] = (),
    group_by: str | None = None,
) -> Prepared:
    """Find the target, learn the columns, leave out what is of no use.

    Raises
    ------
    ValueError
        One sentence, for what a table can have that no fit can use.
    """
    names = list(frame.columns)
    if not isinstance(target, str | int) or not isinstance(group_by, str | int | None):
        argument, value = ("group_by", group_by) if isinstance(target, str | int) else ("target", target)
        raise _checks.bad_type(argument, "the name of a column", _checks.shown(value))
    target, group_by = str(target), None if group_by is None else str(group_by)
    drop, categories, keep = (
        asked_names(argument, given)
        for argument, given in (("drop", drop), ("categories", categories), ("keep", keep))
    )
    require_columns("target", [target], names)
    require_columns("group_by", [] if group_by is None else [group_by], names)
    for argument, given in (("drop", drop), ("categories", categories), ("keep", keep)):
        require_columns(argument, given, names)
    if target in (*drop, group_by):
        raise _checks.bad_value("target", "a column that is not dropped", repr(target))
    found = target_of(frame[target], target, task)
    notes = []
    gone = len(frame) - int(found.rows.sum())
    if gone:
        notes.append(f"{gone:,} row{'s' * (gone > 1)} without {target} left out.")
    frame = frame[found.rows].reset_index(drop=True)
    groups = None
    if group_by is not None:
        groups = pd.factorize(frame[group_by], use_na_sentinel=False)[0]
        if len(np.unique(groups)) < 2:
            raise _checks.bad_value(
                "group_by", "at least two groups", f"one in column {group_by!r}", "leave it out"
            )
    features = frame.drop(columns=[target, *([group_by] if group_by is not None else [])])
    if not features.shape[1]:
        raise _checks.bad_value("data", "columns beside the target", "none", "add some")
    own = list(features)
    encoder = TableEncoder(
        drop=[name for name in drop if name in own],
        categories=[name for name in categories if name in own],
        keep=[name for name in keep if name in own],
    ).fit(features)
    reasons, told = leaks(encoder, features, found)
    encoder.without(reasons)
    return Prepared(features, found, encoder, groups, (*notes, *told, *encoder.notes_))


def fit_table(
    table: Any,
    target: str,
    *,
    task: str = "auto",
    drop: Iterable[str] = (),
    categories: Iterable[str] = (),
    keep: Iterable[str] = (),
    group_by: str | None = None,
    progress: Callable[[float, float, str], None] | None = None,
    **search: Any,
) -> TableModel:
    """Fit a model to a table: read the columns, search, and keep what is best by honest predictions.

    Parameters
    ----------
    table
        A frame of pandas, polars or pyarrow, or the path of a file that `read_table` reads.
    target
        Name of the column to predict. Rows in which it is missing are left out.
    task
        "classification", "regression", or "auto": numbers are a regression, unless they are at most ten different whole ones.
    drop, categories, keep
        As for `TableEncoder`.
    group_by
        Rows with one value of this column are held out together; the model doesn't see it.
    progress
        Called with (done, of how many, what is being done).
    **search
        Options of `RFMClassifierCV` or `RFMRegressorCV`: `max_time` in seconds, `n_candidates`, `scoring`, `random_state`, …

    Returns
    -------
    TableModel
        Its `estimator` holds the search: `best_score_`, `oof_predictions_`, `cv_results_`.

    Raises
    ------
    ValueError
        One sentence, for what a table can have that no fit can use.
    """
    frame = read_table(table).frame if isinstance(table, str | Path) else _frame(table)
    ready = prepare(frame, target, task=task, drop=drop, categories=categories, keep=keep, group_by=group_by)
    return fitted(ready, np.arange(len(ready.frame)), progress=progress, **search)


def fitted(
    ready: Prepared,
    rows: np.ndarray,
    *,
    source: TableBlocks | None = None,
    groups: np.ndarray | None = None,
    checkpoint: Path | None = None,
    progress: Callable[[float, float, str], None] | None = None,
    **search: Any,
) -> TableModel:
    """The model of some rows of a prepared table, or of all rows of a larger one (`source`, in `groups`), of which it is a part."""
    if source is not None:
        model = ESTIMATORS[ready.target.task](**search).fit(
            source, groups=groups, progress=progress, checkpoint=checkpoint
        )
        return TableModel(ready.target.name, ready.target.task, ready.encoder, model, ready.notes)
    encoded = ready.encoder.transform(ready.frame.iloc[rows])
    estimator = ESTIMATORS[ready.target.task](**search)
    groups = None if ready.groups is None else ready.groups[rows]
    estimator.fit(encoded, ready.target.values[rows], groups=groups, progress=progress)
    return TableModel(ready.target.name, ready.target.task, ready.encoder, estimator, ready.notes)
