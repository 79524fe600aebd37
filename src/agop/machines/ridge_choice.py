"""A ridge chosen from sums over rows that neither the fit nor M has seen."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from agop.machines.nystrom_sums import NystromSums
from agop.machines.rows import row_hashes
from agop.machines.samples import Samples
from agop.ranks import current


@dataclass(frozen=True, eq=False)
class RidgeChoice:
    """Ridges to choose among, by rows that neither the fit nor M has seen.

    Attributes
    ----------
    ridges
        The candidates.
    folds
        Parts of the rows that are held out in turn.
    seen
        Hashes of the rows that M was learned on, sorted: these are always fitted on, and never judged on.
    seed
        Of the folds, which depend on the values of a row only: equal rows are held out together, whatever their order.
    """

    ridges: tuple[float, ...]
    folds: int = 3
    seen: Tensor | None = None
    seed: int = 0

    @property
    def parts(self) -> int:
        """Folds, and one part for the rows that were seen."""
        return self.folds + 1

    def part_of(self, block: Samples) -> Tensor:
        """The part of each row: its fold, or the last one if it was seen."""
        hashes = row_hashes(block.X)
        fold = (hashes ^ self.seed).bitwise_right_shift(20).remainder(self.folds)
        if self.seen is not None and len(self.seen):
            place = torch.searchsorted(self.seen, hashes).clamp_max(len(self.seen) - 1)
            fold = torch.where(self.seen[place] == hashes, self.folds, fold)
        return fold

    def best(
        self, parts: list[NystromSums], total: NystromSums, heaviest: float
    ) -> tuple[float, dict[str, Any]]:
        """The ridge with the least squared error over the folds, and what was found of each."""
        ridges = [ridge / heaviest for ridge in self.ridges]
        errors = torch.zeros(len(ridges), dtype=torch.float64)
        weight, rank, outputs = 0.0, len(total.gram), total.moment.shape[1]
        for place in range(self.folds):
            held = parts[place]
            if not held.count:
                continue
            others = NystromSums.zeros(rank, outputs, total.gram.device)
            for number, part in enumerate(parts):  # added anew: taking one away would cancel
                if number != place:
                    others.merge(part)
            found = others.solve(ridges)
            errors += torch.stack([held.squared_errors(b).sum() for b in found]).cpu()
            weight += held.weight
        if not weight:
            best, losses = len(ridges) // 2, [math.nan] * len(ridges)
        else:
            losses = (errors / weight / outputs).tolist()
            best = min(range(len(ridges)), key=losses.__getitem__)
        ranked = torch.tensor(best, device=total.gram.device)
        best = int(current().from_main(ranked, same_shape=True))
        return self.ridges[best], {
            "ridge": self.ridges[best],
            "ridge_errors": dict(zip(map(str, self.ridges), losses, strict=True)),
            "held_out_weight": weight * heaviest,
        }
