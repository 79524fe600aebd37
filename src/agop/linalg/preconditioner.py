r"""The inverse square root of a low-rank matrix plus a diagonal one, as an operator.

With :math:`P = F F^T + D`, D diagonal and positive, and the singular value decomposition :math:`D^{-1/2} F = U \Sigma V^T`,

.. math:: C = \bigl(I + U\,((I + \Sigma^2)^{-1/2} - I)\,U^T\bigr)\, D^{-1/2}, \qquad C^T C = P^{-1}, \quad C P C^T = I.

Working with C instead of :math:`P^{-1}` keeps a preconditioned system symmetric positive definite whatever rounding does to U: the usual
:math:`(I - U\,\mathrm{diag}(\sigma^2/(1+\sigma^2))\,U^T)` loses that in single precision as soon as :math:`\sigma^{-2}` is below epsilon.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from agop._blocks import row_blocks, rows_per_block
from agop.ranks import ALONE, Ranks

_BLOCK_BYTES = 64 * 2**20


@dataclass(frozen=True, eq=False)
class LowRankPreconditioner:
    """`C` with `C P Cᵀ = I` for `P = F Fᵀ + D`; made by :meth:`of`.

    Attributes
    ----------
    basis
        U, the rows of this rank.
    shrinkage
        (1 + σ²)^(-1/2) − 1 for each column of U.
    scale
        The diagonal of D^(-1/2), of all rows.
    """

    basis: Float[Tensor, "m r"]
    shrinkage: Float[Tensor, " r"]
    scale: Float[Tensor, " n"]
    ranks: Ranks = ALONE

    @classmethod
    def of(
        cls, F: Float[Tensor, "m r"], D: Float[Tensor, " n"], *, ranks: Ranks = ALONE
    ) -> LowRankPreconditioner:
        """From the rows of F that this rank holds and the whole diagonal; `F` is overwritten with U.

        2nr² operations in float64 for FᵀD⁻¹F, whose eigenvectors give U, and as many for U.
        """
        own = ranks.share(len(D))
        scale = D.double().rsqrt()
        rank = F.shape[1]
        gram = scale.new_zeros(rank, rank)
        blocks = list(row_blocks(len(F), rows_per_block(len(F), max(1, rank) * 8, _BLOCK_BYTES)))
        for rows in blocks:
            scaled = F[rows].double() * scale[own][rows, None]
            gram.addmm_(scaled.mT, scaled)
        squares, vectors = (
            ranks.from_main(part, same_shape=True) for part in torch.linalg.eigh(ranks.sum_(gram))
        )
        # directions that rounding of the Gram matrix hides, or in which P is D anyway
        least = max(float(squares[-1]) * rank * torch.finfo(torch.float64).eps, 1e-6) if rank else 0.0
        kept = int((squares > least).sum())
        squares, vectors = squares[rank - kept :], vectors[:, rank - kept :]
        turn = vectors * squares.rsqrt()
        for rows in blocks:
            scaled = F[rows].double() * scale[own][rows, None]
            F[rows, :kept] = (scaled @ turn).to(F.dtype)
        shrinkage = (1 + squares).rsqrt() - 1
        return cls(F[:, :kept], shrinkage.to(F.dtype), scale.to(F.dtype), ranks)

    @property
    def dtype(self) -> torch.dtype:
        """Of U, and of what it is applied to."""
        return self.basis.dtype

    @property
    def rank(self) -> int:
        """Columns of U."""
        return self.basis.shape[1]

    def to(self, dtype: torch.dtype) -> LowRankPreconditioner:
        """The same in another dtype."""
        return LowRankPreconditioner(
            self.basis.to(dtype), self.shrinkage.to(dtype), self.scale.to(dtype), self.ranks
        )

    def __call__(self, V: Float[Tensor, "n c"]) -> Float[Tensor, "n c"]:
        """C V: 4nrc operations."""
        return self._shrunk(self.scale[:, None] * V)

    def transposed(self, V: Float[Tensor, "n c"]) -> Float[Tensor, "n c"]:
        """Cᵀ V: 4nrc operations."""
        return self.scale[:, None] * self._shrunk(V)

    def _shrunk(self, V: Float[Tensor, "n c"]) -> Float[Tensor, "n c"]:
        if not self.rank:
            return V
        # as (c, n) row-major: with few columns a product in that layout runs up to six times faster
        own = self.ranks.share(len(V))
        inner = self.ranks.sum_(V[own].mT @ self.basis)
        change = (inner * self.shrinkage) @ self.basis.mT
        if self.ranks.alone:
            return V + change.mT
        whole = torch.zeros_like(V)
        whole[own] = change.mT
        return V + self.ranks.sum_(whole)
