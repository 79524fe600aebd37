r"""Low-rank ridge systems through m centres: coordinates in which the kernel is Euclidean, and Gram matrices summed block by block.

With the kernel matrix of the centres :math:`K_{mm} = V \Lambda V^T`, rows of :math:`F = K_{nm} V \Lambda^{-1/2}` have the inner products
:math:`K_{nm} K_{mm}^{+} K_{mn}`. Ridge regression on F is the restriction of kernel ridge regression to functions
:math:`\sum_j a_j k(\cdot, z_j)`, :math:`a = V \Lambda^{-1/2} b`: in these coordinates the penalty is :math:`\|b\|^2`.

Everything is in float64. Either a block is projected before its Gram matrix is formed, or :math:`K_{mn} K_{nm}` is formed and projected
once. That saves two thirds of the operations, and divides the rounding of the sum by the smallest eigenvalue. Where centres are far from
dependent this is nothing; where they are not, the ridge drowns in it, by up to 2e-3 of the targets' spread (4e-13 if rows are projected).
`NystromBasis.rounding` says which of both it is.

Source: Williams and Seeger 2000, *Using the Nyström method to speed up kernel machines*; Rudi, Camoriano and
Rosasco 2015 (arXiv 1507.04717).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from agop import _checks
from agop.linalg.psd import eigh_descending

CUT = 1e-12
"""Share of the largest eigenvalue of the centres' matrix below which a direction may be left out."""

CUT_OF_RIDGE = 1e-6
"""Share of the ridge below which an eigenvalue may be left out, where that is the lower of both."""

LATE = 1e-3
"""Share of the ridge that rounding may reach for the Gram matrix to be projected once, after all rows."""

_PANEL = 512
"""Rows of a Gram matrix that one product updates: little more than the lower triangle is formed."""


@dataclass(frozen=True, eq=False)
class NystromBasis:
    r"""The map :math:`V \Lambda^{-1/2}` from kernel values at the centres to coordinates.

    Attributes
    ----------
    projection
        (m, r), float64: the eigenvectors that were kept, each divided by the root of its eigenvalue.
    eigenvalues
        All eigenvalues of the centres' matrix in descending order, (m,).
    cut
        Those at or below it were left out.
    """

    projection: Float[Tensor, "m r"]
    eigenvalues: Float[Tensor, " m"]
    cut: float

    @property
    def rank(self) -> int:
        """How many eigenvalues were kept."""
        return self.projection.shape[1]

    def rounding(self, rows: int) -> float:
        r"""How much of the ridge's kind rounding adds if the Gram matrix of `rows` rows is projected after it was summed.

        Rows like the centres have :math:`K_{mn} K_{nm} \approx (n/m) K_{mm}^2`. Its entries are rounded by :math:`\varepsilon` each: a
        random matrix of norm :math:`2\varepsilon \|K_{mn} K_{nm}\|_F / \sqrt m`, taken twice for safety. :math:`\Lambda^{-1/2}` on both
        sides divides it by the smallest eigenvalue that was kept.
        """
        kept = self.eigenvalues[: self.rank]
        if not self.rank:
            return float("inf")
        m = len(self.eigenvalues)
        norm = rows / m * float(kept.square().norm())
        return 4 * torch.finfo(torch.float64).eps * norm / m**0.5 / float(kept[-1])

    @classmethod
    def of(cls, K: Float[Tensor, "m m"], ridge: float) -> NystromBasis:
        r"""From the kernel matrix of the centres.

        The cut is :math:`\min(10^{-12} \lambda_1, 10^{-6} \mu)`, but not below the rounding of the decomposition,
        :math:`m\,\varepsilon\,\lambda_1`.

        Raises
        ------
        ValueError
            If no eigenvalue is positive.
        """
        values, vectors = eigh_descending(K)
        largest = float(values[0])
        if not largest > 0:
            raise _checks.bad_value(
                "centers",
                "points whose kernel matrix is not zero",
                "zeros only",
                "pass rows that differ from 0",
            )
        cut = max(
            min(CUT * largest, CUT_OF_RIDGE * ridge if ridge > 0 else CUT * largest),
            len(K) * torch.finfo(torch.float64).eps * largest,
        )
        rank = int((values > cut).sum())
        vectors, kept = vectors[:, :rank], values[:rank]
        return cls((vectors / kept.sqrt()).contiguous().to(K.device), values, cut)


def add_gram_(G: Float[Tensor, "r r"], F: Float[Tensor, "b r"]) -> None:
    """Add FᵀF to the lower triangle of `G`, panel by panel; of what is above, only parts of panels are touched."""
    r = len(G)
    for start in range(0, r, _PANEL):
        stop = min(r, start + _PANEL)
        G[start:stop, :stop].addmm_(F[:, start:stop].mT, F[:, :stop])


def symmetric_(G: Float[Tensor, "r r"]) -> Float[Tensor, "r r"]:
    """Overwrite what is above the diagonal of `G` with what is below, and return it."""
    r = len(G)
    for start in range(0, r, _PANEL):
        stop = min(r, start + _PANEL)
        G[:start, start:stop] = G[start:stop, :start].mT
        square = G[start:stop, start:stop]
        square.copy_(square.tril() + square.tril(-1).mT)
    return G
