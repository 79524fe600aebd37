"""Tables: hostile frames, names of columns, options and paths. Damaged files are in tests/tables and test_saved_files."""

from __future__ import annotations

import functools

import numpy as np
import pandas as pd
import torch

from agop import TableEncoder, fit_table, load, open_blocks, read_table
from tests.hostile.table import Subject, options, table_tests
from tests.hostile.test_datasets import PATHS

N = 24
FRAME = pd.DataFrame(
    {
        "a": np.sin(np.arange(N) * 2.0),
        "b": np.where(np.arange(N) % 3, "x", "y"),
        "y": np.cos(np.arange(N) * 3.0),
    }
)
QUICK = {"n_candidates": 1, "n_iter": 0, "random_state": 0}


@functools.cache
def model():
    return fit_table(FRAME, "y", **QUICK)


def fitted(**options):
    return fit_table(**{"table": FRAME, "target": "y"} | QUICK | options).predict(FRAME)


X = torch.linspace(-1, 2, 3 * N, dtype=torch.float64).sin().reshape(N, 3)


def stacked(source):
    """What all blocks hold, one array after the other."""
    parts = [
        part for block in source.read(7) for part in (block.X, block.y, block.weight) if part is not None
    ]
    return [np.asarray(part, dtype=np.float64) for part in parts]


def with_column(*values, name="a"):
    return lambda frame: frame.assign(**{name: pd.Series((list(values) * N)[:N], dtype=object)})


FRAMES = {
    "None": lambda frame: None,
    "an array": lambda frame: frame.to_numpy(),
    "a dict": lambda frame: frame.to_dict("list"),
    "a series": lambda frame: frame["a"],
    "no rows": lambda frame: frame[:0],
    "no columns": lambda frame: frame[[]],
    "a column less": lambda frame: frame.drop(columns="a"),
    "a column twice": lambda frame: frame[["a", "a", "b", "y"]],
    "names that are numbers": lambda frame: frame.rename(columns={"a": 1}),
    "names that meet as texts": lambda frame: frame.assign(**{"1": 1.5}).rename(columns={"a": 1}),
    "names of two levels": lambda frame: pd.concat({"all": frame}, axis=1),
    "an index of texts": lambda frame: frame.set_index(frame["b"]),
    "one row": lambda frame: frame[:1],
    "duplicated rows": lambda frame: pd.concat([frame[:1]] * N),
    "gaps only": with_column(None),
    "infinity": with_column(np.inf, 1.0, 2.0),
    "huge": lambda frame: frame.assign(a=frame["a"] * 1e300),
    "lists": with_column([1], [2]),
    "complex": with_column(1j, 2j),
    "complex dtype": lambda frame: frame.assign(a=frame["a"] * 1j),
    "bytes": with_column(b"x", b"y"),
    "objects": with_column(object()),
    "numbers and texts": with_column(1, "x", None, 2.5, True),
    "intervals": lambda frame: frame.assign(a=pd.cut(frame["a"], 3)),
    "dates beyond pandas": with_column("9999-12-31", "0001-01-01", "1500-06-01"),
    "sparse": lambda frame: frame.assign(a=pd.arrays.SparseArray(frame["a"].round())),
    "nullable": lambda frame: frame.convert_dtypes(),
    "empty texts": with_column("", " ", "x"),
    "strange names": lambda frame: frame.rename(columns={"a": "$\\alpha$\n<b>\0é"}),
    "an empty name": lambda frame: frame.rename(columns={"a": ""}),
}
NAMES = options(None, 3, [], ["z"], "z", ["a"], "a", ("a", "b"), [1], {"a": 1}, np.array(["a"]))
TARGETS = options("y", [1.0], 3, ["x"] * N, [None] * N, [np.inf] * N)
ENCODER = TableEncoder().fit(FRAME.drop(columns="y"))

WEIGHTS = options(
    None,
    3,
    "w",
    [1.0],
    [-1.0] * N,
    [np.nan] * N,
    [np.inf] * N,
    [0] * N,
    ["x"] * N,
    [1j] * N,
    [[1.0, 2.0]] * N,
)
HERE_NOWHERE = {name: path for name, path in PATHS.items() if "passwd" not in name}
"""Paths that are nowhere, whatever directory this runs in."""

SUBJECTS = [
    Subject("fit_table", "table", lambda v: fitted(table=v), FRAME, FRAMES),
    Subject("fit_table", "path", lambda v: fitted(table=v), "", PATHS),
    Subject("fit_table", "target", lambda v: fitted(target=v), "y", options(None, 3, "", "z", "Y", ["y"], "a", "b")),
    Subject("fit_table", "task", lambda v: fitted(task=v), "auto", options(None, 3, "magic", "regression", "classification")),
    Subject("fit_table", "drop", lambda v: fitted(drop=v), (), NAMES),
    Subject("fit_table", "group_by", lambda v: fitted(group_by=v), None, options(3, "z", ["a"], "y", "b", "a")),
    Subject("fit_table", "search", lambda v: fitted(n_candidates=v), 1, options(0, -1, 1.5, "x", True)),
    Subject("TableEncoder", "X", lambda v: TableEncoder().fit(v).transform(v).shape, FRAME, FRAMES),
    Subject("TableEncoder", "drop", lambda v: TableEncoder(drop=v).fit(FRAME).transform(FRAME).shape, (), NAMES),
    Subject("TableEncoder", "categories", lambda v: TableEncoder(categories=v).fit(FRAME).transform(FRAME).shape, (), NAMES),
    Subject("TableEncoder", "numbers", lambda v: TableEncoder(numbers=v).fit(FRAME).transform(FRAME).shape, (), NAMES),
    Subject("TableEncoder.transform", "X", lambda v: ENCODER.transform(v).shape, FRAME, FRAMES),
    Subject("TableEncoder.differences", "X", ENCODER.differences, FRAME, FRAMES),
    Subject("TableModel.predict", "table", lambda v: model().predict(v), FRAME, FRAMES),
    Subject("TableModel.score", "table", lambda v: model().score(v), FRAME, FRAMES),
    Subject("TableModel.score", "target", lambda v: model().score(FRAME, v), FRAME["y"], TARGETS),
    Subject("read_table", "path", lambda v: len(read_table(v).frame), "", PATHS),
    Subject("open_blocks", "source", lambda v: stacked(open_blocks(v)), X, nan=True),
    Subject("open_blocks", "target", lambda v: stacked(open_blocks(X, target=v)), X),
    Subject("open_blocks", "weight", lambda v: stacked(open_blocks(X, weight=v)), [1.0] * N, WEIGHTS),
    Subject("open_blocks", "columns", lambda v: stacked(open_blocks(FRAME[["a", "y"]], columns=v)), ["a"], NAMES),
    Subject("load", "saved", load, "", HERE_NOWHERE),
]  # fmt: skip

test_rows = table_tests("tables", SUBJECTS)
