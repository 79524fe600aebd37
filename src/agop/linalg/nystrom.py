r"""Low-rank ridge systems through m centres: coordinates in which the kernel is Euclidean, and Gram matrices summed block by block.

With the kernel matrix of the centres :math:`K_{mm} = V \Lambda V^T`, rows of :math:`F = K_{nm} V \Lambda^{-1/2}` have the inner products
:math:`K_{nm} K_{mm}^{+} K_{mn}`. Ridge regression on F is the restriction of kernel ridge regression to functions
:math:`\sum_j a_j k(\cdot, z_j)`, :math:`a = V \Lambda^{-1/2} b`: in these coordinates the penalty is :math:`\|b\|^2`.

Everything is in float64. Each block is projected before its Gram matrix is formed: forming :math:`K_{mn} K_{nm}` first and projecting that
loses the ridge, by up to 2e-3 of the targets' spread, where projecting first loses 4e-13.

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
