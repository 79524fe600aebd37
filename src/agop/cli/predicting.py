"""Predictions of a table that is never held as a whole: written block by block, scored as they come."""

from __future__ import annotations

import math
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pandas as pd

from agop._checks import bad_value
from agop.tables import TableModel


def check_folder(out: Path) -> None:
    """Raise unless the folder that `out` is to lie in is there."""
    if not out.parent.is_dir():
        raise bad_value("out", "a file in an existing folder", repr(str(out)), "create the folder first")


class Writer:
    """Writes frames of the same columns into one file: .csv, .parquet, or .feather."""

    def __init__(self, path: Path) -> None:
        self.path, self._file = path, None
        self._stream: Any = None

    def __enter__(self) -> Writer:
        return self

    def write(self, frame: pd.DataFrame) -> None:
        """Write rows behind those that are there."""
        if self.path.suffix.lower() == ".csv":
            first = self._stream is None
            if first:
                self._stream = self.path.open("w", encoding="utf-8", newline="\n")
            frame.to_csv(self._stream, index=False, header=first, lineterminator="\n")
            return
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pa.Table.from_pandas(frame, preserve_index=False)
        if self._stream is None:
            self._schema = table.schema
            parquet = self.path.suffix.lower() == ".parquet"
            make = pq.ParquetWriter if parquet else pa.ipc.new_file
            self._stream = make(str(self.path), table.schema)
        table = table.cast(self._schema)
        self._stream.write_table(table)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stream is not None:
            self._stream.close()


class Score:
    """Accuracy or R² of the rows whose target is known, added up."""

    def __init__(self, model: TableModel) -> None:
        self.model, self.rows, self._hits = model, 0, 0
        self._mean = self._scatter = self._error = 0.0

    def add(self, frame: pd.DataFrame, predicted: pd.Series) -> None:
        """Count the rows of a block."""
        if self.model.target not in frame:
            return
        known, truth = self.model.known_targets(frame[self.model.target])
        found = predicted.to_numpy()[known]
        if not len(known):
            return
        if self.model.task == "classification":
            self._hits += int((found == truth).sum())
        else:
            count, mean = len(truth), float(truth.mean())
            apart, total = mean - self._mean, self.rows + count
            self._scatter += float(np.square(truth - mean).sum()) + apart**2 * self.rows * count / total
            self._mean += apart * count / total
            self._error += float(np.square(found - truth).sum())
        self.rows += len(known)

    @property
    def words(self) -> str:
        """The score in a sentence."""
        name, value = "accuracy", self._hits / self.rows
        if self.model.task == "regression":
            name, value = "R²", 1 - self._error / self._scatter if self._scatter else math.nan
        return f"{name} {value:.3f} on the {self.rows:,} rows whose {self.model.target} is in the table"
