"""The numbers that claims are about: each function takes the table (or tables) of one data set and gives one number per
seed.

A table has a column `seed`; profiles have `points`, `layer`, `stage` and a column per measure. NaN says that a number is not defined
(too few layers, a measure without value); a claim with a NaN is not decided.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from agop.experiments.claims import Column, Table

Statistic = Callable[..., dict[int, float]]


def per_seed(of_one: Callable[..., float]) -> Statistic:
    """Apply a function of one seed's rows, of one table or of several, to every seed of the first."""

    def statistic(table: Table, *others: Table) -> dict[int, float]:
        return {
            int(str(seed)): float(of_one(rows, *(other[other["seed"] == seed] for other in others)))
            for seed, rows in table.groupby("seed")
        }

    return statistic


def curve(rows: Table, measure: str, stage: str, points: str = "train") -> Column:
    """A measure by layer."""
    chosen = rows[(rows["stage"] == stage) & (rows["points"] == points)]
    return chosen.set_index("layer")[measure].sort_index()


def fall_per_layer(
    measure: str = "nc1", stage: str = "projected", points: str = "train", *, second_half: bool = False
) -> Statistic:
    """The factor per layer: exp of the least-squares slope of ln(measure) against the layer."""

    def of_one(rows: Table) -> float:
        values = curve(rows, measure, stage, points)
        if second_half:
            values = values.iloc[len(values) // 2 :]
        return _exp_slope(values)

    return per_seed(of_one)


def _exp_slope(values: Column) -> float:
    numbers = values.to_numpy(float)
    if len(numbers) < 3 or not (numbers > 0).all():
        return float("nan")
    return float(np.exp(np.polyfit(values.index.to_numpy(float), np.log(numbers), 1)[0]))


def straightness(measure: str = "nc1", stage: str = "projected") -> Statistic:
    """R² of the straight line through ln(measure) against the layer; 1 is exactly geometric, 0 no trend."""

    def of_one(rows: Table) -> float:
        values = curve(rows, measure, stage)
        if len(values) < 3 or not (values > 0).all():
            return float("nan")
        return float(np.corrcoef(values.index.to_numpy(float), np.log(values.to_numpy(float)))[0, 1] ** 2)

    return per_seed(of_one)


def last_over_first(measure: str, stage: str = "projected", points: str = "train") -> Statistic:
    """The value in the last layer over that in the first."""

    def of_one(rows: Table) -> float:
        values = curve(rows, measure, stage, points)
        return (
            float(values.iloc[-1] / values.iloc[0])
            if len(values) > 1 and values.iloc[0] > 0
            else float("nan")
        )

    return per_seed(of_one)


def worst_projection(measure: str = "nc1") -> Statistic:
    """The largest over layers of projected / input."""
    return per_seed(
        lambda rows: float(np.max(curve(rows, measure, "projected") / curve(rows, measure, "input")))
    )


def given_back(measure: str = "nc1") -> Statistic:
    """Median over layers of ln(output / projected) / ln(input / projected): the share of the drop that the feature map undoes."""

    def of_one(rows: Table) -> float:
        before, between, after = (np.log(curve(rows, measure, s)) for s in ("input", "projected", "output"))
        return float(np.median((after - between) / (before - between)))

    return per_seed(of_one)


def share_of_fall(points: str = "test", measure: str = "nc1") -> Statistic:
    """Decades that the measure falls on held-out points, over the decades it falls on training points (first to last layer)."""

    def of_one(rows: Table) -> float:
        if not (rows["points"] == points).any():
            return float("nan")
        falls = []
        for part in (points, "train"):
            values = np.log10(curve(rows, measure, "projected", part))
            falls.append(values.iloc[0] - values.iloc[-1])
        return float(falls[0] / falls[1])

    return per_seed(of_one)


def largest_deviation(of: str, from_: str) -> Statistic:
    """The largest over layers of |ln(a/b)| of two columns: a tenth is about ten per cent."""
    return per_seed(lambda rows: float(np.abs(np.log(rows[of] / rows[from_])).max()))


def median_factor(of: str, from_: str) -> Statistic:
    """The median over rows of the factor between two columns, max(a/b, b/a)."""
    return per_seed(lambda rows: float(np.exp(np.median(np.abs(np.log(rows[of] / rows[from_]))))))


def between_runs(first: Table, second: Table) -> Table:
    """NC1 of the projected stage of two profiles side by side: columns seed, layer, first, second."""
    keys = ["seed", "layer"]
    parts = []
    for name, table in (("first", first), ("second", second)):
        rows = table[(table["stage"] == "projected") & (table["points"] == "train")]
        parts.append(rows[[*keys, "nc1"]].rename(columns={"nc1": name}))
    return parts[0].merge(parts[1], on=keys, how="inner")
