"""A table of more rows than are read at once: some to learn its columns from, and all of them as an estimator takes them, in blocks."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from agop import _checks
from agop.blocks import Block, Blocks, open_blocks
from agop.blocks.arrow import ENDINGS
from agop.machines.rows import drawn
from agop.machines.solver import LARGE
from agop.tables.encoder import TableEncoder
from agop.tables.kinds import as_numbers, as_texts
from agop.tables.target import Target

_GROUPED = 100_000
"""Rows whose groups are read at once."""


def is_large(path: str | Path) -> bool:
    """Whether a file or a folder of Parquet, Feather or Arrow has more rows than a search is given; a folder always is read this way."""
    path = Path(path).expanduser()
    if path.is_dir():
        return True
    return path.suffix.lower() in ENDINGS and path.is_file() and open_blocks(path).n_rows > LARGE


@dataclass(frozen=True, eq=False)
class LargeTable:
    """All columns of a table in blocks, and the rows that are looked at first.

    Attributes
    ----------
    raw
        All columns as features, no target.
    numbers
        Numbers of the rows in `frame`, at most 30,000, seeded: those that `RFMRegressorCV` searches with.
    """

    raw: Blocks
    numbers: np.ndarray
    frame: pd.DataFrame

    @classmethod
    def of(cls, path: str | Path, seed: int) -> LargeTable:
        """Open a file or a folder."""
        raw = open_blocks(path)
        numbers = drawn(raw.n_rows, min(raw.n_rows, LARGE), seed)
        return cls(raw, numbers, frame_of(raw, raw.take(numbers)).reset_index(drop=True))

    def groups(self, column: str) -> np.ndarray:
        """Which group each row of the table belongs to, numbered in the order of appearance: one pass over the blocks."""
        known: dict[Any, int] = {}
        found = np.empty(self.raw.n_rows, dtype=np.int64)
        for block in self.raw.read(_GROUPED):
            codes, values = pd.factorize(frame_of(self.raw, block)[column], use_na_sentinel=False)
            numbers = np.array([known.setdefault(None if pd.isna(v) else v, len(known)) for v in values])
            found[block.start : block.start + len(block)] = numbers[codes]
        return found

    def rows(self, encoder: TableEncoder, target: Target, held_out: np.ndarray) -> TableBlocks:
        """Encoded rows with their target; those `held_out` (numbers) have the weight 0."""
        return TableBlocks(self.raw, encoder, target, np.sort(held_out))


def frame_of(raw: Blocks, block: Block) -> pd.DataFrame:
    """A block with the names of its columns."""
    return block.X if isinstance(block.X, pd.DataFrame) else pd.DataFrame(block.X, columns=raw.feature_names)


class TableBlocks:
    """Rows of a table as an encoder makes them, with their target.

    A row without a target, of a class that `target` doesn't know, or held out has the weight 0: it is as if it were not there.
    """

    def __init__(self, raw: Blocks, encoder: TableEncoder, target: Target, held_out: np.ndarray) -> None:
        self.raw, self.encoder, self.target, self.held_out = raw, encoder, target, held_out
        self.n_rows = raw.n_rows
        self.feature_names = list(map(str, encoder.get_feature_names_out()))
        self.n_features = len(self.feature_names)
        self._classes = None if target.task == "regression" else np.unique(target.values)

    @property
    def digest(self) -> str:
        """Of the table, the columns as they are read, and the rows that are held out."""
        texts = repr((self.raw.digest, self.target.name, self.target.task, self.encoder.columns_))
        return hashlib.blake2b(texts.encode() + self.held_out.tobytes(), digest_size=16).hexdigest()

    def read(self, rows: int, start: int = 0, stop: int | None = None) -> Iterator[Block]:
        """Consecutive rows, at most `rows` in a block."""
        for block in self.raw.read(rows, start, stop):
            yield self._encoded(block, np.arange(block.start, block.start + len(block)))

    def take(self, index: np.ndarray) -> Block:
        """The rows with these numbers."""
        return self._encoded(self.raw.take(index), np.asarray(index))

    def _encoded(self, block: Block, numbers: np.ndarray) -> Block:
        frame = frame_of(self.raw, block).reset_index(drop=True)
        y, known = self._targets(frame[self.target.name], numbers)
        if len(self.held_out):
            place = np.searchsorted(self.held_out, numbers).clip(max=len(self.held_out) - 1)
            known &= self.held_out[place] != numbers
        return Block(block.start, self.encoder.transform(frame), y, known.astype(np.float64))

    def _targets(self, column: pd.Series, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Targets, and which rows have one."""
        if self._classes is None or self._classes.dtype.kind in "iu":
            values = as_numbers(column).to_numpy()
            strange = np.isinf(values) | (np.isnan(values) & column.notna().to_numpy())
            if self._classes is None and strange.any():
                row = int(strange.nonzero()[0][0])
                got = f"{_checks.shown(_checks.plain(column.iloc[row]))} in column {self.target.name!r}, row {numbers[row]:,}"
                raise _checks.bad_value("target", "finite numbers", got, "mend them")
            known = np.isfinite(values)
            filled = np.where(known, values, 0.0)
            if self._classes is None:
                return filled, known
            filled, known = filled.astype(np.int64), known & np.isin(filled, self._classes)
        else:
            filled = as_texts(column).fillna("").to_numpy().astype(str)
            known = column.notna().to_numpy() & np.isin(filled, self._classes)
        return np.where(known, filled, self._classes[0]), known
