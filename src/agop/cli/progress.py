"""Progress on the terminal, for the verbs that take long; imported when a run begins, so that help starts at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from agop.cli.outcome import number
from agop.datasets import Dataset
from agop.experiments.listener import Listener
from agop.experiments.network_listener import NetworkListener
from agop.machines import progress
from agop.networks.training import Epoch


class Bar(Listener):
    """A listener that draws one bar over all layers and their steps, with elapsed and remaining time."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar = progress.Bar(console)

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.__exit__(*exception)

    def planned(self, data: Dataset, memory: str) -> None:
        self._console.print(data.source, highlight=False, markup=False)
        self._console.print(f"memory: about {memory}", highlight=False, markup=False)

    def started(self, done: int, total: int) -> None:
        if done:
            self._console.print(f"continuing after layer {done} of {total}", highlight=False)

    def progress(self, done: float, total: float, text: str) -> None:
        self._bar(done, total, text)

    def measuring(self) -> None:
        self._bar(1, 1, "measuring")


class Board(NetworkListener):
    """A bar over the epochs, and a table that grows with every measurement."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("elapsed,"),
            TimeRemainingColumn(),
            TextColumn("remaining"),
            TextColumn("{task.fields[now]}"),
            console=console,
        )
        self._table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for heading in ("epoch", "loss", "accuracy", "test acc.", "NC1, last layer", "NFA, median"):
            self._table.add_column(heading, justify="right")
        self._live = Live(Group(self._table, self._progress), console=console, refresh_per_second=4)
        self._task: Any = None

    def __enter__(self) -> Board:
        return self

    def __exit__(self, *exception: object) -> None:
        self._live.stop()
        if not self._console.is_terminal:
            self._console.print()

    def planned(self, data: Dataset, text: str) -> None:
        self._console.print(data.source, highlight=False, markup=False)
        self._console.print(text, highlight=False, markup=False)

    def started(self, done: int, total: int) -> None:
        if done:
            self._console.print(f"continuing after epoch {done} of {total}", highlight=False)
        self._live.start()
        self._task = self._progress.add_task("training", total=total, completed=done, now="")

    def epoch(self, epoch: Epoch) -> None:
        now = f"loss {epoch.loss:.4g}, accuracy {epoch.accuracy:.3f}"
        self._progress.update(self._task, completed=epoch.number, now=now)

    def measured(self, row: Mapping[str, float]) -> None:
        forms = {"loss": ".4g", "accuracy": ".3f", "test_accuracy": ".3f", "nc1": ".3g", "nfa": ".2f"}
        cells = [number(row[name], form) for name, form in forms.items()]
        self._table.add_row(f"{int(row['epoch'])}", *cells)

    def finishing(self) -> None:
        self._progress.update(self._task, description="measuring", now="")
