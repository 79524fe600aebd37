"""Means and spreads of columns in one pass, part by part: sums about the mean of each part, merged without cancellation."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from agop.machines.columns import centre
from agop.ranks import Ranks


@dataclass(eq=False)
class Moments:
    r"""Of columns with gaps (NaN), over rows with weights :math:`w_i`, in float64.

    Attributes
    ----------
    total
        :math:`\sum_i w_i` over all rows, (): it may be infinite only if weights are.
    weight
        The same of the entries that are there, (d,).
    mean, spread
        Weighted means, and :math:`(\sum_i w_i (x_i - \bar x)^2)^{1/2}`, (d,): roots, because squares leave the range of numbers at 1e154.
    largest
        :math:`\max_i |x_i|`, (d,).
    gaps
        How many entries are missing, (d,).

    Source: Chan, Golub and LeVeque 1983, *Algorithms for computing the sample variance*.
    """

    total: Float[Tensor, ""]
    weight: Float[Tensor, " d"]
    mean: Float[Tensor, " d"]
    spread: Float[Tensor, " d"]
    largest: Float[Tensor, " d"]
    gaps: Float[Tensor, " d"]

    @classmethod
    def of(cls, X: Float[Tensor, "n d"], weight: Float[Tensor, " n"] | None) -> Moments:
        """Of some rows, at least one."""
        X = X.double()
        w = X.new_ones(len(X)) if weight is None else weight.double()
        missing = torch.isnan(X)
        gaps = missing.sum(0).double()
        largest = X.abs().nan_to_num(0.0).amax(0)
        if not bool(gaps.any()):
            share = w / w.sum()
            mean = centre(X, share)
            spread = _root_of_squares(w[:, None], X - mean)
            return cls(w.sum(), w.sum().expand(X.shape[1]).clone(), mean, spread, largest, gaps)
        there = torch.where(missing, 0.0, w[:, None].expand_as(X))
        present = there.sum(0)
        first = missing.double().argmin(0)
        origin = X.gather(0, first[None])[0].nan_to_num(0.0)
        offsets = torch.where(missing, 0.0, X - origin)
        mean = origin + (there * offsets).sum(0) / torch.where(present > 0, present, 1.0)
        spread = _root_of_squares(there, torch.where(missing, 0.0, X - mean))
        return cls(w.sum(), present, mean, spread, largest, gaps)

    @classmethod
    def none(cls, d: int) -> Moments:
        """Of no rows."""
        zeros = torch.zeros(d, dtype=torch.float64)
        return cls(zeros.new_zeros(()), *(zeros.clone() for _ in range(5)))

    def merge(self, other: Moments) -> Moments:
        """Those of both parts together."""
        weight = self.weight + other.weight
        share = other.weight / torch.where(weight > 0, weight, 1.0)
        apart = other.mean - self.mean
        # where one part has no entry the other's mean stands as it is
        mean = torch.where(self.weight > 0, self.mean + share * apart, other.mean)
        mean = torch.where(other.weight > 0, mean, self.mean)
        apart = torch.where((self.weight > 0) & (other.weight > 0), apart, 0.0)
        between = (self.weight * share).sqrt() * apart.abs()
        spread = torch.hypot(torch.hypot(self.spread, other.spread), between)
        largest = torch.maximum(self.largest, other.largest)
        return Moments(self.total + other.total, weight, mean, spread, largest, self.gaps + other.gaps)

    @property
    def deviation(self) -> Float[Tensor, " d"]:
        """Standard deviations of the entries that are there; 0 where none are."""
        return self.spread / torch.where(self.weight > 0, self.weight, 1.0).sqrt()

    def reduced(self, ranks: Ranks) -> Moments:
        """Those of all ranks, the same on each: folded in the order of ranks."""
        if ranks.alone:
            return self
        own = torch.cat([part.reshape(-1) for part in vars(self).values()])
        rows = own.new_zeros(ranks.size, len(own))
        rows[ranks.rank] = own
        ranks.sum_(rows)
        d, folded = len(self.mean), None
        for row in rows:
            part = Moments(row[0], *row[1:].reshape(5, d).unbind(0))
            folded = part if folded is None else folded.merge(part)
        assert folded is not None
        return folded


def _root_of_squares(weight: Float[Tensor, "n _"], offsets: Float[Tensor, "n d"]) -> Float[Tensor, " d"]:
    """Roots of weighted sums of squares, of numbers of any size."""
    unit = torch.exp2(offsets.abs().amax(0).clamp(min=1e-300).log2().floor())
    return unit * (weight * (offsets / unit).square()).sum(0).sqrt()
