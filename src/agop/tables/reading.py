"""A file as a frame of pandas: what it says about itself is used, what it does not say is told, what can't be read is one sentence."""

from __future__ import annotations

import codecs
import csv
import hashlib
import importlib
import io
import os
import re
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from agop import _checks
from agop._csv import read_csv
from agop.datasets.npz import DAMAGED, read_arrays

FORMATS = (".csv", ".parquet", ".feather", ".npz")
SEPARATORS = (",", ";", "\t", "|")
_WORDS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_DECIMAL_COMMA = re.compile(r"\s*[+-]?\d+,\d+\s*")
_LINES = 20
_MOST_ARRAYS = 16 * 2**30


@dataclass(frozen=True, eq=False)
class Table:
    """A frame, where it came from in a sentence, and what a reader must know of how it was read."""

    frame: pd.DataFrame
    source: str
    notes: tuple[str, ...] = ()

    def fingerprint(self) -> str:
        """A hash of names, types and values."""
        digest = hashlib.blake2b(digest_size=16)
        for name in self.frame:
            column = self.frame[name]
            digest.update(repr((str(name), str(column.dtype))).encode())
            digest.update(
                pd.util.hash_pandas_object(column.astype(object).map(repr), index=False).to_numpy().tobytes()
            )
        return digest.hexdigest()


def read_table(path: str | Path, *, encoding: str = "utf-8") -> Table:
    """Read a table with named columns.

    Parameters
    ----------
    path
        A file .csv (commas, semicolons, tabs or bars, a line of names first), .parquet or .feather (with pyarrow), or .npz (an array a
        column; or x_train and y_train, which become x0, x1, … and y).
    encoding
        Of a .csv file without a byte order mark.

    Raises
    ------
    ValueError
        One sentence, if the file is missing, empty, damaged, in another encoding, or has two columns of one name.
    """
    if not isinstance(path, str | os.PathLike):
        raise _checks.bad_type("data", "the path of a file", _checks.shown(path))
    path = Path(path).expanduser()
    kind = path.suffix.lower()
    if kind not in FORMATS:
        raise _checks.bad_value(
            "data", f"a file {', '.join(FORMATS)}", repr(str(path)), "save the table as one of these"
        )
    if not is_file(path):
        raise _checks.bad_value("data", "a file that is there", repr(str(path)), "check the path")
    if path.stat().st_size == 0:
        raise _checks.bad_value("data", "a table", f"{str(path)!r}, an empty file", "write it again")
    notes: list[str] = []
    if kind == ".csv":
        frame = _csv(path, encoding, notes)
    elif kind == ".npz":
        frame = _npz(path, notes)
    else:
        frame = _arrow(path, kind)
    frame = named(frame)
    if frame.shape[1] == 0 or len(frame) == 0:
        got = f"{str(path)!r} with {len(frame)} rows and {frame.shape[1]} columns"
        raise _checks.bad_value("data", "a table with rows and columns", got, "choose another file")
    source = f"{path.name}: {len(frame):,} rows, {frame.shape[1]:,} columns."
    return Table(frame, source, tuple(notes))


def is_file(path: Path) -> bool:
    """Whether there is a file of that name; a name that is none on this system is none."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def named(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with texts as names of columns, each once, and rows numbered from 0.

    Raises
    ------
    ValueError
        If two columns have one name.
    """
    frame = frame.reset_index(drop=True)
    frame.columns = pd.Index(
        [" ".join(map(str, name)) if isinstance(name, tuple) else str(name) for name in frame.columns],
        dtype=object,
    )
    _distinct(list(frame.columns))
    return frame


def _distinct(names: Sequence[str]) -> None:
    name, count = Counter(names).most_common(1)[0] if names else ("", 0)
    if count > 1:
        raise _checks.bad_value(
            "data", "a name of its own for each column", f"{name!r} {count} times", "rename or delete one"
        )


def _unreadable(path: Path, reason: str, remedy: str) -> ValueError:
    return _checks.bad_value("data", f"a readable {path.suffix} file", f"{str(path)!r} ({reason})", remedy)


def _csv(path: Path, encoding: str, notes: list[str]) -> pd.DataFrame:
    raw = path.read_bytes()
    marked = next((name for mark, name in _MARKS if raw.startswith(mark)), None)
    text = _decoded(path, raw, marked or encoding)
    if "\0" in text[:4096]:
        raise _unreadable(path, "it is no text", "export the table as text, UTF-8")
    separator = _separator(text)
    if separator != ",":
        notes.append(f"Columns are separated by {_WORDS[separator]}.")
    header = next(csv.reader(io.StringIO(text), delimiter=separator, skipinitialspace=True), [])
    _distinct([name for name in header if name])
    options: dict[str, Any] = {
        "sep": separator,
        "index_col": False,
        "low_memory": False,
        "skipinitialspace": True,
    }
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            frame = read_csv(io.StringIO(text), **options)
            if separator != "," and _has_decimal_commas(frame):
                frame = read_csv(io.StringIO(text), decimal=",", **options)
                notes.append("Numbers are written with a decimal comma.")
    except pd.errors.EmptyDataError:
        raise _checks.bad_value(
            "data", "a table", f"{str(path)!r}, which has no columns", "write it again"
        ) from None
    except (pd.errors.ParserError, pd.errors.ParserWarning, ValueError) as error:
        reason = (
            " ".join(str(error).split()).removeprefix("Error tokenizing data. C error: ")[:160].rstrip(". ")
        )
        remedy = f"mend that line; columns are taken to be separated by {_WORDS[separator]}"
        raise _unreadable(path, reason, remedy) from None
    return frame


def _decoded(path: Path, raw: bytes, encoding: str) -> str:
    try:
        return raw.decode(encoding)
    except LookupError:
        raise _checks.bad_value(
            "encoding", "one that Python knows, such as 'latin-1'", repr(encoding)
        ) from None
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        got = f"{str(path)!r} with the byte {raw[error.start]:#x} in line {line}"
        remedy = "save it as UTF-8, or say its encoding, such as latin-1"
        raise _checks.bad_value("data", f"text in {encoding}", got, remedy) from None


def _separator(text: str) -> str:
    """The separator that gives the first lines the same number of columns, the more the better; a comma if none does."""
    lines = [line for line in text[: 2**18].splitlines()[: _LINES + 1] if line.strip()]
    lines = lines[:_LINES]

    def columns(separator: str) -> tuple[bool, int]:
        counts = [len(row) for row in csv.reader(lines, delimiter=separator)]
        return len(set(counts)) == 1 and counts[0] > 1, counts[0] if counts else 0

    found = {separator: columns(separator) for separator in SEPARATORS}
    best = max(SEPARATORS, key=lambda separator: found[separator])  # of equal ones the first
    return best if found[best][1] > 1 else ","


def _has_decimal_commas(frame: pd.DataFrame) -> bool:
    texts = [frame[name].dropna() for name in frame if frame[name].dtype.kind not in "biufmM"]
    return any(
        len(column) > 0 and all(isinstance(v, str) and _DECIMAL_COMMA.fullmatch(v) for v in column)
        for column in texts
    )


def _npz(path: Path, notes: list[str]) -> pd.DataFrame:
    remedy = "write it with numpy.savez(path, age=..., price=...), an array a column"
    try:
        arrays = read_arrays(path, _MOST_ARRAYS)
    except DAMAGED as error:
        raise _unreadable(
            path, str(error).splitlines()[0] if str(error) else type(error).__name__, remedy
        ) from None
    if "x_train" in arrays and "y_train" in arrays:
        points, labels = arrays["x_train"], arrays["y_train"]
        if points.ndim < 2 or labels.ndim != 1 or len(points) != len(labels):
            got = f"x_train {points.shape}, y_train {labels.shape}"
            raise _checks.bad_value("data", "x_train (n, d) and y_train (n,)", got, remedy)
        rest = sorted(set(arrays) - {"x_train", "y_train"})
        if rest:
            notes.append(f"Left out: {', '.join(rest)}; x_train is x0, x1, …, y_train is y.")
        frame = pd.DataFrame(points.reshape(len(points), -1)).add_prefix("x")
        return frame.assign(y=labels)
    lengths = {name: array.shape for name, array in arrays.items()}
    if any(len(shape) != 1 for shape in lengths.values()) or len(set(lengths.values())) > 1:
        got = ", ".join(f"{name[:40]} {shape}" for name, shape in list(lengths.items())[:4])
        raise _checks.bad_value(
            "data", "arrays of one axis and one length, or x_train and y_train", got, remedy
        )
    return pd.DataFrame(arrays)


def _arrow(path: Path, kind: str) -> pd.DataFrame:
    try:
        importlib.import_module("pyarrow")
    except ImportError:
        remedy = "pip install 'agop[tables]', or save the table as .csv"
        raise _checks.bad_value(
            "data", f"pyarrow, which reads {kind} files", "an environment without it", remedy
        ) from None
    try:
        frame = pd.read_parquet(path) if kind == ".parquet" else pd.read_feather(path)
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        raise _unreadable(path, " ".join(str(error).split())[:160].rstrip(". "), "write it again") from None
    if not isinstance(frame.index, pd.RangeIndex):
        if any(name is None for name in frame.index.names):
            return frame
        frame = frame.reset_index()
    return frame
