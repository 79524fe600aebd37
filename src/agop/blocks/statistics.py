"""The first pass over a source: what must be known of all rows before anything can be learned from them.

Means and scales of columns, gaps, levels of categories, targets, classes and what they weigh. Rows of weight 0 are left out of everything.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from agop import _checks
from agop._blocks import rows_per_block
from agop.blocks.block import Block, Blocks, where
from agop.blocks.moments import Moments
from agop.blocks.values import MOST_LEVELS, as_floats, column_of, in_order, plain

MOST_CLASSES = 10_000
"""Different labels that a target may have; more are a mistake, and would not fit beside m² numbers."""


@dataclass(frozen=True, eq=False)
class Statistics:
    """What a pass over all rows finds; of two parts of the rows, `merged` gives that of both.

    Attributes
    ----------
    rows
        How many of them count: those of positive weight.
    weight
        The sum of their weights (1 each, where there are none).
    columns
        Moments of the columns; of a column of categories those of nothing.
    levels
        Of each column of categories the weight of each value, of what is missing under None; None of a column of numbers.
    single
        Whether all columns came in single precision.
    targets
        Moments of a quarter of the targets, whose differences stay in range; None: labels, or no targets.
    classes
        The weight of each label; None: targets, or none.
    """

    rows: int
    weight: float
    columns: Moments
    levels: list[dict[Any, float] | None]
    single: bool
    targets: Moments | None = None
    classes: dict[Any, float] | None = None

    @classmethod
    def of_block(cls, block: Block, categorical: Sequence[int], *, labels: bool) -> Statistics | None:
        """Of the rows of one block; None if none of them counts."""
        weight, y = block.weight, block.y
        X = block.X
        if weight is not None:
            counts = weight > 0
            if not bool(counts.all()):
                kept = counts.cpu().numpy() if isinstance(counts, Tensor) else counts
                X = X[kept] if isinstance(X, pd.DataFrame) else X[_like(X, kept)]
                y = None if y is None else y[_like(y, kept)]
                weight = weight[counts]
        if len(X) == 0:
            return None
        numbers = numbers_of(X, categorical)
        w = torch.ones(len(X), dtype=torch.float64) if weight is None else torch.as_tensor(weight).double()
        w = w.to(numbers.device)
        levels: list[dict[Any, float] | None] = [None] * X.shape[1]
        for place in categorical:
            levels[place] = _weights(*column_of(X, place), w.cpu().numpy())
        single = not isinstance(X, pd.DataFrame) and X.dtype in (np.float32, torch.float32)
        found = cls(len(X), float(w.sum()), Moments.of(numbers, w), levels, single)
        if y is None:
            return found
        if labels:
            classes = _classes(y, w.cpu().numpy(), block)
            return cls(found.rows, found.weight, found.columns, levels, single, classes=classes)
        Y = _numeric(y, block).to(w.device).reshape(len(X), -1)
        return cls(found.rows, found.weight, found.columns, levels, single, targets=Moments.of(Y / 4, w))

    def merged(self, other: Statistics) -> Statistics:
        """Of the rows of both."""
        targets = None
        if self.targets is not None and other.targets is not None:
            targets = self.targets.merged(other.targets)
        classes = None
        if self.classes is not None and other.classes is not None:
            classes = _summed(self.classes, other.classes)
            if len(classes) > MOST_CLASSES:
                got = f"{len(classes):,}"
                raise _checks.bad_value("y", f"at most {MOST_CLASSES:,} classes", got, "fit a regressor")
        levels: list[dict[Any, float] | None] = []
        for place, (own, more) in enumerate(zip(self.levels, other.levels, strict=True)):
            both = None if own is None or more is None else _summed(own, more)
            if both is not None and len(both) > MOST_LEVELS + 1:
                in_order(place, set(both) - {None}, missing=False)  # which raises
            levels.append(both)
        return Statistics(
            self.rows + other.rows, self.weight + other.weight, self.columns.merged(other.columns), levels,
            self.single and other.single, targets, classes,
        )  # fmt: skip

    def ordered_levels(self, names: Sequence[Any]) -> list[list[Any] | None]:
        """The levels of each column in the order of their codes, None (missing) last; None of a column of numbers."""
        return [
            None if known is None else in_order(names[place], set(known) - {None}, missing=None in known)
            for place, known in enumerate(self.levels)
        ]


def statistics(
    source: Blocks,
    *,
    categorical: Sequence[int] = (),
    labels: bool = False,
    rows: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Statistics:
    """One pass over all rows.

    Parameters
    ----------
    source
        Where they are.
    categorical
        Positions of the columns that hold categories.
    labels
        Whether targets are classes.
    rows
        How many are held at once; None: as many as fit into 256 MiB.
    progress
        Called with the number of rows that are done, and of all.

    Raises
    ------
    ValueError, TypeError
        What the source raises; or no row counts, targets or columns are no numbers, or there are too many levels or classes.
    """
    n, d = source.n_rows, source.n_features
    rows = rows_per_block(n, 8 * 8 * d) if rows is None else rows
    found: Statistics | None = None
    for block in source.read(rows):
        part = Statistics.of_block(block, categorical, labels=labels)
        found = part if found is None else found if part is None else found.merged(part)
        if progress is not None:
            progress(block.start + len(block), n)
    if found is None:
        raise _checks.bad_value("weight", "some positive weight", "none", "weight at least one row")
    return found


def numbers_of(X: Any, categorical: Sequence[int]) -> Tensor:
    """The columns of numbers in float64; NaN in those of categories."""
    if isinstance(X, Tensor):
        numbers = X.double()
    elif isinstance(X, pd.DataFrame):
        columns = [
            np.full(len(X), np.nan) if place in categorical else as_floats(*column_of(X, place)) for place in range(X.shape[1])
        ]  # fmt: skip
        return torch.from_numpy(np.stack(columns, 1))
    else:
        numbers = torch.from_numpy(np.array(X, dtype=np.float64))
    if len(categorical):
        numbers = numbers.clone()
        numbers[:, list(categorical)] = torch.nan
    return numbers


def _like(values: Any, kept: np.ndarray) -> Any:
    return torch.from_numpy(kept).to(values.device) if isinstance(values, Tensor) else kept


def _weights(name: Any, column: pd.Series[Any], weight: np.ndarray) -> dict[Any, float]:
    """The weight of each value of a column of categories."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        values, codes = plain(pd.Series(column.cat.categories))[0], column.cat.codes.to_numpy()
        missing = codes < 0
    else:
        kept, missing = plain(column)
        codes, values = pd.factorize(kept)
    present = ~missing
    sums = np.bincount(codes[present], weights=weight[present], minlength=len(values))
    found: dict[Any, float] = {}
    for value, total in zip(values.tolist(), sums.tolist(), strict=True):
        if total > 0:
            found[value] = found.get(value, 0.0) + total
    in_order(name, set(found), missing=False)
    return found | ({None: float(weight[missing].sum())} if missing.any() else {})


def _classes(y: Any, weight: np.ndarray, block: Block) -> dict[Any, float]:
    labels = y.detach().cpu().numpy() if isinstance(y, Tensor) else np.asarray(y)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        got = f"shape {labels.shape} in {where(block)}"
        raise _checks.bad_value("y", "labels with one axis", got, "pass one label per row")
    codes, values = pd.factorize(labels)
    if labels.dtype.kind == "f" and (values != np.round(values)).any():
        raise _checks.bad_value("y", "labels", f"fractions in {where(block)}", "fit a regressor")
    return dict(zip(np.asarray(values).tolist(), np.bincount(codes, weights=weight).tolist(), strict=True))


def _numeric(y: Any, block: Block) -> Tensor:
    if isinstance(y, Tensor):
        return y.double()
    array = np.asarray(y)
    if array.dtype.kind not in "biuf":
        try:
            array = array.astype(np.float64)
        except (TypeError, ValueError):
            raise _checks.bad_type("y", "numbers", f"text in {where(block)}", "fit a classifier") from None
    return torch.from_numpy(np.array(array, dtype=np.float64))


def _summed(a: dict[Any, float], b: dict[Any, float]) -> dict[Any, float]:
    return a | {key: a.get(key, 0.0) + value for key, value in b.items()}
