"""How far a long computation is, and the bar that tells it."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

ProgressHook = Callable[[float, float, str], None]
"""Called many times in an iteration or layer with (operations done, operations predicted, what is being done); may raise."""

SECONDS_BETWEEN_LINES = 5.0


class Bar:
    """A `ProgressHook` that draws a bar with elapsed and remaining time, on standard error unless told otherwise.

    Where nothing can be redrawn (a file, a notebook without ipywidgets) it writes a line at a tenth and at the end, at most one in
    `SECONDS_BETWEEN_LINES`.
    """

    def __init__(self, console: Console | None = None) -> None:
        from rich.console import Console

        self._console = console or Console(stderr=True)
        notebook = self._console.is_jupyter
        self.redraws = bool(importlib.util.find_spec("ipywidgets")) if notebook else self._console.is_terminal
        self._start = self._spoke = time.monotonic()
        self._first: float | None = None
        self._tenth = 0
        self._bar: Any = None

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, done: float, total: float, text: str) -> None:
        """Show the new state."""
        if self._first is None:
            self._first = done
            self._start = self._spoke = time.monotonic()
        if self.redraws:
            self._redraw(done, total, text)
        else:
            self._write(done, total, text)

    def _write(self, done: float, total: float, text: str) -> None:
        tenth, now = int(10 * done / total), time.monotonic()
        if tenth <= self._tenth or (done < total and now < self._spoke + SECONDS_BETWEEN_LINES):
            return
        self._tenth, self._spoke, elapsed = tenth, now, now - self._start
        left = elapsed * (total - done) / max(done - (self._first or 0), 1e-9 * total)
        remaining = f", about {_clock(left)} remaining" if done < total else ""
        line = f"{100 * done / total:3.0f} %  {text}, {_clock(elapsed)} elapsed{remaining}"
        self._console.print(line, highlight=False, markup=False)

    def _redraw(self, done: float, total: float, text: str) -> None:
        if self._bar is None:
            from rich.progress import (
                BarColumn,
                Progress,
                TaskProgressColumn,
                TextColumn,
                TimeElapsedColumn,
                TimeRemainingColumn,
            )

            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TaskProgressColumn(),
                TimeElapsedColumn(),
                TextColumn("elapsed,"),
                TimeRemainingColumn(),
                TextColumn("remaining"),
                console=self._console,
                speed_estimate_period=3600,  # steps differ in speed: an average over all of them predicts best
            )
            self._bar.start()
            self._task = self._bar.add_task(text, total=total, completed=done)
        self._bar.update(self._task, completed=done, total=total, description=text)


class LateBar:
    """A `ProgressHook` that draws a `Bar` if it is still called after some seconds; with `drawn` only where that can be redrawn."""

    def __init__(self, seconds: float, *, drawn: bool) -> None:
        self._begins, self._drawn_only = time.monotonic() + seconds, drawn
        self._bar: Bar | None = None

    def __enter__(self) -> LateBar:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.__exit__()

    def __call__(self, done: float, total: float, text: str) -> None:
        """Show the new state, if it is time."""
        if self._bar is None:
            if time.monotonic() < self._begins:
                return
            self._bar = Bar()
        if self._bar.redraws or not self._drawn_only:
            self._bar(done, total, text)


def both(first: ProgressHook, second: ProgressHook | None) -> ProgressHook:
    """One hook that calls two."""
    if second is None:
        return first

    def hook(done: float, total: float, text: str) -> None:
        first(done, total, text)
        second(done, total, text)

    return hook


@contextmanager
def shown(verbose: bool, progress: ProgressHook | None) -> Iterator[ProgressHook | None]:
    """Who hears how far it is: the hook, and a bar if `verbose`."""
    if not verbose:
        yield progress
        return
    with Bar() as bar:
        yield both(bar, progress)


def _clock(seconds: float) -> str:
    """Seconds as h:mm:ss."""
    return str(timedelta(seconds=round(seconds)))
