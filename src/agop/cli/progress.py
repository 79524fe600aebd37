"""Progress on the terminal, for the verbs that take long; imported when a run begins, so that help starts at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

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
from rich.status import Status
from rich.table import Table

from agop import _progress
from agop.cli.outcome import number
from agop.datasets import Dataset
from agop.experiments.listener import Listener

_HEADINGS = {"test_accuracy": "test acc.", "nc1": "NC1, last layer", "nfa": "NFA, median"}
_FORMS = {
    "epoch": ".0f",
    "loss": ".4g",
    "accuracy": ".3f",
    "test_accuracy": ".3f",
    "nc1": ".3g",
    "nfa": ".2f",
}
_NOW = {"loss": ".4g", "accuracy": ".3f"}
"""How the numbers of a step or a measurement are headed and written, where that is known."""


class Plain(Listener):
    """A listener that says what is run, and shows a spinner while layers are measured; use it as a context manager."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._status: Status | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._status is not None:
            self._status.stop()

    def planned(self, data: Dataset, text: str) -> None:
        self._console.print(data.source, highlight=False, markup=False)
        self._console.print(text, highlight=False, markup=False)

    def started(self, done: int, total: int, step: str) -> None:
        if done:
            self._console.print(f"continuing after {step} {done} of {total}", highlight=False)

    def measuring(self) -> None:
        self._status = self._console.status("measuring")
        self._status.start()


class Bar(Plain):
    """One bar over all layers and their steps, with elapsed and remaining time."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._bar = _progress.Bar(console)

    def __exit__(self, *exception: object) -> None:
        self._bar.__exit__(*exception)

    def progress(self, done: float, total: float, text: str) -> None:
        self._bar(done, total, text)

    def measuring(self) -> None:
        self._bar(1, 1, "measuring")


class Board(Plain):
    """A bar over the steps, and a table that grows with every measurement."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
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
        self._live = Live(Group(self._table, self._progress), console=console, refresh_per_second=4)
        self._task: Any = None

    def __exit__(self, *exception: object) -> None:
        self._live.stop()
        if not self._console.is_terminal:
            self._console.print()

    def started(self, done: int, total: int, step: str) -> None:
        super().started(done, total, step)
        self._live.start()
        self._task = self._progress.add_task(f"{step}s", total=total, completed=done, now="")

    def stepped(self, done: int, total: int, entry: Mapping[str, Any]) -> None:
        shown = [f"{name} {entry[name]:{form}}" for name, form in _NOW.items() if name in entry]
        self._progress.update(self._task, completed=done, now=", ".join(shown))

    def measured(self, row: Mapping[str, float]) -> None:
        if not self._table.columns:
            for name in row:
                self._table.add_column(_HEADINGS.get(name, name), justify="right")
        self._table.add_row(*(number(value, _FORMS.get(name, ".3g")) for name, value in row.items()))

    def measuring(self) -> None:
        self._progress.update(self._task, description="measuring", now="")


DISPLAYS: Mapping[str, type[Plain]] = {"plain": Plain, "operations": Bar, "steps": Board}
"""By what a kind of subject calls them."""
