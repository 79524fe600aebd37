"""How a verb that ran ends on the terminal: the page, the table, the notes, the headline."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console, RenderableType

if TYPE_CHECKING:
    from agop.report import RunRecord


def show(place: Path, worked: bool, console: Console, table: Callable[[RunRecord], RenderableType]) -> None:
    """Write the page if there is none, and print the table, the notes and the headline of a finished run."""
    from agop.report import RunRecord, write_report
    from agop.report.run_head import TABLE_RUN, kind_of_run
    from agop.report.table_run import TableRecord
    from agop.report.write import PAGE

    if not worked:
        console.print(f"{place} holds this run already, finished; nothing was run again.", highlight=False)
    page = place / PAGE
    if worked or not page.exists():
        with console.status("drawing figures and writing the report"):
            write_report(place)
    record: Any = TableRecord.load(place) if kind_of_run(place) == TABLE_RUN else RunRecord.load(place)
    console.print(table(record))
    for note in record.notes:
        console.print(f"note: {note}", highlight=False, markup=False)
    console.print(record.headline, highlight=False, style="bold", markup=False)
    console.print(f"report: {page}", highlight=False, markup=False, soft_wrap=True)


def number(value: Any, form: str) -> str:
    """A number as text, a dash where there is none."""
    return "–" if value is None or value != value else format(float(value), form)
