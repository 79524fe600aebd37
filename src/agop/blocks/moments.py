r"""Weighted means and standard deviations of columns, block by block, in float64; they add up in any order to the same but for rounding.

For a column with entries :math:`x_i` that are there, weights :math:`w_i` and :math:`W = \sum_i w_i`: the mean :math:`m = \sum_i w_i x_i/W`
and the standard deviation :math:`s`, :math:`s^2 = \sum_i w_i (x_i - m)^2 / W`. Two parts a and b with shares :math:`f_a + f_b = 1` of the
weight and :math:`\delta = m_b - m_a` are one with

.. math:: m = m_a + f_b \delta, \qquad s^2 = f_a s_a^2 + f_b s_b^2 + f_a f_b \delta^2

(Chan, Golub and LeVeque 1983). A column that is constant has this constant as its mean, to the last bit, and the deviation 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Moments:
    """What is kept of some rows of d columns; all in float64.

    Attributes
    ----------
    weight, missing
        Of each column the weight of the entries that are there, and of those that are missing (NaN).
    mean, deviation
        Of the entries that are there; 0 where there are none.
    largest
        The largest absolute value.
    """

    weight: Float[Tensor, " d"]
    missing: Float[Tensor, " d"]
    mean: Float[Tensor, " d"]
    deviation: Float[Tensor, " d"]
    largest: Float[Tensor, " d"]

    @classmethod
    def of(cls, X: Float[Tensor, "b d"], weight: Float[Tensor, " b"]) -> Moments:
        """Of the rows of `X` with positive weights."""
        X, weight = X.double(), weight.double()
        absent = torch.isnan(X)
        there = weight @ (~absent).double()
        first = torch.where(absent, torch.inf, torch.arange(len(X), device=X.device)[:, None]).argmin(0)
        origin = X.gather(0, first[None])[0].nan_to_num(0.0)
        share = weight / weight.max()  # products with tiny or huge weights stay in range
        total = (share @ (~absent).double()).clamp_min(torch.finfo(torch.float64).tiny)
        mean = origin + (share @ torch.where(absent, 0.0, X - origin)) / total
        offset = torch.where(absent, 0.0, X - mean)
        largest_offset = offset.abs().amax(0)
        unit = torch.where(largest_offset > 0, largest_offset, 1.0)
        deviation = unit * ((share @ (offset / unit).square()) / total).sqrt()
        largest = torch.where(absent, 0.0, X.abs()).amax(0)
        return cls(there, weight @ absent.double(), mean, deviation, largest)

    def __getitem__(self, columns: list[int]) -> Moments:
        """Of some of the columns."""
        return Moments(*(getattr(self, name)[columns] for name in Moments.__dataclass_fields__))

    def merged(self, other: Moments) -> Moments:
        """Of the rows of both."""
        weight = self.weight + other.weight
        share = torch.where(weight > 0, other.weight / torch.where(weight > 0, weight, 1.0), 0.0)
        gap = torch.where(other.weight > 0, other.mean - self.mean, 0.0)
        mean = torch.where(self.weight > 0, self.mean + share * gap, other.mean)
        gap = torch.where(self.weight > 0, gap, 0.0)
        unit = torch.stack([self.deviation, other.deviation, gap.abs()]).amax(0)
        unit = torch.where(unit > 0, unit, 1.0)
        a, b, apart = self.deviation / unit, other.deviation / unit, gap / unit
        spread = (1 - share) * a.square() + share * b.square() + share * (1 - share) * apart.square()
        return Moments(
            weight,
            self.missing + other.missing,
            mean,
            unit * spread.sqrt(),
            torch.maximum(self.largest, other.largest),
        )
