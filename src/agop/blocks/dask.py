"""Dask arrays and data frames as a source of blocks: partitions are computed one after the other, or where they lie.

`read` computes a partition at a time and cuts it to what is asked for. `sums` lets dask's scheduler, of this machine or of a cluster, form
a sum of each partition where it lies; the sums are added in the order of the partitions in a fixed tree, so that the result does not
depend on who was done first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from agop import _checks
from agop.blocks.arrays import ArrayBlocks, fingerprint
from agop.blocks.block import Block, row_numbers, span
from agop.blocks.columns import feature_columns, named, target_names

T = TypeVar("T")


class DaskBlocks:
    """Rows of a dask array or data frame.

    Parameters
    ----------
    rows
        A dask array (n, d), whose chunks along the first axis are the partitions, or a dask data frame.
    target, weight
        Names of columns of a data frame; beside an array, dask arrays with the same chunks along the first axis, or arrays.
    columns
        Of a data frame: names of the columns to learn from; None: all others.

    Raises
    ------
    ValueError, TypeError
        One sentence, if a column is missing, or lengths differ. Unknown lengths of partitions are computed, which may read them all.
    """

    def __init__(self, rows: Any, target: Any = None, weight: Any = None, columns: Any = None) -> None:
        self._frame = is_frame(rows)
        if self._frame:
            names = list(rows.columns)
            self.feature_names: list[str] | None = list(
                map(str, feature_columns(names, target, weight, columns))
            )
            self._y: Any = target_names(target)
            self._weight: Any = weight
            kept = [*self.feature_names, *self._y, *([weight] if isinstance(weight, str) else [])]
            self._one = isinstance(target, str)
            self._parts = list(rows[list(dict.fromkeys(kept))].to_delayed())
            lengths = _lengths(self._parts)
            self.n_features = len(self.feature_names)
        else:
            if columns is not None:
                raise _checks.bad_value("columns", "None where columns have no names", _checks.shown(columns))
            if rows.ndim != 2:
                raise _checks.bad_value("X", "rows (n, d)", f"{rows.ndim} axes")
            self.feature_names, self.n_features = None, int(rows.shape[1])
            rows = rows.rechunk({1: -1})
            self._parts = [part[0] for part in rows.to_delayed().tolist()]
            lengths = [int(n) if n == n else -1 for n in rows.chunks[0]]
            lengths = _lengths(self._parts) if -1 in lengths else lengths
        self._first = np.cumsum([0, *lengths]).tolist()
        self.n_rows = int(self._first[-1])
        if self.n_rows == 0:
            raise _checks.bad_value("X", "at least one row", "none")
        if not self._frame:
            self._y = _beside("y", target, self._first)
            self._weight = _beside("weight", weight, self._first)

    @property
    def digest(self) -> str:
        """Of dask's own names of the partitions, their lengths, and the rows that begin each of at most 16 of them."""
        content = hashlib.blake2b(digest_size=16)
        content.update(repr((self._first, self.feature_names, self.n_features)).encode())
        content.update(repr([str(part.key) for part in self._parts]).encode())
        for place in np.unique(np.linspace(0, len(self._parts) - 1, 16).astype(int)).tolist():
            block = self._block(place)
            for values in (block.X, block.y, block.weight):
                content.update(fingerprint(None if values is None else values[:16]))
        return content.hexdigest()

    def read(self, rows: int, start: int = 0, stop: int | None = None) -> Iterator[Block]:
        """Consecutive rows, at most `rows` in a block; a block ends where its partition does."""
        last = [last for _, last in span(self.n_rows, rows, start, stop)]
        if not last:
            return
        for place, (first, end) in enumerate(pairwise(self._first)):
            low, high = max(first, start), min(end, last[-1])
            if low < high:
                block = self._block(place)
                for at in range(low, high, rows):
                    yield _cut(block, at, min(at + rows, high))

    def take(self, index: np.ndarray) -> Block:
        """The rows with these numbers; partitions without any of them are not computed."""
        index = row_numbers(index, self.n_rows)
        found = []
        for place, (first, end) in enumerate(pairwise(self._first)):
            here = index[np.searchsorted(index, first) : np.searchsorted(index, end)] - first
            if len(here):
                block = self._block(place)
                X = block.X.iloc[here] if isinstance(block.X, pd.DataFrame) else block.X[here]
                found.append((X, *(None if part is None else part[here] for part in (block.y, block.weight))))
        X, y, weight = (None if part[0] is None else _joined(part) for part in zip(*found, strict=True))
        assert X is not None
        return Block(int(index[0]), X, y, weight)

    def sums(
        self,
        function: Callable[[Block], T],
        merge: Callable[[T, T], T],
        start: int = 0,
        stop: int | None = None,
    ) -> T:
        """`function` of the rows of each partition, merged in the order of partitions, by the scheduler that dask uses here.

        Parameters
        ----------
        function
            From a block to its sum; it travels to where the partition lies.
        merge
            From two sums, of earlier and of later rows, to that of both.
        start, stop
            Rows that count, from `start` up to `stop` (None: the end).
        """
        import dask

        stop = self.n_rows if stop is None else stop
        work = dask.delayed(
            function, pure=False, traverse=False
        )  # one node of the graph, however large what it holds
        found = []
        for place, (first, end) in enumerate(pairwise(self._first)):
            low, high = max(first, start), min(end, stop)
            if low < high:
                found.append(dask.delayed(_summed, pure=False)(work, self._delayed(place), low, high))
        if not found:
            raise _checks.bad_value("stop", f"rows above {start}", f"{stop}")
        while len(found) > 1:  # neighbours in pairs: the tree follows from the number of partitions
            pairs = [found[k : k + 2] for k in range(0, len(found), 2)]
            found = [dask.delayed(merge, pure=False)(*pair) if len(pair) == 2 else pair[0] for pair in pairs]
        (result,) = dask.compute(found[0])
        return result

    def __getstate__(self) -> dict[str, Any]:
        """Without the partitions: what a task needs of them is in its graph, and what it sums may hold the source."""
        return {name: value for name, value in vars(self).items() if name not in ("_parts", "_y", "_weight")}

    def _delayed(self, place: int) -> Any:
        """A partition as a block, not computed."""
        import dask

        first = self._first[place]
        make = dask.delayed(_made, pure=False)
        if self._frame:
            return make(first, self._parts[place], self.feature_names, self._y, self._weight, self._one)
        y = None if self._y is None else self._y[place]
        weight = None if self._weight is None else self._weight[place]
        return make(first, self._parts[place], None, y, weight, False)

    def _block(self, place: int) -> Block:
        import dask

        (block,) = dask.compute(self._delayed(place))
        expected = self._first[place + 1] - self._first[place]
        if len(block) != expected:
            got = f"{len(block):,} rows in partition {place}, which had {expected:,}"
            raise _checks.bad_value("X", "partitions that stay as they were", got)
        return block


def is_frame(value: Any) -> bool:
    """Whether something is a dask data frame; dask is not imported for it."""
    return _module(value) in ("dask", "dask_expr") and hasattr(value, "columns")


def is_dask(value: Any) -> bool:
    """Whether something is a dask array or data frame."""
    return is_frame(value) or (_module(value) == "dask" and hasattr(value, "chunks"))


def _module(value: Any) -> str:
    return type(value).__module__.partition(".")[0]


def _made(first: int, rows: Any, names: list[str] | None, y: Any, weight: Any, one: bool) -> Block:
    """A block of a partition, with its columns apart."""
    if len(rows) == 0:
        return Block(first, rows)
    if names is None:
        made = ArrayBlocks(np.asarray(rows), y, weight)
    else:
        X = rows[names]
        plain = all(isinstance(kind, np.dtype) and kind.kind in "biuf" for kind in X.dtypes)
        targets = None if not y else rows[y[0]].to_numpy() if one else rows[y].to_numpy()
        made = ArrayBlocks(
            X.to_numpy() if plain else X, targets, None if weight is None else rows[weight].to_numpy()
        )
    return made.checked(first, [made.X, made.y, made.weight])


def _summed(function: Callable[[Block], T], block: Block, low: int, high: int) -> T:
    return function(_cut(block, low, high))


def _cut(block: Block, low: int, high: int) -> Block:
    """The rows of a block from number `low` up to `high`."""
    rows = slice(low - block.start, high - block.start)
    X = block.X.iloc[rows] if isinstance(block.X, pd.DataFrame) else block.X[rows]
    y, weight = (None if part is None else part[rows] for part in (block.y, block.weight))
    return Block(low, X, y, weight)


def _joined(parts: Any) -> Any:
    return pd.concat(parts) if isinstance(parts[0], pd.DataFrame) else np.concatenate(parts)


def _lengths(parts: list[Any]) -> list[int]:
    import dask

    return list(map(int, dask.compute(*[dask.delayed(len)(part) for part in parts])))


def _beside(name: str, values: Any, first: list[int]) -> list[Any] | None:
    """Targets or weights beside the partitions of an array: one part each."""
    if values is None:
        return None
    if isinstance(values, str) or named(values):
        raise _checks.bad_value(name, "values where columns have no names", repr(values), "pass an array")
    if not is_dask(values):
        values = np.asarray(values)
        _checks.same_length("X", first[-1], name, len(values))
        return [values[a:b] for a, b in pairwise(first)]
    chunks = np.cumsum([0, *values.chunks[0]]).tolist()
    if chunks != first:
        if chunks[-1] == first[-1]:
            values = values.rechunk({0: tuple(np.diff(first).tolist())})
        else:
            _checks.same_length("X", first[-1], name, chunks[-1])
    if values.ndim == 2:
        return [part[0] for part in values.rechunk({1: -1}).to_delayed().tolist()]
    return list(values.to_delayed().tolist())
