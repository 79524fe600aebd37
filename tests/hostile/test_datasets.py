"""Data: hostile names, options, points to scale, and runs to report. Damaged files are in tests/datasets and test_run_directories."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from agop.datasets import Standardiser, available, load
from agop.report import RunRecord, write_comparison, write_report
from tests.hostile.table import Subject, options, table_tests
from tests.hostile.test_estimators import ARRAY_CASES, X

NUMBER = options(0, -1, 1.5, "x", True, 10**30, float("nan"))
OUT = Path("nowhere", "at", "all")
SCALER = Standardiser.of(X)
NOT_POINTS = {k: v for k, v in ARRAY_CASES.items() if "tensor" not in k}
PATHS = options(
    "",
    ".",
    "..",
    "../../etc/passwd",
    "\0",
    "a" * 5000,
    None,
    3,
    b"digits",
    "/dev/zero",
    "digits/..",
    Path("nowhere"),
    [],
)

SUBJECTS = [
    Subject("load", "name_or_path", lambda v: load(v).x_train, "digits", PATHS | options("digits.npz", "DIGITS", "mnist")),
    Subject("load", "root", lambda v: load("mnist", root=v).x_train, None, options("", "nowhere", 3, "\0", "/dev/null")),
    Subject("load", "n_train", lambda v: load("digits", n_train=v).x_train, None, NUMBER),
    Subject("load", "n_test", lambda v: load("digits", n_test=v).x_test, None, NUMBER),
    Subject("load", "subset", lambda v: load("digits", subset=v, n_train=9).x_train, "first", options("last", None, 3)),
    Subject("load", "seed", lambda v: load("digits", subset="random", n_train=9, seed=v).x_train, 0, NUMBER),
    Subject("Standardiser.of", "points", lambda v: Standardiser.of(v).mean, X, NOT_POINTS),
    Subject("Standardiser", "points", lambda v: SCALER(v), X, NOT_POINTS, nan=True),
    Subject("Standardiser", "dtype", lambda v: SCALER(X, v), np.float32, options("float32", int, None, 3, "nothing", object)),
    Subject("available", "index", lambda v: available()[v].name, 0, options(0)),
    Subject("RunRecord.load", "path", lambda v: RunRecord.load(v).title, ".", PATHS),
    Subject("write_report", "path", write_report, ".", PATHS),
    Subject("write_comparison", "paths", lambda v: write_comparison([v], OUT / "page.html"), ".", PATHS),
    Subject("write_comparison", "no paths", lambda v: write_comparison(v, OUT / "page.html"), [], options([], None, "run", 3)),
]  # fmt: skip

test_rows = table_tests("datasets", SUBJECTS)
