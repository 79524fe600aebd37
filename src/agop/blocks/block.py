"""Rows in blocks: what a source of rows hands out, and what it must be able to do.

A source (`Blocks`) is a table of n rows that nobody need hold in memory. Rows have numbers from 0 to n − 1, which never change; `read`
hands out consecutive rows, as many at a time as the reader asks for, and may be called as often as one likes. Targets and weights lie
in the source, beside the features.

Your own source is any object with the members of `Blocks`; nothing need be inherited. Where rows are cheap to slice, it is enough to be
an object with ``len(rows)`` and ``rows[start:stop]`` that gives an array (b, d): `agop.open_blocks` makes a source of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from agop import _checks

Rows: TypeAlias = np.ndarray | Tensor | pd.DataFrame
"""Features of some rows, (b, d): numbers as an array or a tensor, or a frame where columns hold categories or texts."""


@dataclass(frozen=True, eq=False)
class Block:
    """Some rows of a source.

    Attributes
    ----------
    start
        The number of the first row. Of rows that `take` picked, which don't follow each other, it is the first one's.
    X
        Features (b, d): an array or a tensor of floating-point numbers, or a frame where columns hold categories or texts. A gap is NaN.
    y
        Targets (b,) or (b, c), or labels (b,); None if the source has none.
    weight
        What each row counts, float64 (b,), finite and not negative; None: all the same.
    """

    start: int
    X: Rows
    y: np.ndarray | Tensor | None = None
    weight: np.ndarray | Tensor | None = None

    def __len__(self) -> int:
        return len(self.X)

    @property
    def stop(self) -> int:
        """One more than the number of the last row of consecutive ones."""
        return self.start + len(self)


@runtime_checkable
class Blocks(Protocol):
    """A table whose rows come in blocks.

    Attributes
    ----------
    n_rows, n_features
        n and d.
    feature_names
        Names of the columns of X, or None.
    digest
        A short text that differs, as far as a glance can tell, if the rows do: of sizes, types, names, a few hundred rows, and when a file
        was changed. A fit goes on from a checkpoint only where it is the same.
    """

    @property
    def n_rows(self) -> int: ...

    @property
    def n_features(self) -> int: ...

    @property
    def feature_names(self) -> list[str] | None: ...

    if TYPE_CHECKING:  # isinstance would look at it, which reads rows

        @property
        def digest(self) -> str: ...

    def read(self, rows: int, start: int = 0, stop: int | None = None) -> Iterator[Block]:
        """The rows from `start` up to `stop` (None: the end) in their order, at most `rows` of them in a block."""
        ...

    def take(self, index: np.ndarray) -> Block:
        """The rows with these numbers, sorted and each once; no more is held in memory than a block and them."""
        ...


def is_blocks(value: Any) -> bool:
    """Whether an object has the members of `Blocks`; those that may cost something are not looked at."""
    kind = type(value)
    return all(callable(getattr(kind, name, None)) for name in ("read", "take")) and hasattr(value, "n_rows")


def span(n: int, rows: int, start: int, stop: int | None) -> Iterator[tuple[int, int]]:
    """First and last-plus-one of each block of `rows` rows from `start` to `stop`.

    Raises
    ------
    ValueError, TypeError
        If a block has no rows, or the rows are not among the n.
    """
    rows = _checks.integer("rows", rows, at_least=1)
    start = _checks.integer("start", start, at_least=0)
    stop = n if stop is None else _checks.integer("stop", stop, at_least=0)
    if not start <= stop <= n:
        raise _checks.bad_value("stop", f"rows from {start} to at most {n}", f"{stop}")
    return ((first, min(first + rows, stop)) for first in range(start, stop, rows))


def row_numbers(index: Any, n: int) -> np.ndarray:
    """Numbers of rows as int64, sorted and each once.

    Raises
    ------
    ValueError, TypeError
        If they are none, or not in order, or beyond the source.
    """
    index = np.asarray(index)
    if index.ndim != 1 or index.dtype.kind not in "iu":
        got = f"{index.dtype} with {index.ndim} axes"
        raise _checks.bad_type("index", "numbers of rows, one axis of integers", got)
    index = index.astype(np.int64)
    if len(index) == 0 or index[0] < 0 or index[-1] >= n or (np.diff(index) <= 0).any():
        raise _checks.bad_value("index", f"different rows from 0 to {n - 1}, in order", _few(index))
    return index


def _few(index: np.ndarray) -> str:
    return "none" if len(index) == 0 else ", ".join(map(str, index[:4])) + (", …" if len(index) > 4 else "")


def where(block: Block) -> str:
    """The rows of a block in words, for a sentence about them."""
    return f"rows {block.start:,} to {block.stop - 1:,}"


def check_block(
    block: Block, names: list[str] | None, n_features: int, index: np.ndarray | None = None
) -> Block:
    """Return a block that is like the others: d columns, as many targets and weights as rows, nothing infinite, no gap in targets.

    Gaps (NaN) in X pass: whether they have a meaning is the reader's to say. `index` has the numbers of rows that don't follow each other.

    Raises
    ------
    ValueError, TypeError
        One sentence with the rows.
    """
    X = block.X
    if X.ndim != 2 or X.shape[1] != n_features:
        got = (
            f"shape {tuple(X.shape)} in {where(block)}" if X.ndim != 2 else f"{X.shape[1]} in {where(block)}"
        )
        raise _checks.bad_value("X", f"{n_features} columns in every block", got, "mend the source")
    if not isinstance(X, pd.DataFrame):
        infinite = torch.isinf(X) if isinstance(X, Tensor) else np.isinf(X)
        if bool(infinite.any()):
            row, column = (int(place[0]) for place in infinite.nonzero()) if isinstance(X, np.ndarray) else (
                int(place) for place in infinite.nonzero()[0]
            )  # fmt: skip
            name = repr(names[column]) if names else str(column)
            got = f"infinity in row {_number(block, row, index):,}, column {name}"
            raise _checks.bad_value("X", "finite values or NaN", got, "clean them first")
    for name, values in (("y", block.y), ("weight", block.weight)):
        if values is None:
            continue
        if len(values) != len(X):
            raise _checks.bad_value(name, f"{len(X)} rows as X has in {where(block)}", f"{len(values)}")
        if (isinstance(values, Tensor) and values.is_complex()) or getattr(values.dtype, "kind", "") == "c":
            raise _checks.bad_type(name, "real numbers or labels", f"dtype {values.dtype}")
        bad = _not_finite(values)
        if bad is not None:
            got = f"NaN or infinity in row {_number(block, bad, index):,}"
            raise _checks.bad_value(name, "finite values", got, "leave that row out, or mend it")
    if block.weight is not None and bool((block.weight < 0).any()):
        raise _checks.bad_value(
            "weight", "values >= 0", f"less in {where(block)}", "weight a row with 0 to leave it out"
        )
    return block


def _number(block: Block, row: int, index: np.ndarray | None) -> int:
    return block.start + row if index is None else int(index[row])


def _not_finite(values: Any) -> int | None:
    """The first row with NaN or infinity (or None among labels), or None."""
    if isinstance(values, Tensor):
        bad = (
            ~torch.isfinite(values)
            if values.is_floating_point()
            else torch.zeros(len(values), dtype=torch.bool)
        )
    else:
        bad = ~np.isfinite(values) if values.dtype.kind == "f" else pd.isna(values)
    rows = bad.reshape(len(values), -1).any(1)
    return int(rows.nonzero()[0][0]) if bool(rows.any()) else None
