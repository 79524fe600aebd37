"""What a layer sweep sums at one call of a layer, and the AGOP that it makes of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from agop.gradients.accumulate import accumulator_dtype, add_outer, symmetrised
from agop.gradients.cotangents import replicate_error


def applied_early(k: int, d: int) -> bool:
    """Whether W (k, d) is applied to every row: 2kd + d² operations, against k² (half a product) for δδᵀ."""
    return d * (2 * k + d) < k * k


@dataclass(eq=False)
class LayerSum:
    """Sum over the rows that one call of a layer reads of δδᵀ, or of `(Wᵀδ)(Wᵀδ)ᵀ` where that is smaller."""

    totals: Float[Tensor, "r g s s"]
    weight: Float[Tensor, "g k d"] | None
    early: bool
    n_rows: int = 0

    @classmethod
    def like(
        cls,
        rows: Float[Tensor, "g m k"],
        matrix: Callable[[], Tensor] | None,
        replicates: int,
        dtype: torch.dtype | None,
    ) -> LayerSum:
        """An empty sum for such rows, to which `matrix` is applied."""
        kind = accumulator_dtype(rows.dtype, dtype)
        weight = None if matrix is None else matrix().to(kind)
        groups, _, k = rows.shape
        d = k if weight is None else weight.shape[-1]
        early = weight is not None and applied_early(k, d)
        side = d if early else k
        return cls(torch.zeros(replicates, groups, side, side, dtype=kind, device=rows.device), weight, early)

    def add(self, rows: Float[Tensor, "g m k"], replicate: int) -> None:
        """Add the outer products of `rows` to one replicate."""
        rows = rows.to(self.totals.dtype)
        if self.early:
            assert self.weight is not None
            with torch.autocast(rows.device.type, enabled=False):
                rows = rows @ self.weight
        total = self.totals[replicate]
        if total.shape[0] == 1:
            add_outer(total[0], rows[0])
        else:
            add_outer(total, rows)

    def agops(
        self, divisor: float | int, sizes: Sequence[int], *, random: bool
    ) -> tuple[Float[Tensor, "d d"], float]:
        """The AGOP and its relative standard error, given the draws in each replicate."""
        draws = sum(sizes)
        if not random:
            return self._read(self.totals[0]) / (divisor * draws), 0.0
        parts = [self._read(total) / (divisor * size) for total, size in zip(self.totals, sizes)]
        value = torch.stack([part * (size / draws) for part, size in zip(parts, sizes)]).sum(0)
        return value, replicate_error(parts, sizes)

    def _read(self, total: Float[Tensor, "g s s"]) -> Float[Tensor, "d d"]:
        total = symmetrised(total)
        if self.weight is not None and not self.early:
            with torch.autocast(total.device.type, enabled=False):
                total = self.weight.mT @ total @ self.weight
            total = (total + total.mT) / 2
        return total.sum(0)
