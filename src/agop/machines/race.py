"""A race of recursions: judged on one fold first, and the best of them on all folds; what was measured stays when it is stopped."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import joblib
import numpy as np
import torch
from torch import Tensor

from agop.machines.fold_chain import Judge, Stage, around, follow, promising
from agop.machines.samples import Samples

KEPT = 3
"""One in so many goes on from each round of a race to the next."""

BATCH = 8

OPENING = 0.3
"""The share of the time by which each round of the first batch, but for the last, has to end; a later round begins where one has ended."""

LONGEST, LAST = 0.06, 0.15
"""The shares of the time, and of what is left of it, after which an open heat begins no further iteration."""

CLOSED = 0.75
"""What a fold with a given plan is thought to take of the time of one that is open."""

PIONEER = 1.5
"""Seconds for each heat of the first recursion of a timed race, which goes ahead of the others until a whole fold has judged it."""


@dataclass
class Trial:
    """A recursion in the race: its parameters, and what was measured of it.

    `folds` are its stages on whole folds, by number. `scores` are the best of each round it was in; `plan` is what other folds try of it,
    `best_ridge` that of its iteration 0; `seconds_of_fold` what the last whole fold took.
    """

    number: int
    params: dict[str, Any]
    folds: dict[int, list[Stage]] = field(default_factory=dict)
    scores: list[float] = field(default_factory=list)
    plan: list[tuple[float, ...]] = field(default_factory=list)
    best_ridge: float | None = None
    seconds: float = 0.0
    seconds_of_fold: float | None = None
    error: str | None = None

    def finished(self, folds: int) -> int:
        """Iterations that all folds have."""
        return min(len(self.folds.get(k, ())) for k in range(folds))


def usual_seconds(trials: list[Trial]) -> float | None:
    """What a whole fold takes in the mean; None while none tells."""
    seconds = [trial.seconds_of_fold for trial in trials if trial.seconds_of_fold is not None]
    return sum(seconds) / len(seconds) if seconds else None


@dataclass(frozen=True, eq=False)
class Heat:
    """Rows to fit on and rows to judge on, and which fold this is of all rows (None: of a subsample)."""

    fit: Tensor
    held: Tensor
    fold: int | None


@dataclass(eq=False)
class Race:
    """Runs trials in rounds of heats: every trial the first round, one in three the next, and so on.

    Parameters
    ----------
    samples
        All rows that are searched with, as they came.
    rounds
        The heats of each round.
    model
        Makes an unfitted estimator from the parameters of a recursion.
    judge
        Scores values of a heat.
    plan
        Ridges of iteration 0, once for each iteration there may be.
    deadline
        On the clock of `time.monotonic`, for the race and what comes after it; infinite without a limit.
    limit
        Seconds from the beginning to the deadline.
    afterwards
        Of the trials so far, the seconds that what comes after the race is thought to take.
    growth
        How many times longer than a fold's a fit to all rows is thought to take.
    n_jobs
        As joblib's.
    tell
        Hears how many recursions have begun or gone on.
    """

    samples: Samples
    rounds: list[list[Heat]]
    model: Callable[[dict[str, Any]], Any]
    judge: Callable[[Heat], Judge]
    dtype: torch.dtype
    plan: list[tuple[float, ...]]
    deadline: float = float("inf")
    limit: float = float("inf")
    afterwards: Callable[[list[Trial]], float] = lambda trials: 0.0
    growth: float = 1.0
    n_jobs: int | None = None
    tell: Callable[[int, str], None] = lambda count, text: None
    trials: list[Trial] = field(default_factory=list)
    interrupted: bool = False
    _parts: dict[int, tuple[Samples, Samples]] = field(default_factory=dict)

    def _left(self) -> float:
        """Seconds until the time of the race is over; infinite without a limit."""
        if not math.isfinite(self.deadline):
            return float("inf")
        return self.deadline - self.afterwards(self.trials) - time.monotonic()

    def late(self) -> bool:
        """Whether the time of the race is over."""
        return self._left() < 0

    def run(self, draws: Iterator[dict[str, Any]], count: int | None) -> None:
        """Race `count` recursions, or as many as there is time for; Ctrl-C ends the race, and what was measured stays."""
        try:
            while not self.late() and (count is None or len(self.trials) < count):
                size = BATCH if count is None else min(BATCH, count - len(self.trials))
                batch = [
                    Trial(len(self.trials) + place, params)
                    for place, params in enumerate(params for _, params in zip(range(size), draws))
                ]
                if not batch:
                    break
                begun = time.monotonic()
                self.trials += batch
                if batch[0].number == 0 and math.isfinite(self.deadline):
                    self._ahead(batch[0])
                for place in range(len(self.rounds)):
                    entering = self._promoted(place) if place else [t for t in batch if not t.scores]
                    self._round(place, entering)
                if self._left() < time.monotonic() - begun:
                    self._finish()
                    break
        except KeyboardInterrupt:
            self.interrupted = True

    def _finish(self) -> None:
        """What came furthest, best first, through the rounds that it misses, while there is time but not for another batch."""
        waiting = [trial for trial in self.trials if 0 < len(trial.scores) < len(self.rounds)]
        waiting.sort(key=lambda trial: (-len(trial.scores), -trial.scores[-1]))
        usual = usual_seconds(self.trials) or 0.0
        whole = {heat.fold for heats in self.rounds for heat in heats if heat.fold is not None}
        for trial in waiting:
            seconds = CLOSED * len(whole - set(trial.folds)) * (trial.seconds_of_fold or usual)
            if seconds + (usual_seconds(self.trials) or 0.0) * self.growth > self._left():
                continue
            for place in range(len(trial.scores), len(self.rounds)):
                if len(trial.scores) == place and np.isfinite(trial.scores[-1]):
                    self._round(place, [trial])

    def _ahead(self, pioneer: Trial) -> None:
        """One recursion through all rounds up to the first whole fold: whoever stops the race after that has a model."""
        for place, heats in enumerate(self.rounds):
            self._round(place, [pioneer], longest=PIONEER)
            if any(heat.fold == 0 for heat in heats) or len(pioneer.scores) <= place:
                break

    def _promoted(self, place: int) -> list[Trial]:
        """Trials among the best third of all that were in the round before, and not yet in this one."""
        there = [trial for trial in self.trials if len(trial.scores) >= place]
        there.sort(key=lambda trial: -trial.scores[place - 1])
        chosen = there[: max(1, -(-len(there) // KEPT))]
        return [trial for trial in chosen if len(trial.scores) == place and np.isfinite(trial.scores[-1])]

    def _round(self, place: int, batch: list[Trial], longest: float = float("inf")) -> None:
        """One round: heat by heat and trial by trial, in parallel; no iteration begins in a heat after `longest` seconds."""
        heats = self.rounds[place]
        work = [(trial, heat) for trial in batch for heat in heats]

        until = self.deadline
        if math.isfinite(until) and batch and batch[0].number < BATCH and place + 1 < len(self.rounds):
            until -= self.limit * (1 - OPENING * (place + 1))

        def one(trial: Trial, heat: Heat) -> tuple[Trial, float | None]:
            if self.late() or (trial is not batch[0] and time.monotonic() > until):
                return trial, None
            opens = heat.fold in (None, 0)
            return trial, self._heat(trial, heat, opens=opens, longest=min(longest, self._most(opens)))

        found: dict[int, list[float]] = {}
        for trial, score in parallel(one, work, self.n_jobs):
            if score is None:
                continue
            found.setdefault(trial.number, []).append(score)
            self.tell(1, f"recursion {trial.number + 1}, round {place + 1} of {len(self.rounds)}")
        for trial in batch:
            own = found.get(trial.number, [])
            if len(own) == len(heats):
                trial.scores.append(float(np.mean(own)))

    def _most(self, opens: bool) -> float:
        """Seconds after which a heat begins no further iteration: what a recursion learns of one fold, the others must have time for."""
        if not opens or not math.isfinite(self.deadline):
            return float("inf")
        return min(LONGEST * self.limit, LAST * self._left())

    def _heat(self, trial: Trial, heat: Heat, *, opens: bool, longest: float) -> float | None:
        """The best score of a trial in one heat; None if there was no time for an iteration."""
        start = time.perf_counter()
        key = id(heat)
        if key not in self._parts:
            self._parts[key] = self.samples.take(heat.fit), self.samples.take(heat.held)
        fit, held = self._parts[key]
        judge = self.judge(heat)
        plan = self.plan if opens else trial.plan
        if opens and trial.best_ridge is not None:
            plan = [around(trial.best_ridge, self.plan[0]), *self.plan[1:]]
        try:
            stages = follow(
                self.model(trial.params),
                fit,
                held,
                self.dtype,
                plan,
                judge=judge if opens else None,
                halt=lambda: self.late() or time.perf_counter() - start > longest,
                grid=self.plan[0],
            )
        except (ValueError, RuntimeError, ArithmeticError) as error:
            trial.error = str(error)
            return -float("inf")
        finally:
            trial.seconds += time.perf_counter() - start
        if not stages:
            return None
        if heat.fold is not None:
            trial.folds[heat.fold] = stages
            trial.seconds_of_fold = time.perf_counter() - start
        if opens:
            trial.plan = promising(stages)
            scores = [score for stage in stages for score in stage.scores]
            first = stages[0]
            trial.best_ridge = first.ridges[first.scores.index(max(first.scores))]
        else:
            scores = [judge(values) for stage in stages for values in stage.values]
        return max((score for score in scores if score == score), default=-float("inf"))


def parallel(one: Callable[..., Any], work: list[tuple[Any, ...]], n_jobs: int | None) -> Iterator[Any]:
    """Results as they come; threads, because almost all of the time is spent in torch."""
    jobs = min(joblib.effective_n_jobs(n_jobs), len(work))
    if jobs <= 1:
        yield from (one(*arguments) for arguments in work)
        return
    before = torch.get_num_threads()
    share = max(1, before // jobs)

    def limited(*arguments: Any) -> Any:
        torch.set_num_threads(share)  # each thread has a number of its own, for products and factorisations
        return one(*arguments)

    try:
        threads = joblib.Parallel(jobs, require="sharedmem", return_as="generator_unordered")
        yield from threads(joblib.delayed(limited)(*arguments) for arguments in work)
    finally:
        torch.set_num_threads(before)
