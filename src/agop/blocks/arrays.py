"""What can be sliced, as a source of blocks: arrays, memory maps, tensors anywhere, frames, any object with a length and slices."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from agop import _checks
from agop.blocks.block import Block, Rows, check_block, row_numbers, span

LOOKS, RUN = 16, 16
"""A digest looks at this many places of a source, and at so many rows at each."""

_STEP = 4096
"""Rows that are read at once to find single ones in an object that knows slices only."""


class ArrayBlocks:
    """Rows of what lies in memory, in a mapped file, on a GPU, or behind ``rows[start:stop]``; X is never copied as a whole.

    Parameters
    ----------
    X
        Array, memory map, tensor, frame, or an object with ``len(X)`` and ``X[start:stop]``, which gives an array (b, d). Whole numbers
        and truth values become float64, half precision float32; float32 and float64 stay.
    y
        Targets or labels, sliced likewise; None: the source has none.
    weight
        What each row counts; None: all the same.

    Raises
    ------
    ValueError, TypeError
        One sentence, if X has no rows or columns or is no table, or the others have another number of rows. What is wrong with a row (an
        infinite value, a target that is NaN, a block of another width) is told when it is read.
    """

    def __init__(self, X: Any, y: Any = None, weight: Any = None) -> None:
        self.X, self.y, self.weight = _sliced("X", X), _sliced("y", y), _sliced("weight", weight)
        if self.X is None:
            raise _checks.bad_type("X", "rows", "None")
        self.n_rows = len(self.X)
        if self.n_rows == 0:
            raise _checks.bad_value("X", "at least one row", "none")
        for name, values, most in (("y", self.y, 2), ("weight", self.weight, 1)):
            if values is not None:
                _checks.same_length("X", self.n_rows, name, len(values))
                shape = tuple(_rows(values, 0, 1).shape)
                if len(shape) > most or 0 in shape:
                    expected = "one value a row" if most == 1 else "one or more values a row"
                    raise _checks.bad_value(name, expected, f"rows of shape {shape[1:]}")
        self._size = _mapped_bytes(self.X)
        first = _rows(self.X, 0, 1)
        if first.ndim != 2 or first.shape[1] == 0:
            raise _checks.bad_value(
                "X", "rows (n, d) with a column at least", f"shape (·, {first.shape[1:]})"
            )
        self.n_features = int(first.shape[1])
        self.feature_names = list(map(str, X.columns)) if isinstance(X, pd.DataFrame) else None

    @property
    def digest(self) -> str:
        """Of sizes, types, names and 256 rows; of a mapped file also when it was changed."""
        content = hashlib.blake2b(digest_size=16)
        content.update(repr((self.n_rows, self.n_features, self.feature_names)).encode())
        if isinstance(self.X, np.memmap) and self.X.filename is not None:
            content.update(repr(os.stat(self.X.filename).st_mtime_ns).encode())
        for place in np.unique(np.linspace(0, max(0, self.n_rows - RUN), LOOKS).astype(np.int64)).tolist():
            block = self._block(place, min(place + RUN, self.n_rows))
            for values in (block.X, block.y, block.weight):
                content.update(fingerprint(values))
        return content.hexdigest()

    def read(self, rows: int, start: int = 0, stop: int | None = None) -> Iterator[Block]:
        """Consecutive rows, at most `rows` in a block; of an array or a tensor they are views."""
        for first, last in span(self.n_rows, rows, start, stop):
            yield self._block(first, last)

    def take(self, index: np.ndarray) -> Block:
        """The rows with these numbers."""
        index = row_numbers(index, self.n_rows)
        self._still_there()
        values = [None if part is None else _picked(part, index) for part in (self.X, self.y, self.weight)]
        return self.checked(int(index[0]), values, index=index)

    def _block(self, first: int, last: int) -> Block:
        self._still_there()
        parts = (self.X, self.y, self.weight)
        return self.checked(
            first, [None if part is None else _rows(part, first, last) for part in parts], last - first
        )

    def checked(
        self, first: int, values: list[Any], count: int | None = None, index: np.ndarray | None = None
    ) -> Block:
        """X, y and weights of some rows as a block that is like the others; `count` is how many were asked for."""
        X, y, weight = values
        if count is not None and len(X) != count:
            got = f"{len(X)} of the rows {first:,} to {first + count - 1:,}"
            raise _checks.bad_value(
                "X", f"{self.n_rows:,} rows as at first", got, "leave it as it is while it is read"
            )
        X = X if isinstance(X, pd.DataFrame) else _floating(X)
        weight = None if weight is None else _doubles(weight)
        return check_block(Block(first, X, y, weight), self.feature_names, self.n_features, index)

    def _still_there(self) -> None:
        """A mapped file that became shorter would end the process with a signal: say it before."""
        if self._size is not None and (_mapped_bytes(self.X) or 0) < self._size:
            name = os.fspath(self.X.filename)
            raise _checks.bad_value(
                "X", f"a file of {self._size:,} bytes as at first", f"{name!r}, which is shorter now", "leave it as it is while it is read"
            )  # fmt: skip


def fingerprint(values: Any) -> bytes:
    """Type, shape and content of some rows, for a digest."""
    if values is None:
        return b"none"
    if isinstance(values, pd.DataFrame):
        return repr(list(values.dtypes)).encode() + repr(values.to_numpy(dtype=object).tolist()).encode()
    array = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.ascontiguousarray(values)
    content = (
        repr(array.tolist()).encode() if array.dtype.kind == "O" else np.ascontiguousarray(array).tobytes()
    )
    return repr((str(array.dtype), array.shape)).encode() + content


def _sliced(name: str, values: Any) -> Any:
    """What will be sliced: as it is, but a list as an array, and a series as its values."""
    if getattr(values, "ndim", None) == 0:
        raise _checks.bad_value(name, "rows", "a single number")
    if values is None or isinstance(values, np.ndarray | pd.DataFrame):
        return values
    if isinstance(values, Tensor):
        if values.layout != torch.strided:
            raise _checks.bad_type(
                name, "a dense tensor", f"layout {values.layout}", "convert it with .to_dense()"
            )
        return values.detach()
    if isinstance(values, list | tuple | pd.Series | pd.Index):
        return np.asarray(values)
    if isinstance(values, str | bytes | dict) or not (
        hasattr(values, "__len__") and hasattr(values, "__getitem__")
    ):
        expected = "an array, a tensor, a frame, or an object with a length and slices"
        raise _checks.bad_type(name, expected, _checks.shown(values))
    return values


def _rows(values: Any, first: int, last: int) -> Rows:
    """Rows of anything that is sliced, as an array, a tensor or a frame; without classes of their own."""
    if isinstance(values, pd.DataFrame):
        return values.iloc[first:last]
    rows = values[first:last]
    if isinstance(rows, Tensor | pd.DataFrame):
        return rows
    if hasattr(rows, "to_numpy") and not isinstance(rows, np.ndarray):
        rows = rows.to_numpy()
    return np.asarray(rows)


def _picked(values: Any, index: np.ndarray) -> Rows:
    if isinstance(values, pd.DataFrame):
        return values.iloc[index]
    if isinstance(values, np.ndarray):
        return np.asarray(values[index])
    if isinstance(values, Tensor):
        return values[torch.from_numpy(index).to(values.device)]
    found: list[Any] = []
    for first in np.unique(index // _STEP).tolist():
        here = index[index // _STEP == first] - first * _STEP
        rows = _rows(values, first * _STEP, min((first + 1) * _STEP, len(values)))
        found.append(rows.iloc[here] if isinstance(rows, pd.DataFrame) else rows[here])
    if isinstance(found[0], Tensor):
        return torch.cat(found)
    return pd.concat(found) if isinstance(found[0], pd.DataFrame) else np.concatenate(found)


def _floating(X: Any) -> np.ndarray | Tensor:
    """Numbers as float32 or float64; nothing is copied that need not be."""
    if isinstance(X, Tensor):
        if X.is_complex():
            raise _checks.bad_type("X", "real numbers", f"dtype {X.dtype}")
        if X.is_floating_point():
            return X if X.dtype in (torch.float32, torch.float64) else X.float()
        return X.double()
    if X.dtype.kind not in "biuf":
        kind = "text or objects" if X.dtype.kind in "OSU" else f"dtype {X.dtype}"
        raise _checks.bad_type("X", "numbers", kind, "pass a frame with categories, or encode them first")
    if X.dtype.kind == "f":
        return X if X.dtype in (np.float32, np.float64) and X.dtype.isnative else X.astype(
            np.float32 if X.dtype.itemsize < 4 else np.float64
        )  # fmt: skip
    return X.astype(np.float64)


def _doubles(weight: Any) -> np.ndarray | Tensor:
    """Weights in float64."""
    if isinstance(weight, Tensor) and not weight.is_complex():
        return weight.double()
    if isinstance(weight, Tensor) or weight.dtype.kind not in "biuf":
        raise _checks.bad_type("weight", "real numbers", f"dtype {weight.dtype}")
    return np.asarray(weight, dtype=np.float64)


def _mapped_bytes(X: Any) -> int | None:
    """The size of the file behind a memory map; None of what is none. A file that is gone is still there for who mapped it."""
    if not isinstance(X, np.memmap) or X.filename is None:
        return None
    try:
        return os.stat(X.filename).st_size
    except OSError:
        return 2**63
