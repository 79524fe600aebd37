"""The search behind RFMRegressorCV and RFMClassifierCV: rows and folds, the race, the choice of an average, fits to all rows."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from agop import _checks
from agop.machines.averaging import cross_fitted, greedy_average
from agop.machines.chain import Chain
from agop.machines.criterion import Criterion
from agop.machines.folds import held_out, strata, subset, units_of
from agop.machines.race import Heat, Race, Trial, parallel, usual_seconds
from agop.machines.samples import Samples
from agop.machines.targets import Targets

HEAT_ROWS = 1000
"""Rows of the first round of a race, where there are more than half as many again."""

POOL, ROUNDS = 60, 40
POOL_OF_SCORERS, ROUNDS_OF_SCORERS = 20, 10
"""Candidates that the average is chosen from, and rounds of that choice; fewer for a scorer, which takes about a millisecond each time."""

LEAST_KEPT, MOST_KEPT = 0.05, 0.4
"""What of `max_time` is kept for choosing and for fitting the chosen ones to all rows: what the folds let expect, within these shares."""

SHARE_CHOSEN = 0.5
"""Of the recursions that are through all folds, the share that an average is thought to have models of."""

GROWTH, FEWER = 2.5, 0.67
"""A fit to all rows is thought to take `FEWER` of a fold's time, in which more ridges are tried, times the power `GROWTH` of how many more
rows it has: between n² of kernels and n³ of Cholesky."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """An iteration of a recursion with a ridge on top."""

    trial: Trial
    iteration: int
    ridge: float

    @property
    def params(self) -> dict[str, Any]:
        """As an RFM takes them."""
        return {**self.trial.params, "n_iter": self.iteration, "ridge": self.ridge}

    def has(self, fold: int) -> bool:
        """Whether it was judged on a fold, with finite values."""
        stages = self.trial.folds.get(fold, [])
        return self.iteration < len(stages) and stages[self.iteration].of(self.ridge) is not None

    def in_fold(self, fold: int) -> Float[Tensor, "m c"]:
        """Its values in a fold that it has."""
        values = self.trial.folds[fold][self.iteration].of(self.ridge)
        assert values is not None
        return values


@dataclass(eq=False)
class Rows:
    """The rows that are searched with (numbers among all that count), and the fold that holds each out."""

    chosen: Int[Tensor, " m"]
    fold: Int[Tensor, " m"]

    @property
    def folds(self) -> int:
        return int(self.fold.max()) + 1

    def held(self, number: int) -> Int[Tensor, " k"]:
        """Places (among the chosen rows) that a fold holds out."""
        return (self.fold == number).nonzero()[:, 0]


@dataclass(eq=False)
class Choice:
    """What a search chose: candidates with their scores, weights, and honest values of the average.

    Attributes
    ----------
    pool
        The best candidates, best first; `scores` of them.
    weights
        Of the average, one a candidate of the pool, with sum 1.
    places
        The rows (places among the searched ones) that have honest values: all, unless the race was cut before any candidate was through.
    values
        Honest values (m, c) of the average at these rows, by weights that were chosen on other folds.
    """

    pool: list[Candidate]
    scores: list[float]
    weights: Float[Tensor, " p"]
    places: Int[Tensor, " m"]
    values: Float[Tensor, "m c"]
    cross_fitted: bool


def choose_rows(
    samples: Samples,
    groups: np.ndarray | None,
    counts: np.ndarray | None,
    cv: Any,
    most: int | None,
    seed: int,
) -> Rows:
    """Which rows are searched with, and their folds."""
    X, y, weight = samples.X.double().cpu().numpy(), _strata_of(samples), _weight_of(samples)
    is_classes = samples.labels is not None
    fold = held_out(cv, X, y, is_classes, weight, groups, counts, seed)
    units = units_of(X, groups)
    chosen = subset(units, strata(units, y, weight, is_classes), weight, most or len(X), seed)
    kept = np.unique(fold[chosen], return_inverse=True)[1].reshape(-1)
    if kept.max() < 1:
        got = f"{most}, which leaves rows of one fold only"
        raise _checks.bad_value("max_rows", "rows of several folds", got, "raise it")
    return Rows(torch.from_numpy(chosen), torch.from_numpy(kept))


def _strata_of(samples: Samples) -> np.ndarray:
    """Classes, or the first target."""
    return samples.Y[:, 0].cpu().numpy() if samples.labels is None else samples.labels.cpu().numpy()


def _weight_of(samples: Samples) -> np.ndarray | None:
    return None if samples.weight is None else samples.weight.cpu().numpy()


def rounds_of(rows: Rows, samples: Samples, seed: int) -> list[list[Heat]]:
    """The rounds of the race: with many rows a subsample first, then one fold, then the others."""
    place = torch.arange(len(rows.fold))
    whole = [Heat(place[rows.fold != k], place[rows.fold == k], k) for k in range(rows.folds)]
    rounds = [[whole[0]], whole[1:]]
    if 2 * len(place) > 3 * HEAT_ROWS:
        units, y, weight = (
            units_of(samples.X.double().cpu().numpy(), None), _strata_of(samples), _weight_of(samples),
        )  # fmt: skip
        stratum = strata(units, y, weight, samples.labels is not None)
        few = torch.from_numpy(subset(units, stratum, weight, HEAT_ROWS, seed + 1))
        own = rows.fold[few]
        rounds.insert(0, [Heat(few[own != 0], few[own == 0], None)])
    return rounds


@dataclass(eq=False)
class Search:
    """Everything that a search needs and leaves behind.

    Parameters
    ----------
    make
        An unfitted estimator of the given parameters that knows the columns and classes.
    samples
        All rows that count, as they came, with the weights that were passed.
    criterion
        On the rows that are searched with.
    scale
        Of the targets: values are kept in its units where they are targets.
    """

    make: Callable[[dict[str, Any]], Any]
    samples: Samples
    dtype: torch.dtype
    rows: Rows
    criterion: Criterion
    scale: Targets
    members: int
    n_jobs: int | None = None
    deadline: float = float("inf")
    notes: list[str] = field(default_factory=list)

    def units(self, values: Float[Tensor, "*p c"]) -> Float[Tensor, "*p c"]:
        """Restored values in the units of the criterion."""
        if self.criterion.is_classes:
            return values.double()
        return self.scale.scaled(values.double(), torch.float64)

    def race(
        self,
        draws: Iterator[dict[str, Any]],
        count: int | None,
        plan: list[tuple[float, ...]],
        limit: float | None,
        seed: int,
        tell: Callable[[int, str], None],
    ) -> Race:
        """Run the race; of `limit` seconds it leaves what fits to all rows need."""
        part = self.samples.take(self.rows.chosen)

        def judge(heat: Heat) -> Callable[[Tensor], float]:
            criterion = self.criterion.take(heat.held.to(self.criterion.weight.device))
            return lambda values: criterion.score(self.units(values))

        race = Race(
            part,
            rounds_of(self.rows, part, seed),
            self.make,
            judge,
            self.dtype,
            plan,
            deadline=self.deadline,
            limit=float("inf") if limit is None else limit,
            afterwards=partial(self._afterwards, 0.0 if limit is None else limit),
            growth=self._growth,
            n_jobs=self.n_jobs,
            tell=tell,
        )
        race.run(draws, count)
        return race

    @property
    def _growth(self) -> float:
        """How many times longer than a fold's a fit to all rows is thought to take."""
        in_fold = len(self.rows.fold) * (1 - 1 / self.rows.folds)
        return FEWER * (len(self.samples) / in_fold) ** GROWTH

    def _afterwards(self, limit: float, trials: list[Trial]) -> float:
        """Seconds that fits of the best recursions to all rows are thought to take; the most there may be while no fold tells."""
        usual = usual_seconds(trials)
        if usual is None:
            return MOST_KEPT * limit
        through = sum(len(trial.folds) == self.rows.folds for trial in trials)
        expected = min(self.members, max(1, SHARE_CHOSEN * through)) * usual * self._growth
        return min(max(expected, LEAST_KEPT * limit), MOST_KEPT * limit)

    def _affordable(self, ranked: list[Candidate]) -> set[int]:
        """Numbers of the recursions, best first, that there is time to fit to all rows; the best one whatever it takes."""
        left = self.deadline - time.monotonic()
        numbers: set[int] = set()
        for candidate in ranked:
            price = (candidate.trial.seconds_of_fold or 0.0) * self._growth
            if candidate.trial.number in numbers or (numbers and price > left):
                continue
            numbers.add(candidate.trial.number)
            left -= price
        return numbers

    def choose(self, trials: list[Trial]) -> Choice:
        """The average of the candidates that came furthest, of those recursions that there is time to fit to all rows."""
        folds = list(range(self.rows.folds))
        through = [c for c in candidates(trials) if all(c.has(k) for k in folds)]
        if not through:
            folds = [0]
            through = [c for c in candidates(trials) if c.has(0)]
        places = torch.cat([self.rows.held(k) for k in folds])
        criterion = self.criterion.take(places)
        stacked = [self.units(torch.cat([c.in_fold(k) for k in folds])) for c in through]
        scores = [criterion.score(values) for values in stacked]
        order = sorted(range(len(through)), key=lambda place: -scores[place])
        affordable = self._affordable([through[place] for place in order])
        order = [place for place in order if through[place].trial.number in affordable]
        custom = criterion.scorer is not None
        order = order[: POOL_OF_SCORERS if custom else POOL]
        rounds = ROUNDS_OF_SCORERS if custom else ROUNDS
        values = torch.stack([stacked[place] for place in order])
        weights = greedy_average(values, criterion, self.members, rounds)
        fold = self.rows.fold[places]
        if len(folds) > 1:
            apart = cross_fitted(values, fold, criterion, self.members, rounds)
            honest = torch.einsum("mp,pmc->mc", apart.to(values)[fold], values)
        else:
            honest = torch.einsum("p,pmc->mc", weights.to(values), values)
        return Choice(
            [through[place] for place in order],
            [scores[place] for place in order],
            weights,
            places,
            honest,
            len(folds) > 1,
        )

    def fitted(
        self, chosen: list[Candidate], samples: Samples, tell: Callable[[int, str], None]
    ) -> dict[int, Any]:
        """Estimators of the chosen candidates on all rows, by their place; those of one recursion share its fits.

        The recursion of the first is fitted whatever the time, the others while there is some left.
        """
        recursions: dict[int, list[int]] = {}
        for place, candidate in enumerate(chosen):
            recursions.setdefault(candidate.trial.number, []).append(place)
        first, *others = recursions.values()
        models: dict[int, Any] = {}

        def one(places: list[int]) -> None:
            expected = (chosen[places[0]].trial.seconds_of_fold or 0.0) * self._growth
            if models and time.monotonic() + expected > self.deadline:
                return
            wanted = [chosen[place] for place in places]
            for place, model in zip(places, self._members(wanted, samples), strict=True):
                models[place] = model

        try:
            for work in ([(first,)], [(places,) for places in others]):
                for _ in parallel(one, work, self.n_jobs) if work else ():
                    tell(1, "fit to all rows")
        except KeyboardInterrupt:
            if not models:
                raise
            self.notes.append(f"stopped with {len(models)} of {len(chosen)} chosen models fitted to all rows")
        if len(models) < len(chosen) and not self.notes:
            self.notes.append(f"max_time left room for {len(models)} of {len(chosen)} chosen models")
        return models

    def _members(self, wanted: list[Candidate], samples: Samples) -> list[Any]:
        """Estimators of candidates of one recursion: the longest is fitted, the others go on from where it was at their iteration."""
        longest = max(range(len(wanted)), key=lambda place: wanted[place].iteration)
        before: dict[int, tuple[Chain, ...]] = {0: ()}
        models: dict[int, Any] = {}
        for place in sorted(range(len(wanted)), key=lambda place: place != longest):
            model = models[place] = self.make(wanted[place].params)
            model._continue(samples, None)
            prepared, _ = model._prepared(samples, None, self.dtype)
            if place != longest:
                model._chains_ = before[wanted[place].iteration]
                model._fit_samples(prepared, None, None, None)
                continue

            def note(index: int, count: int, entry: dict[str, Any], model: Any = model) -> None:
                before[index + 1] = model._chains_

            model._fit_samples(prepared, None, note, None)
        return [models[place] for place in range(len(wanted))]


def candidates(trials: list[Trial]) -> list[Candidate]:
    """All that were judged, trial by trial, iteration by iteration, ridge by ridge."""
    found = []
    for trial in trials:
        longest = max(trial.folds.values(), key=len, default=[])
        for iteration, stage in enumerate(longest):
            found += [Candidate(trial, iteration, ridge) for ridge in stage.ridges]
    return found
