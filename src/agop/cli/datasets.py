"""`agop datasets`: what `--data` accepts."""

from __future__ import annotations

import typer
from rich.console import Console
from rich.table import Table

HELP = """List the data sets that --data accepts.

\b
[bold]Examples[/bold]
  agop datasets
  agop deep-rfm --data fashion-mnist --download --n-train 5000
  agop deep-rfm --data mine.npz
"""

FILES = (
    """--data-root DIR says where the files of {files} are (by default {root}), --download fetches them."""
)
NPZ = """An .npz file holds x_train, y_train and, if you like, x_test, y_test: points of any shape (n, ...),
integer or string labels."""


def register(app: typer.Typer) -> None:
    """Add the verb to `app`."""
    app.command("datasets", help=HELP)(list_datasets)


def list_datasets() -> None:
    """Print one row per named data set, and what an .npz file must hold."""
    from agop.datasets import DEFAULT_ROOT, available

    sources = available()
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("name", "content", "from", "shape"):
        table.add_column(heading, no_wrap=heading == "name", overflow="fold")
    for heading in ("training", "test", "classes"):
        table.add_column(heading, justify="right", no_wrap=True)
    for source in sources:
        shape = "×".join(str(side) for side in source.shape)
        origin = f"{source.origin}, generated" if source.kind == "generated" else source.origin
        counts = (source.n_train, source.n_test, source.n_classes)
        table.add_row(source.name, source.description, origin, shape, *(f"{count:,}" for count in counts))
    table.add_row("FILE.npz", "your points", "", "any")
    console = Console()
    console.print(table)
    console.print()
    files = ", ".join(source.name for source in sources if source.kind == "files")
    words = FILES.format(files=files, root=DEFAULT_ROOT) if files else ""
    console.print(" ".join(f"{words} {NPZ}".split()), highlight=False)
