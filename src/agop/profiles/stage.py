"""What is summed and kept of one stage of one layer while the data pass: what some probe needs, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from agop import _checks
from agop.collapse.moments import ClassMoments
from agop.collapse.streaming import StreamingMoments
from agop.evidence import Need
from agop.profiles.sample import KeptRows, Picked

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
        self._moments = StreamingMoments() if wanted.moments else None
        self._whole: ClassMoments | None = None
        self.rows = KeptRows() if wanted.rows else None

    def add(
        self, rows: Float[Tensor, "m d"], labels: Int[Tensor, " m"], n_classes: int, picked: Picked | None
    ) -> None:
        """Take in the rows of a batch, with the class index of each."""
        if self.n and rows.shape[1] != self.d:
            raise _checks.bad_value(
                "X",
                f"samples of one size ({self.d} features at this layer)",
                f"a batch with {rows.shape[1]}",
                "resize the samples, or use pool='mean'",
            )
        self.n, self.d = self.n + len(rows), rows.shape[1]
        if self._moments is not None:
            self._moments.add(rows, labels, n_classes)
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


def finite_rows(rows: Float[Tensor, "m d"]) -> Float[Tensor, "m d"]:
    """The rows, if they are finite."""
    if not bool(torch.isfinite(rows).all()):
        raise _checks.bad_value(
            "X", "finite features at every layer", "NaN or infinite ones", "look at the weights and the data"
        )
    return rows
