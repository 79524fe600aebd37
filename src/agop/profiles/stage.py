"""What is summed and kept of one stage of one layer while the data pass: what some probe needs, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import psutil
import torch
from jaxtyping import Float, Int
from torch import Tensor

from agop import _checks
from agop._memory import human
from agop.collapse.moments import ClassMoments
from agop.collapse.streaming import StreamingMoments
from agop.evidence import Need
from agop.profiles.sample import KeptRows, Picked

LARGE = 2**28
"""Bytes of class moments from which on it is looked up whether they fit: those of a vocabulary's own logits may not."""

_OF_ROWS = ("rows", "labels", "decisions")


@dataclass(frozen=True)
class Wanted:
    """What some probe needs of a stage."""

    moments: bool = False
    scatter: bool = False
    rows: bool = False

    @classmethod
    def of(cls, needs: Iterable[Need], stage: str) -> Wanted:
        """What these needs say of the stage with this name."""
        kinds = {need.kind for need in needs if need["stage"] in (None, stage)}
        return cls("moments" in kinds, "scatter" in kinds, not kinds.isdisjoint(_OF_ROWS))


class StageSums:
    """Counts rows, and streams moments or keeps rows of the sample where that is wanted."""

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        self.n = self.d = 0
        self.too_large = ""
        self._moments = StreamingMoments() if wanted.moments else None
        self._whole: ClassMoments | None = None
        self.rows = KeptRows() if wanted.rows else None

    def add(
        self, rows: Float[Tensor, "m d"], labels: Int[Tensor, " m"], n_classes: int, picked: Picked | None
    ) -> None:
        """Take in the rows of a batch, with the class index of each, −1 for rows in no class."""
        if self.n and rows.shape[1] != self.d:
            raise _checks.bad_value(
                "X",
                f"samples of one size ({self.d} features at this layer)",
                f"a batch with {rows.shape[1]}",
                "resize the samples, or use pool='mean'",
            )
        self.n, self.d = self.n + len(rows), rows.shape[1]
        if self._moments is not None and (told := _too_large(n_classes, self.d)):
            self._moments, self.too_large = None, told
        if self._moments is not None:
            kept = labels >= 0
            whole = bool(kept.all())
            self._moments.add(rows if whole else rows[kept.to(rows.device)], labels[kept], n_classes)
        if self.rows is not None and picked is not None:
            self.rows.add(rows, picked)

    def become(self, n: int, moments: ClassMoments) -> None:
        """Hold the sums of several processes instead of one's own."""
        self.n, self.d, self._whole = n, moments.d, moments

    def moments(self, order: Int[Tensor, " c"]) -> ClassMoments | None:
        """The class moments with the classes in this order."""
        if self._whole is not None:
            m = self._whole
            return ClassMoments(m.counts[order], m.means[order], m.within[order], m.residual[order])
        return None if self._moments is None else self._moments.result(order)


def _too_large(n_classes: int, d: int) -> str:
    """Why class moments of this size are not kept: the reason, or nothing."""
    size = 24 * n_classes * d
    if size < LARGE or size < _free() // 2:
        return ""
    return f"class means of {n_classes:,} classes in {d:,} dimensions take {human(size)}, more than half of what is free"


def _free() -> int:
    return int(psutil.virtual_memory().available)


def finite_rows(rows: Float[Tensor, "m d"]) -> Float[Tensor, "m d"]:
    """The rows, if they are finite."""
    if not bool(torch.isfinite(rows).all()):
        raise _checks.bad_value(
            "X", "finite features at every layer", "NaN or infinite ones", "look at the weights and the data"
        )
    return rows
