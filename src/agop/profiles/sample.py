"""The one sample of the samples whose rows are kept, in all layers the same: drawn while they pass, whatever the batches.

Every sample gets a random key as it passes; those with the smallest keys are the sample. So it is uniform, does not depend on how the
samples are batched, and a sample that was let go is never needed again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from agop import _checks
from agop.evidence import Need

DEFAULT_ROWS = 1000
"""Samples whose rows are kept unless a probe asks for more."""


@dataclass(frozen=True, eq=False)
class Picked:
    """Which samples of a batch are kept: their places in the batch, and their numbers in the whole data."""

    places: Int[Tensor, " m"]
    numbers: Int[Tensor, " m"]
    kept: Int[Tensor, " k"]
    batch: int


class RowSample:
    """A seeded sample of `n` samples (None: all of them) and at least `per_class` of each class where there are so many."""

    def __init__(self, n: int | None, per_class: int = 0, random_state: int = 0) -> None:
        self.n, self.per_class = n, per_class
        self._random = np.random.default_rng(random_state)
        self._seen = 0
        self._keys = np.empty(0)
        self.numbers = np.empty(0, dtype=np.int64)
        self.labels = np.empty(0, dtype=np.int64)

    def pick(self, labels: Int[Tensor, " b"]) -> Picked:
        """Take in a batch of samples with these class indices."""
        batch = len(labels)
        numbers = np.arange(self._seen, self._seen + batch)
        self._seen += batch
        keys = np.concatenate([self._keys, self._random.random(batch)])
        every = np.concatenate([self.numbers, numbers])
        classes = np.concatenate([self.labels, labels.cpu().numpy()])
        kept = self._smallest(keys, classes)
        self._keys, self.numbers, self.labels = keys[kept], every[kept], classes[kept]
        new = self.numbers[self.numbers >= numbers[0]] if batch else self.numbers[:0]
        return Picked(
            torch.from_numpy(new - (self._seen - batch)),
            torch.from_numpy(new),
            torch.from_numpy(self.numbers),
            batch,
        )

    def _smallest(self, keys: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """Which to keep, in their order: the n smallest keys, and the `per_class` smallest of each class."""
        if self.n is None or len(keys) <= self.n:
            return np.arange(len(keys))
        kept = np.zeros(len(keys), dtype=bool)
        kept[np.argpartition(keys, self.n - 1)[: self.n]] = True
        if self.per_class:
            order = np.lexsort((keys, classes))
            ordered = classes[order]
            starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
            rank = np.arange(len(order)) - np.repeat(starts, np.diff(np.r_[starts, len(order)]))
            kept[order[rank < self.per_class]] = True
        return np.flatnonzero(kept)

    @property
    def seen(self) -> int:
        """How many samples have passed."""
        return self._seen


class KeptRows:
    """Rows of one stage for the samples that a `RowSample` keeps; all positions of a sample stay together."""

    def __init__(self) -> None:
        self._parts: list[tuple[Tensor, Tensor]] = []

    def add(self, rows: Float[Tensor, "r d"], picked: Picked) -> None:
        """Add the rows of a batch: as many for every sample, one sample after the other."""
        if len(picked.places):
            by_sample = rows.detach().reshape(picked.batch, len(rows) // picked.batch, *rows.shape[1:])
            self._parts.append((picked.numbers, by_sample[picked.places.to(rows.device)].clone()))
        if sum(len(numbers) for numbers, _ in self._parts) > 1.5 * len(picked.kept):
            self._parts = list(self._living(picked.kept))

    def result(self, numbers: Int[np.ndarray, " k"]) -> tuple[Float[Tensor, "m d"], int]:
        """The rows of these samples in their order, and how many there are of each (0: not the same number)."""
        parts = list(self._living(torch.from_numpy(numbers)))
        if not parts:
            return torch.zeros(0, 1), 0
        order = torch.argsort(torch.cat([part for part, _ in parts]))
        counts = {values.shape[1] for _, values in parts}
        if len(counts) > 1:
            each = [value for _, values in parts for value in values]
            return torch.cat([each[place] for place in order]), 0
        whole = torch.cat([values for _, values in parts])
        return whole[order.to(whole.device)].flatten(0, 1), counts.pop()

    def _living(self, kept: Tensor) -> Sequence[tuple[Tensor, Tensor]]:
        living = []
        for numbers, values in self._parts:
            there = torch.isin(numbers, kept)
            if bool(there.all()):
                living.append((numbers, values))
            elif bool(there.any()):
                living.append((numbers[there], values[there.to(values.device)]))
        return living

    @property
    def bytes_per_sample(self) -> int:
        """What a sample costs here."""
        return max((values[0].numel() * values.element_size() for _, values in self._parts), default=0)


def sample_of(needs: frozenset[Need], rows: int | None, random_state: int) -> RowSample | None:
    """The sample that serves all needs of rows; None if there are none.

    `rows` is what the user allows: without it as many as the most demanding need asks for.
    """
    asked = [need for need in needs if need.kind in ("rows", "inputs", "decisions")]
    if not asked:
        return None
    per_class = max((need["per_class"] or 0 for need in asked), default=0)
    if rows is not None:
        return RowSample(_checks.integer("options.rows", rows, at_least=1), per_class, random_state)
    if any(need["n"] == "all" for need in asked):
        return RowSample(None, 0, random_state)
    return RowSample(max([DEFAULT_ROWS, *(need["n"] or 0 for need in asked)]), per_class, random_state)
