"""One Parquet, Feather or Arrow file, opened: columns by name, row groups by number, a few rows at a time."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from agop import _checks

ENDINGS = (".parquet", ".feather", ".arrow")
"""Of files that are read."""


class ArrowFile:
    """An open file of either format: columns by name, row groups by number, a few rows at a time."""

    def __init__(self, path: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._mapped: Any = None
        try:
            if path.suffix.lower() == ".parquet":
                self._file: Any = pq.ParquetFile(path, page_checksum_verification=True)
                self.schema = self._file.schema_arrow
                metadata = self._file.metadata
                self.groups = tuple(metadata.row_group(k).num_rows for k in range(metadata.num_row_groups))
            else:
                self._mapped = pa.memory_map(str(path))
                self._file = pa.ipc.open_file(self._mapped)
                self.schema = self._file.schema
                count = self._file.num_record_batches
                self.groups = tuple(self._file.get_batch(k).num_rows for k in range(count))
        except damages() as error:
            raise unreadable(path, error) from None

    def __enter__(self) -> ArrowFile:
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close() if self._mapped is None else self._mapped.close()

    def kinds(self) -> dict[str, str]:
        """What each column holds: "number", "single" (precision), "category", "text", "date" or "nested"."""
        twice = {name for name in self.schema.names if self.schema.names.count(name) > 1}
        if twice:
            raise _checks.bad_value(
                "data", "a name of its own for each column", f"{sorted(twice)[0]!r} twice"
            )
        return {field.name: _kind(field.type) for field in self.schema}

    def batches(self, group: int, columns: Sequence[str], batch: int) -> Iterator[Any]:
        """Tables of at most `batch` rows of a row group, without decoding the rest of it at once."""
        import pyarrow as pa

        if self._mapped is not None:
            table = pa.Table.from_batches([self._file.get_batch(group)]).select(columns)
            for first in range(0, table.num_rows, batch):
                yield table.slice(first, batch)
            return
        for one in self._file.iter_batches(batch, row_groups=[group], columns=list(columns)):
            yield pa.Table.from_batches([one]).select(columns)


def _kind(kind: Any) -> str:
    import pyarrow as pa

    of = pa.types
    if of.is_float32(kind) or of.is_float16(kind):
        return "single"
    if (
        of.is_integer(kind)
        or of.is_floating(kind)
        or of.is_boolean(kind)
        or of.is_decimal(kind)
        or of.is_null(kind)
    ):
        return "number"
    if of.is_dictionary(kind):
        return "category"
    if of.is_temporal(kind):
        return "date"
    texts = of.is_string(kind) or of.is_large_string(kind) or of.is_string_view(kind)
    return "text" if texts or of.is_binary(kind) or of.is_large_binary(kind) else "nested"


_WORDS = {
    "number": "numbers",
    "single": "numbers",
    "category": "categories",
    "text": "texts",
    "date": "dates",
    "nested": "lists",
}


def same_kinds(known: dict[str, str], more: dict[str, str], path: Path, first: Path) -> dict[str, str]:
    """What columns hold in all files so far: numbers in single precision only if they are in all."""
    if not known:
        return more
    absent = [name for name in known if name not in more]
    if absent:
        got = f"{path.name!r} without {absent[0]!r}"
        raise _checks.bad_value("data", f"the columns of {first.name!r} in every file", got, "write it again")
    found = {}
    for name, kind in known.items():
        other = more[name]
        if kind == other or {kind, other} == {"category", "text"}:
            found[name] = kind if kind == other else "category"
        elif {kind, other} == {"number", "single"}:
            found[name] = "number"
        else:
            got = f"{_WORDS[other]} in {path.name!r}"
            expected = f"{_WORDS[kind]} in column {name!r}, as in {first.name!r}"
            raise _checks.bad_value("data", expected, got, "write the column in one type")
    return found


def plain_values(column: Any) -> pd.Series:
    """Texts, dates or categories, without the type of a dictionary."""
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    values = column.to_pandas()
    return values if values.dtype.kind in "mM" else values.astype(object)


def unreadable(path: Path, error: Exception | str) -> ValueError:
    """The sentence about a damaged file."""
    reason = " ".join(str(error).split())[:160].rstrip(". ") or type(error).__name__
    return _checks.bad_value(
        "data", f"a readable {path.suffix} file", f"{str(path)!r} ({reason})", "write it again"
    )


def damages() -> tuple[type[Exception], ...]:
    """What pyarrow raises on damaged bytes."""
    import pyarrow as pa

    return (pa.ArrowException, OSError, ValueError, RuntimeError, KeyError, TypeError)


def check_pyarrow() -> None:
    """Raise, with what to install, where there is no pyarrow."""
    if importlib.util.find_spec("pyarrow") is None:
        remedy = "pip install 'agop[tables]'"
        raise _checks.bad_value(
            "data", "pyarrow, which reads these files", "an environment without it", remedy
        )
