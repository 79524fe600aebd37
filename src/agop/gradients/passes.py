"""How far a sweep is: a forward pass and the backward passes of each batch, counted by samples."""

from __future__ import annotations

from collections.abc import Callable, Sized
from dataclasses import dataclass
from operator import length_hint
from typing import Any

from agop._progress import ProgressHook
from agop.gradients import calling


@dataclass(frozen=True)
class Step:
    """`done` of the passes through a batch of so many rows, 0 of 0 when it begins; `expected` samples in all, as far as one knows."""

    rows: int
    done: int
    of: int
    expected: int | None


Heard = Callable[[Step], None]
"""Told of every pass of a sweep."""


class Told:
    """Tells a hook of every pass; silent where nobody knows how many samples there are."""

    def __init__(self, hook: ProgressHook) -> None:
        self._hook = hook
        self._before = 0

    def __call__(self, step: Step) -> None:
        """A pass is done."""
        if not step.done:
            return
        if step.expected:
            # a loader may have more than it looked like
            n = max(step.expected, self._before + step.rows)
            done = self._before * step.of + step.rows * step.done
            self._hook(done, n * step.of, f"layer AGOPs, {n:,} samples")
        if step.done == step.of:
            self._before += step.rows


def samples_in(X: Any, batch_rows: int) -> int | None:
    """How many samples there are, in a loader of batches of so many rows about; None where it does not say."""
    if calling.is_whole(X):
        return calling.n_rows(X)
    data = getattr(X, "dataset", None)
    if isinstance(data, Sized):
        return len(data)
    # a loader of a stream has a length that raises
    return length_hint(X, 0) * batch_rows or None
