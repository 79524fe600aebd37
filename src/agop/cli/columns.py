"""What is printed of a finished run on a table: scores, and the columns that count."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

_MOST = 15


def by_column(record: Any) -> RenderableType:
    """Scores, and the most important columns with what they were taken for; `record` is an `agop.report.table_run.TableRecord`."""
    from agop.report.table_run import with_error

    scores = _new("measure")
    heads = {"honest": "honest", "test": "held out", "none": "without model"}
    shown = [name for name in heads if name in record.scores]
    for name in shown:
        scores.add_column(heads[name], justify="right", no_wrap=True)
    for _, row in record.scores.iterrows():
        scores.add_row(str(row["measure"]), *(with_error(row, name) for name in shown))
    columns = _new("column")
    columns.add_column("taken for", no_wrap=True)
    columns.add_column("importance", justify="right", no_wrap=True)
    used = record.columns.dropna(subset=["importance"])
    for _, row in used.head(_MOST).iterrows():
        columns.add_row(Text(str(row["column"])), str(row["taken_for"]), f"{row['importance']:.3f}")
    if len(used) > _MOST:
        columns.add_row(f"{len(used) - _MOST} more", "", f"{used['importance'].iloc[_MOST:].sum():.3f}")
    return Group(scores, columns)


def _new(first: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(first, overflow="fold")
    return table
