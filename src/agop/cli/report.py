"""`agop report`: the page of one run again, or several runs in one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

HELP = """Make the page of a finished run again, or compare several runs in one page.

\b
[bold]Examples[/bold]
  agop report runs/digits
  agop report runs/relu runs/cosine --out comparison.html
"""


def register(app: typer.Typer) -> None:
    """Add the verb to `app`."""
    app.command("report", help=HELP)(report)


def report(
    runs: Annotated[list[Path], typer.Argument(help="Directories of finished runs.", show_default=False)],
    out: Annotated[
        Path | None,
        typer.Option(
            help="The page to write.", show_default="RUN/report.html, or report.html for several runs"
        ),
    ] = None,
) -> None:
    """Write the figures and page of one run, or one page for all of them."""
    from agop.report import write_comparison, write_report
    from agop.report.reproduction import is_reproduction, write_reproduction

    if len(runs) == 1 and out is None and is_reproduction(runs[0]):
        page = write_reproduction(runs[0])
    elif len(runs) == 1 and out is None:
        page = write_report(runs[0])
    else:
        page = write_comparison(runs, out if out is not None else Path("report.html"))
    Console().print(f"wrote {page}", highlight=False, soft_wrap=True)
