r"""Chunks: random subsets of the units of a layer, and how much of the layer each of them holds.

Features are rows, :math:`F` (n, u), of units that vary; everything is float64. A covariance (u, u) and a triangular root of one are all
that regressions need of the rows: :math:`O(n u^2)` once. After that a chunk of w units costs :math:`O(w^3 + w u^2)` for what it leaves
over of the others, :math:`O(u (u - w)^2)` for the correlations of that, and :math:`O(n w C)` for its decisions.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from agop.networks.streams import stream

RIDGE = 1e-8
"""Added to the diagonal of the sums of squares."""

FLOOR = 1e-8
"""Added to the product of two standard deviations before it divides their covariance."""

_EQUAL = 64 * torch.finfo(torch.float64).eps
"""Deviations below this share of the largest entry are rounding."""


def drawn(units: int, width: int, draws: int, seed: int) -> Int[Tensor, "r w"]:
    """Subsets of `width` among `units`, each without replacement: a function of the seed and the width only."""
    generator = stream(seed, width)
    return torch.stack([torch.randperm(units, generator=generator)[:width] for _ in range(draws)])


@dataclass(frozen=True, eq=False)
class Readout:
    """The classifier on top, seen from a part of the units: rows (u, n), weight (C, u), what is added whatever the chunk (C,)."""

    columns: Float[Tensor, "u n"]
    weight: Float[Tensor, "c u"]
    offset: Float[Tensor, " c"]
    labels: Int[Tensor, " n"]

    def accuracy(self, chosen: Int[Tensor, " w"]) -> float:
        """Share of samples that the chunk alone decides rightly."""
        logits = torch.addmm(self.offset[:, None], self.weight[:, chosen], self.columns[chosen])
        return float((logits.argmax(0) == self.labels).double().mean())


@dataclass(frozen=True, eq=False)
class Regressions:
    """Ridge regressions of all units on some: what those need of the samples that they are fitted on, and of those they are judged on.

    Attributes
    ----------
    fit : (u, u)
        Covariance of the samples to fit, of which there are `samples`.
    root : (r, u)
        A matrix whose :math:`R^T R` is the covariance of the samples to judge; it keeps the digits of residuals that the covariance loses.
    shift : (u,)
        What the means over fitted samples leave of the means over judged ones.
    """

    fit: Float[Tensor, "u u"]
    root: Float[Tensor, "_ u"]
    shift: Float[Tensor, " u"]
    samples: int

    @classmethod
    def of(cls, rows: Float[Tensor, "n u"], fit: Int[Tensor, " a"], score: Int[Tensor, " b"]) -> Regressions:
        """Of `rows` with mean zero over the samples `fit`."""
        shift = rows[score].mean(0)
        root = torch.linalg.qr((rows[score] - shift) / len(score) ** 0.5, mode="r").R
        return cls(rows[fit].mT @ rows[fit] / len(fit), root, shift, len(fit))

    def left_over(
        self, chosen: Int[Tensor, " w"], ridge: float
    ) -> tuple[Float[Tensor, "_ u"], Float[Tensor, " u"]]:
        """A root of the covariance of what regressions on the chunk leave over, and the mean of it."""
        inner = self.fit[chosen][:, chosen]
        inner.diagonal().add_(ridge / self.samples)
        coefficients = _solved(inner, self.fit[chosen])
        left = self.root - self.root[:, chosen] @ coefficients
        return left, self.shift - self.shift[chosen] @ coefficients

    def r2(self, left: Float[Tensor, "_ u"], mean: Float[Tensor, " u"]) -> float:
        """One less the share of the variance, summed over all units, that is left over."""
        return 1 - float((left.square().sum() + mean.square().sum()) / self.root.square().sum())


def _solved(inner: Float[Tensor, "w w"], right: Float[Tensor, "w u"]) -> Float[Tensor, "w u"]:
    """By Cholesky; by the pseudo-inverse where the ridge is below the rounding of the matrix, as for features in small units."""
    factor, failed = torch.linalg.cholesky_ex(inner)
    if bool(failed):
        return torch.linalg.pinv(inner, hermitian=True) @ right
    return torch.cholesky_solve(right, factor)


def others(units: int, chosen: Int[Tensor, " w"]) -> Int[Tensor, " v"]:
    """The units that are not in the chunk."""
    kept = torch.ones(units, dtype=torch.bool)
    kept[chosen] = False
    return kept.nonzero().squeeze(1)


def mean_correlation(left: Float[Tensor, "_ u"], among: Int[Tensor, " v"], floor: float) -> float:
    """Mean absolute correlation of the residuals, given by a root of their covariance, of pairs of these units; NaN if there is no pair."""
    if len(among) < 2:
        return float("nan")
    part = left[:, among]
    deviations = torch.linalg.vector_norm(part, dim=0)
    correlation = (part.mT @ part).abs_() / (torch.outer(deviations, deviations) + floor)
    return float(correlation.sum() - correlation.diagonal().sum()) / (len(among) * (len(among) - 1))


def centred(
    Z: Float[Tensor, "n u"], groups: Int[Tensor, " n"], fit: Int[Tensor, " a"]
) -> Float[Tensor, "n u"]:
    """Rows less the mean of their group over the samples `fit`; twice, which takes the rounding of the first mean with it."""
    for _ in range(2):
        counts = torch.bincount(groups[fit], minlength=int(groups.max()) + 1).clamp_min(1)
        sums = Z.new_zeros(len(counts), Z.shape[1]).index_add_(0, groups[fit], Z[fit])
        Z = Z - (sums / counts[:, None])[groups]
    return Z


def varies(deviations: Float[Tensor, "_ u"], Z: Float[Tensor, "n u"]) -> bool:
    """Whether deviations from means are more than rounding."""
    return bool(deviations.abs().max() > _EQUAL * Z.abs().max())


def halves(groups: Int[Tensor, " n"], seed: int) -> tuple[Int[Tensor, " a"], Int[Tensor, " b"]]:
    """Two halves of the samples at random, each with half of every group; a group of one goes to the first."""
    order = torch.randperm(len(groups), generator=stream(seed, 0))
    order = order[groups[order].argsort(stable=True)]
    counts = torch.bincount(groups)
    place = torch.arange(len(order)) - (counts.cumsum(0) - counts).repeat_interleave(counts)
    return order[place % 2 == 0], order[place % 2 == 1]
