"""Parts of the training rows that are held out in turn: what belongs together stays together, and the order of rows doesn't matter."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float, Int
from sklearn.model_selection import check_cv

from agop import _checks

_TENTHS = 10


def units_of(X: Float[np.ndarray, "n d"], groups: np.ndarray | None) -> Int[np.ndarray, " n"]:
    """Which rows may not be parted: those of a group, or without groups equal rows; numbered in the order of their values."""
    if groups is None:
        rows = np.nan_to_num(X, nan=np.inf) + 0.0  # no value is infinite, and -0 is 0
        return np.unique(rows, axis=0, return_inverse=True)[1].reshape(-1)
    return np.unique(groups, return_inverse=True)[1].reshape(-1)


def strata(
    units: Int[np.ndarray, " n"], y: np.ndarray, weight: Float[np.ndarray, " n"] | None, is_classes: bool
) -> Int[np.ndarray, " u"]:
    """The stratum of each unit: the class that has most of its weight, or the tenth of all weight that its mean target lies in."""
    count = int(units.max()) + 1
    ones = np.ones(len(units)) if weight is None else weight
    mass = np.bincount(units, weights=ones, minlength=count)
    if is_classes:
        by_class = np.zeros((count, int(y.max()) + 1))
        np.add.at(by_class, (units, y), ones)
        return by_class.argmax(1)
    means = np.bincount(units, weights=ones * (y / np.abs(y).max() if y.any() else y), minlength=count) / mass
    values, place = np.unique(means.round(12), return_inverse=True)
    upto = np.cumsum(np.bincount(place.reshape(-1), weights=mass, minlength=len(values)))
    tenth = np.ceil((_TENTHS * upto / upto[-1]).round(9)).astype(np.int64) - 1
    return tenth[place.reshape(-1)].clip(0, _TENTHS - 1)


def dealt(
    units: Int[np.ndarray, " n"],
    stratum: Int[np.ndarray, " u"],
    weight: Float[np.ndarray, " n"] | None,
    parts: int,
    seed: int,
) -> Int[np.ndarray, " n"]:
    """The part (from 0) of each row: units in random order, each to the part that has least of its stratum so far.

    Which rows share a part depends on their values, targets, weights and the seed, not on their order; k copies of a row count as one with
    weight k.
    """
    mass = np.bincount(units, weights=weight)
    mass = mass / mass.max()
    load = np.zeros((int(stratum.max()) + 1, parts))
    total = np.zeros(parts)
    part = np.empty(len(mass), dtype=np.int64)
    for unit in np.random.RandomState(seed % 2**32).permutation(len(mass)):
        own = load[stratum[unit]]
        chosen = np.lexsort((total.round(9), own.round(9)))[0]
        part[unit] = chosen
        own[chosen] += mass[unit]
        total[chosen] += mass[unit]
    return part[units]


def subset(
    units: Int[np.ndarray, " n"],
    stratum: Int[np.ndarray, " u"],
    weight: Float[np.ndarray, " n"] | None,
    most: int,
    seed: int,
) -> Int[np.ndarray, " m"]:
    """Rows, at most `most` unless a single unit has more, that stand for all: units are not parted, strata keep their shares."""
    if len(units) <= most:
        return np.arange(len(units))
    mass = np.bincount(units, weights=weight)
    shuffled = np.random.RandomState(seed % 2**32).permutation(len(mass))
    share = np.empty(len(mass))  # of its stratum, up to the middle of a unit
    for kind in np.unique(stratum):
        own = shuffled[stratum[shuffled] == kind]
        upto = np.cumsum(mass[own])
        share[own] = ((upto - mass[own] / 2) / upto[-1]).round(9)
    order = shuffled[np.argsort(share[shuffled], kind="stable")]
    rows = np.cumsum(np.bincount(units)[order])
    return np.flatnonzero(np.isin(units, order[: max(1, int((rows <= most).sum()))]))


def held_out(
    cv: Any,
    X: Float[np.ndarray, "n d"],
    y: np.ndarray,
    is_classes: bool,
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
    X, y, weight, groups
        Rows that count, and what belongs to them; `y` is a class (from 0) or one target.
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
        return dealt(units, strata(units, y, weight, is_classes), weight, min(cv, different), seed)
    expected = "a number of folds, a splitter of scikit-learn, or (fit, held) pairs of row numbers"
    try:
        splitter = check_cv(cv, y, classifier=is_classes)
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
        raise _checks.bad_value(
            "cv", "folds that hold out every row once", got, "use KFold or another partition"
        )
    if fold.max() < 1:
        raise _checks.bad_value("cv", "at least 2 folds", "1")
    return fold
