"""How far a fit is: operations done of those predicted, and the bar that `verbose=True` draws from them."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from agop.kernels.agop import operations
from agop.machines.memory import default_centers, default_rank

if TYPE_CHECKING:
    from rich.console import Console

StepHook = Callable[[str, float], None]
"""Called with a step of a fit ("kernel", "factor", "solve", "agop", …) and the share of it that is done; may raise to stop the fit."""

ProgressHook = Callable[[float, float, str], None]
"""Called many times in an iteration or layer with (operations done, operations predicted, what is being done); may raise."""

SECONDS_BETWEEN_LINES = 5.0


_CG_ITERATIONS = 30
"""A guess: how many it takes is known only afterwards."""


def predicted_operations(
    n: int,
    d: int,
    c: int,
    *,
    width: int = 0,
    learns: bool = True,
    solver: str = "cholesky",
    n_centers: int | None = None,
) -> dict[str, float]:
    """About what each step of one fit costs, in operations of a matrix product in single precision.

    `width` is that of the random features that follow (0: none); `learns` whether the AGOP is formed.
    """
    # pairs are formed once: distances in double precision, roots and exponentials
    entries = 0.5 * n * n * (6 * d + 300)
    counts = operations(n, d, c)
    if solver == "nystrom":
        m = float(default_centers(n) if n_centers is None else n_centers)
        # sums are in double precision: each operation counts twice
        cost = {
            "centres": 30.0 * m**3,
            "rows": n * m * (2 * (3 * m + 2 * c) + 6 * d + 300),
            "solve": 2 * m**3,
            "agop": n * m * (4.0 * d * (1 + c) + 300),
        }
    elif solver == "cg":
        rank = default_rank(n)
        cost = {
            "kernel": n * rank * (6.0 * d + 2 * rank),
            "factor": 2.0 * n * rank**2,
            "solve": _CG_ITERATIONS * (entries + n * n * 2.0 * c),
            "agop": entries + counts["direct"],
        }
    else:
        cost = {
            "kernel": entries,
            "factor": n**3 / 3,
            "solve": n * n * (4.0 * c + 50),
            "agop": float(min(counts.values())),
        }
    if not learns:
        del cost["agop"]
    else:
        cost["root"] = 15.0 * d**3
    if width:
        cost["features"] = 2.0 * n * d * (d + width)
    return cost


class Progress:
    """Adds up what the steps of many fits tell, and passes the sum on.

    Parameters
    ----------
    unit
        What one fit is called: "layer", "iteration".
    fits
        The predicted operations of each fit, step by step in the order they are taken.
    hook
        Who hears it; None for nobody.
    """

    def __init__(self, unit: str, fits: Sequence[dict[str, float]], hook: ProgressHook | None) -> None:
        self._unit, self._fits, self._hook = unit, fits, hook
        self._total = sum(sum(fit.values()) for fit in fits)
        self._furthest = 0.0

    def during(self, index: int) -> StepHook:
        """Who listens to the steps of fit `index`, which begins now."""
        fit, before = self._fits[index], sum(sum(earlier.values()) for earlier in self._fits[:index])
        steps = list(fit)

        def hear(step: str, share: float) -> None:
            if self._hook is None or step not in fit:
                return
            place = steps.index(step)
            done = before + sum(fit[earlier] for earlier in steps[:place]) + share * fit[step]
            # a step may begin again, by another way
            self._furthest = done = max(done, self._furthest)
            current = step if share < 1 else steps[min(place + 1, len(steps) - 1)]
            self._hook(done, self._total, f"{self._unit} {index + 1}/{len(self._fits)}: {current}")

        hear(steps[0], 0.0)
        return hear


class Bar:
    """A `ProgressHook` that draws a bar with elapsed and remaining time, on standard error unless told otherwise.

    Where nothing can be redrawn (a file, a notebook without ipywidgets) it writes a line at a tenth and at the end, at most one in
    `SECONDS_BETWEEN_LINES`.
    """

    def __init__(self, console: Console | None = None) -> None:
        from rich.console import Console

        self._console = console or Console(stderr=True)
        notebook = self._console.is_jupyter
        self._drawn = bool(importlib.util.find_spec("ipywidgets")) if notebook else self._console.is_terminal
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
        if self._drawn:
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


def _clock(seconds: float) -> str:
    """Seconds as h:mm:ss."""
    return str(timedelta(seconds=round(seconds)))
