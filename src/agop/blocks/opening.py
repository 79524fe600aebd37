"""From what a user has, a file, arrays, a frame, to a source of blocks."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pandas as pd

from agop import _checks
from agop.blocks.arrays import ArrayBlocks
from agop.blocks.block import Blocks, is_blocks
from agop.blocks.columns import feature_columns, named
from agop.blocks.dask import DaskBlocks, is_dask
from agop.blocks.files import FileBlocks


def open_blocks(source: Any, *, target: Any = None, weight: Any = None, columns: Any = None) -> Blocks:
    """A source of rows in blocks: what an estimator that streams takes as its X.

    Parameters
    ----------
    source
        A file .parquet, .feather or .arrow, several of them, or a folder of them (with pyarrow); array, memory map, tensor, pandas frame,
        any object with ``len`` and slices; a dask array or data frame, whose partitions are the blocks; or a source already.
    target
        The column to predict: its name, several names (several targets), or beside arrays the values themselves. None: there is none.
    weight
        What each row counts: the name of a column, or beside arrays the values.
    columns
        Names of the columns to learn from; None: all but target and weight.

    Returns
    -------
    Blocks
        See `agop.Blocks`, which says how to write your own.

    Raises
    ------
    ValueError, TypeError
        One sentence, if the source can't be read, or lacks a column.
    """
    if is_blocks(source):
        if any(asked is not None for asked in (target, weight, columns)):
            got = f"a {type(source).__name__} and columns of it"
            raise _checks.bad_value("source", "a source without further options, or what one is made of", got)
        return source
    if isinstance(source, str | os.PathLike) or (
        isinstance(source, list | tuple) and source and isinstance(source[0], str | os.PathLike)
    ):
        return FileBlocks(source, target, weight, columns)
    if is_dask(source):
        return DaskBlocks(source, target, weight, columns)
    if isinstance(source, pd.DataFrame):
        return _of_frame(source, target, weight, columns)
    if columns is not None:
        raise _checks.bad_value(
            "columns", "None where columns have no names", _checks.shown(columns), "pass those columns only"
        )
    for name, value in (("target", target), ("weight", weight)):
        if isinstance(value, str):
            raise _checks.bad_value(
                name, "values where columns have no names", repr(value), "pass an array, or a frame"
            )
    return ArrayBlocks(source, target, weight)


def _of_frame(frame: pd.DataFrame, target: Any, weight: Any, columns: Any) -> ArrayBlocks:
    names = list(frame.columns)
    wanted = feature_columns(names, target, weight, columns)
    y = (
        frame[target]
        if isinstance(target, str)
        else frame[list(target)].to_numpy()
        if named(target)
        else target
    )
    w = frame[weight] if isinstance(weight, str) else weight
    X = frame[wanted]
    plain = all(kind.kind in "biuf" and isinstance(kind, np.dtype) for kind in X.dtypes)
    return _Named(X.to_numpy(), y, w, wanted) if plain else ArrayBlocks(X, y, w)


class _Named(ArrayBlocks):
    """Columns of numbers that have names."""

    def __init__(self, X: np.ndarray, y: Any, weight: Any, names: list[Any]) -> None:
        super().__init__(X, y, weight)
        self.feature_names = list(map(str, names))
