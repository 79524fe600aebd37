"""Parquet, Feather and Arrow files as a source of blocks: one, several, or a folder of them, read through pyarrow a few rows at a time.

What can be known without reading rows is checked when files are opened: their columns, types and numbers of rows. A column of whole
numbers in one file and of fractions in another is numbers; one of numbers here and of texts there is an error. Parts without rows add
none. A gap (null) is NaN. Columns of numbers only come as one array, float32 if all of them are; else as a frame.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from agop import _checks
from agop._blocks import DEFAULT_BLOCK_BYTES
from agop.blocks.arrays import LOOKS, RUN, fingerprint
from agop.blocks.arrow import ENDINGS, ArrowFile, check_pyarrow, damages, plain_values, same_kinds, unreadable
from agop.blocks.block import Block, check_block, row_numbers, span
from agop.blocks.columns import feature_columns, target_names

_BATCH = 65_536
"""Rows that a file is decoded in at most."""


@dataclass(frozen=True, eq=False)
class _Part:
    """One file: its rows come after those of the parts before it."""

    path: Path
    first: int
    rows: int
    size: int
    changed: int
    groups: tuple[int, ...]
    """Rows of each row group or record batch."""

    @property
    def stop(self) -> int:
        return self.first + self.rows


class FileBlocks:
    """Rows of files, in the order of the files.

    Parameters
    ----------
    paths
        A file .parquet, .feather or .arrow, a list of files, or a folder, whose files of one of these endings are taken, also in folders
        below it, sorted by name.
    target
        The name of the column to predict, or several; None: none.
    weight
        The name of the column of weights; None: none.
    columns
        Names of the columns to learn from; None: all others.

    Raises
    ------
    ValueError, TypeError
        One sentence, if pyarrow is missing, a file is missing, empty or damaged, there are no rows, a column is missing or has another
        type than in the first file. While rows are read: if a file has changed since, or can't be decoded.
    """

    def __init__(self, paths: Any, target: Any = None, weight: Any = None, columns: Any = None) -> None:
        self._paths = _listed(paths)
        check_pyarrow()
        self.target, self.weight = target, weight
        parts: list[_Part] = []
        kinds: dict[str, str] = {}
        first = 0
        for path in self._paths:
            with ArrowFile(path) as reader:
                kinds = same_kinds(kinds, reader.kinds(), path, self._paths[0])
                at = path.stat()
                rows = sum(reader.groups)
                parts.append(_Part(path, first, rows, at.st_size, at.st_mtime_ns, reader.groups))
            first += rows
        self._parts, self.n_rows = parts, first
        if first == 0:
            raise _checks.bad_value("data", "a table with rows", f"{_shown(self._paths)} without any")
        names = [name for name in kinds if not name.startswith("__index_level_")]
        self.feature_names: list[str] = list(map(str, feature_columns(names, target, weight, columns)))
        self.n_features = len(self.feature_names)
        self._kinds = kinds
        self._plain = all(kinds[name] in ("number", "single") for name in self.feature_names)
        for name in self.feature_names:
            if kinds[name] == "nested":
                got = f"a column of lists or structures, {name!r}"
                raise _checks.bad_value("data", "columns of single values", got, "leave it out with columns=")
        single = self._plain and all(kinds[name] == "single" for name in self.feature_names)
        self._dtype = np.float32 if single else np.float64

    @property
    def digest(self) -> str:
        """Of names, types, sizes and times of the files, and of 256 rows."""
        content = hashlib.blake2b(digest_size=16)
        for part in self._parts:
            content.update(repr((part.path.name, part.size, part.changed, part.groups)).encode())
        content.update(
            repr((self.target, self.weight, [(n, self._kinds[n]) for n in self.feature_names])).encode()
        )
        for place in np.unique(np.linspace(0, max(0, self.n_rows - RUN), LOOKS).astype(np.int64)).tolist():
            for block in self.read(RUN, place, min(place + RUN, self.n_rows)):
                for values in (block.X, block.y, block.weight):
                    content.update(fingerprint(values))
        return content.hexdigest()

    def read(self, rows: int, start: int = 0, stop: int | None = None) -> Iterator[Block]:
        """Consecutive rows, exactly `rows` in a block but in the last: blocks don't end where files do."""
        spans = list(span(self.n_rows, rows, start, stop))
        if not spans:
            return
        decoded = self._decoded(spans[0][0], spans[-1][1], min(rows, self._batch))
        left: Any = None
        for first, last in spans:
            taken, count = [], 0
            while count < last - first:
                table = next(decoded) if left is None else left
                wanted = last - first - count
                taken.append(table.slice(0, wanted))
                left = table.slice(wanted) if table.num_rows > wanted else None
                count += taken[-1].num_rows
            yield self._block(first, taken)

    def take(self, index: np.ndarray) -> Block:
        """The rows with these numbers; files and row groups without any of them are not read."""
        index = row_numbers(index, self.n_rows)
        found = []
        for part in self._parts:
            upto = np.cumsum((part.first, *part.groups))
            for group, (first, last) in enumerate(zip(upto[:-1].tolist(), upto[1:].tolist(), strict=True)):
                here = index[np.searchsorted(index, first) : np.searchsorted(index, last)]
                if len(here):
                    found += self._picked(part, group, here - first)
        return self._block(int(index[0]), found, index)

    @property
    def _columns(self) -> list[str]:
        return [*self.feature_names, *target_names(self.target), *([self.weight] if self.weight else [])]

    @property
    def _batch(self) -> int:
        """Rows of which a quarter of a block's memory holds the decoded columns."""
        return max(1, min(_BATCH, DEFAULT_BLOCK_BYTES // 4 // (16 * len(self._columns))))

    def _decoded(self, start: int, stop: int, batch: int) -> Iterator[Any]:
        """Tables of a few rows each, from row `start` up to `stop`."""
        for part in self._parts:
            at = part.first
            if part.stop <= start or part.first >= stop:
                continue
            with self._opened(part) as reader:
                for group, rows in enumerate(part.groups):
                    if at + rows > start and at < stop:
                        for first, table in self._batches(part, reader, group, at, batch):
                            low, high = max(start - first, 0), min(stop - first, table.num_rows)
                            if low < high:
                                yield table.slice(low, high - low)
                            if first + table.num_rows >= stop:
                                return
                    at += rows

    def _picked(self, part: _Part, group: int, index: np.ndarray) -> list[Any]:
        found = []
        with self._opened(part) as reader:
            for first, table in self._batches(part, reader, group, 0, self._batch):
                stop = first + table.num_rows
                here = index[np.searchsorted(index, first) : np.searchsorted(index, stop)] - first
                if len(here):
                    found.append(table.take(here))
                if index[-1] < stop:
                    break
        return found

    def _batches(
        self, part: _Part, reader: ArrowFile, group: int, first: int, batch: int
    ) -> Iterator[tuple[int, Any]]:
        """The tables of one row group, each with the number of its first row."""
        decoded, end = reader.batches(group, self._columns, batch), first + part.groups[group]
        while first < end:
            _unchanged(part)
            try:
                table = next(decoded, None)
            except damages() as error:
                raise unreadable(part.path, error) from None
            if table is None:
                raise unreadable(part.path, f"it ends {end - first:,} rows early")
            yield first, table
            first += table.num_rows

    def _opened(self, part: _Part) -> ArrowFile:
        _unchanged(part)
        return ArrowFile(part.path)

    def _block(self, first: int, tables: list[Any], index: np.ndarray | None = None) -> Block:
        count = sum(table.num_rows for table in tables)
        if self._plain:
            X: Any = np.empty((count, self.n_features), dtype=self._dtype)
            for place, name in enumerate(self.feature_names):
                self._fill(X[:, place], tables, name)
        else:
            X = pd.DataFrame({name: self._series(tables, name) for name in self.feature_names})
        targets = [self._target(tables, name) for name in target_names(self.target)]
        y = None if not targets else targets[0] if isinstance(self.target, str) else np.stack(targets, 1)
        weight = None
        if self.weight is not None:
            if self._kinds[self.weight] not in ("number", "single"):
                raise _checks.bad_value("weight", "a column of numbers", f"{self.weight!r} of texts")
            self._fill(weight := np.empty(count), tables, self.weight)
        return check_block(Block(first, X, y, weight), self.feature_names, self.n_features, index)

    def _fill(self, column: np.ndarray, tables: list[Any], name: str) -> None:
        import pyarrow as pa

        at = 0
        for table in tables:
            values = table.column(name)
            if not pa.types.is_floating(values.type):
                values = values.cast(pa.float64(), safe=False)
            column[at : at + len(values)] = values.to_numpy()
            at += len(values)

    def _series(self, tables: list[Any], name: str) -> pd.Series:
        kind = self._kinds[name]
        if kind in ("number", "single"):
            column = np.empty(sum(table.num_rows for table in tables))
            self._fill(column, tables, name)
            return pd.Series(column)
        values = pd.concat([plain_values(table.column(name)) for table in tables], ignore_index=True)
        return values.astype("category") if kind == "category" else values

    def _target(self, tables: list[Any], name: str) -> np.ndarray:
        import pyarrow as pa

        columns = [table.column(name) for table in tables]
        if self._kinds[name] in ("number", "single"):
            whole = all(pa.types.is_integer(c.type) and not c.null_count for c in columns)
            if whole:
                return np.concatenate([c.to_numpy() for c in columns])
            column = np.empty(sum(map(len, columns)))
            self._fill(column, tables, name)
            return column
        if self._kinds[name] == "date":
            raise _checks.bad_value("target", "a column of numbers or labels", f"{name!r}, which holds dates")
        return np.asarray(pd.concat([plain_values(c) for c in columns]).to_numpy(dtype=object))


def _listed(paths: Any) -> list[Path]:
    """The files that are meant."""
    given = [paths] if isinstance(paths, str | os.PathLike) else paths
    if not isinstance(given, list | tuple) or not all(isinstance(path, str | os.PathLike) for path in given):
        raise _checks.bad_type("data", "a path, or a list of paths", _checks.shown(paths))
    found: list[Path] = []
    for each in given:
        path = Path(each).expanduser()
        if _is(path.is_dir):
            inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in ENDINGS and p.is_file())
            if not inside:
                got = f"{str(path)!r} without any"
                raise _checks.bad_value("data", f"a folder with files {', '.join(ENDINGS)}", got)
            found += inside
        elif path.suffix.lower() not in ENDINGS:
            raise _checks.bad_value(
                "data", f"a file {', '.join(ENDINGS)}", repr(str(path)), "save the table as one of these"
            )
        elif not _is(path.is_file):
            raise _checks.bad_value("data", "a file that is there", repr(str(path)), "check the path")
        else:
            found.append(path)
    for path in found:
        if path.stat().st_size == 0:
            raise _checks.bad_value(
                "data", "a table", f"{str(path)!r}, an empty file", "write it again, or leave it out"
            )
    if not found:
        raise _checks.bad_value("data", "at least one file", "none")
    return found


def _is(question: Any) -> bool:
    """Whether a path is something; a name that is none on this system is nothing."""
    try:
        return bool(question())
    except (OSError, ValueError):
        return False


def _unchanged(part: _Part) -> None:
    try:
        now = part.path.stat()
    except OSError:
        raise _checks.bad_value(
            "data", "the files that were opened", f"{str(part.path)!r}, which is gone"
        ) from None
    if (now.st_size, now.st_mtime_ns) != (part.size, part.changed):
        got = f"{str(part.path)!r} of {now.st_size:,} bytes, which had {part.size:,}"
        if now.st_size == part.size:
            got = f"{str(part.path)!r}, which was written to"
        raise _checks.bad_value(
            "data", "files that stay as they were opened", got, "leave them alone while they are read"
        )


def _shown(paths: list[Path]) -> str:
    return repr(str(paths[0])) if len(paths) == 1 else f"{len(paths):,} files"
