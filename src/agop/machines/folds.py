"""Parts of the training rows that are held out in turn: what belongs together stays together, and the order of rows doesn't matter."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float, Int
from sklearn.model_selection import check_cv

from agop import _checks

_SUBSET_PARTS = 50


def units_of(X: Float[np.ndarray, "n d"], groups: np.ndarray | None) -> Int[np.ndarray, " n"]:
    """Which rows may not be parted: those of a group, or without groups equal rows; numbered in the order of their values."""
    if groups is None:
        rows = np.nan_to_num(X, nan=np.inf) + 0.0  # no value is infinite, and -0 is 0
        return np.unique(rows, axis=0, return_inverse=True)[1].reshape(-1)
    return np.unique(groups, return_inverse=True)[1].reshape(-1)


def dealt(
    units: Int[np.ndarray, " n"],
    labels: Int[np.ndarray, " n"] | None,
    weight: Float[np.ndarray, " n"] | None,
    parts: int,
    seed: int,
) -> Int[np.ndarray, " n"]:
    """The part (from 0) of each row: units in random order, each to the part that has least of its class so far.

    Which rows share a part depends on their values, classes, weights and the seed, not on their order; k copies of a row count as one with
    weight k.
    """
    count = int(units.max()) + 1
    mass = np.bincount(units, weights=weight, minlength=count)
    kinds = np.zeros(count, dtype=np.int64)
    if labels is not None:
        by_class = np.zeros((count, int(labels.max()) + 1))
        np.add.at(by_class, (units, labels), 1.0 if weight is None else weight)
        kinds = by_class.argmax(1)
    unit_mass = mass / mass.max()
    load = np.zeros((kinds.max() + 1, parts))
    total = np.zeros(parts)
    part = np.empty(count, dtype=np.int64)
    for unit in np.random.RandomState(seed % 2**32).permutation(count):
        kind = kinds[unit]
        chosen = np.lexsort((total.round(9), load[kind].round(9)))[0]
        part[unit] = chosen
        load[kind, chosen] += unit_mass[unit]
        total[chosen] += unit_mass[unit]
    return part[units]


def subset(
    units: Int[np.ndarray, " n"],
    labels: Int[np.ndarray, " n"] | None,
    weight: Float[np.ndarray, " n"] | None,
    most: int,
    seed: int,
) -> Int[np.ndarray, " m"]:
    """Rows, at most `most` unless a single unit has more, that stand for all: units are not parted, classes keep their shares."""
    if len(units) <= most:
        return np.arange(len(units))
    parts = min(_SUBSET_PARTS, int(units.max()) + 1)
    part = dealt(units, labels, weight, parts, seed)
    upto = np.cumsum(np.bincount(part, minlength=parts))
    return np.flatnonzero(part < max(1, int((upto <= most).sum())))


def held_out(
    cv: Any,
    X: Float[np.ndarray, "n d"],
    y: np.ndarray,
    labels: Int[np.ndarray, " n"] | None,
    weight: Float[np.ndarray, " n"] | None,
    groups: np.ndarray | None,
    counts: np.ndarray | None,
    seed: int,
) -> Int[np.ndarray, " n"]:
    """The fold in which each row is held out.

    Parameters
    ----------
    cv
        How many folds, a splitter of scikit-learn, or (fit, held) pairs of row numbers.
    X, y, labels, weight, groups
        Rows that count, and what belongs to them.
    counts
        Which rows those are of the ones that were passed (None: all); pairs of row numbers mean the latter.

    Raises
    ------
    ValueError
        If there are too few rows, or a row is not held out exactly once.
    """
    units = units_of(X, groups)
    different = int(units.max()) + 1
    what = "groups" if groups is not None else "different rows"
    if isinstance(cv, int | np.integer) and not isinstance(cv, bool):
        cv = _checks.integer("cv", cv, at_least=2)
        if different < 2:
            got = f"{len(X)} with {different} of them different (n_samples = {different})"
            if groups is not None:
                got = "1 group"
            raise _checks.bad_value("X", f"at least 2 {what} to choose by", got, "pass more rows")
        return dealt(units, labels, weight, min(cv, different), seed)
    expected = "a number of folds, a splitter of scikit-learn, or (fit, held) pairs of row numbers"
    try:
        splitter = check_cv(cv, y, classifier=labels is not None)
    except ValueError:
        raise _checks.bad_value("cv", expected, _checks.shown(cv)) from None
    own = hasattr(cv, "split")
    place = np.arange(len(X)) if own or counts is None else np.cumsum(counts) - 1
    fold = np.full(len(X), -1)
    times = np.zeros(len(X), dtype=np.int64)
    for number, (_, held) in enumerate(splitter.split(X, y, groups)):
        rows = np.asarray(held)
        rows = rows if own or counts is None else rows[counts[rows]]
        fold[place[rows]] = number
        np.add.at(times, place[rows], 1)
    if not (times == 1).all():
        got = f"{int((times != 1).sum())} rows that are held out {'more than once' if times.max() > 1 else 'never'}"
        raise _checks.bad_value("cv", "folds that hold out every row once", got, "use KFold or another partition")
    if fold.max() < 1:
        raise _checks.bad_value("cv", "at least 2 folds", "1")
    return fold
