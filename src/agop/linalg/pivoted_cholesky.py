r"""A partial Cholesky factor of a kernel matrix from a few of its columns, with random pivots.

Pivots are drawn with probability proportional to the diagonal of what is left, K − F Fᵀ: the expected error of r + O(k) pivots
is that of the best approximation of rank k up to a constant. Source: Chen, Epperly, Tropp, Webber 2022 (arXiv 2207.06503); many pivots at
a time, with the law of one at a time, by rejection: Epperly, Tropp, Webber 2024 (arXiv 2410.03969). Neither SciPy nor scikit-learn has it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from agop.ranks import ALONE, Ranks

_MOST_PROPOSALS = 256
"""Pivots proposed at a time: each round costs their small matrix on one core, and one pass over the factor."""

_COLUMN_BYTES = 64 * 2**20
"""Memory that the columns of one round may take (a few times)."""


@runtime_checkable
class ColumnAccess(Protocol):
    """A symmetric positive semi-definite matrix of which the diagonal and single columns can be had."""

    dtype: torch.dtype

    def __len__(self) -> int: ...

    def diagonal(self) -> Float[Tensor, " n"]:
        """The diagonal."""

    def columns(
        self, index: Int[Tensor, " b"], rows: slice | Int[Tensor, " m"] = ...
    ) -> Float[Tensor, "m b"]:
        """Some rows of the columns `index`."""


@dataclass(frozen=True, eq=False)
class PartialCholesky:
    """`factor @ factor.T` is at most the matrix, and equal to it in the rows and columns `pivots`.

    Attributes
    ----------
    factor
        The rows of this rank (see `Ranks.share`): all of them on one process.
    pivots
        In the order they were taken; never twice the same, nor two whose points coincide.
    residual
        The diagonal of what is left, of all rows, float64.
    """

    factor: Float[Tensor, "m r"]
    pivots: Int[Tensor, " r"]
    residual: Float[Tensor, " n"]


def pivoted_cholesky(
    K: ColumnAccess,
    max_rank: int,
    *,
    generator: torch.Generator,
    target: float = 0.0,
    ranks: Ranks = ALONE,
) -> PartialCholesky:
    """Up to `max_rank` columns of a Cholesky factor of `K`: about r columns of K and 2nr² operations.

    Parameters
    ----------
    generator
        Draws the pivots; on the CPU, so that they are the same on every device.
    target
        It ends earlier once the mean of the residual diagonal is not above this, or rounding is all that is left of it.
    ranks
        Who shares the work, by rows.
    """
    n, rows = len(K), ranks.share(len(K))
    residual = K.diagonal().double().clone()
    noise = 32 * torch.finfo(K.dtype).eps * float(residual.max())
    factor = residual.new_empty(rows.stop - rows.start, min(max_rank, n), dtype=K.dtype)
    pivots = torch.empty(0, dtype=torch.int64, device=residual.device)
    proposals = _proposals(factor)
    while (done := len(pivots)) < factor.shape[1] and float(residual.sum()) > n * target:
        proposed = ranks.from_main(_propose(residual, proposals, generator))
        known = _rows_of(factor[:, :done], proposed, rows, ranks)
        left = K.columns(proposed, rows=proposed).double() - known.double() @ known.double().mT
        accepted = ranks.from_main(
            _accept(left, noise, generator, factor.shape[1] - done).to(residual.device)
        )
        chosen = proposed[accepted]
        columns = K.columns(chosen, rows=rows).addmm_(factor[:, :done], known[accepted].mT, alpha=-1)
        lower = torch.linalg.cholesky(left[accepted][:, accepted]).to(columns)
        fresh = torch.linalg.solve_triangular(lower, columns.mT, upper=False).mT
        factor[:, done : done + len(chosen)] = fresh
        pivots = torch.cat([pivots, chosen])
        residual = _lowered(residual, fresh, rows, ranks)
        # what a pivot leaves in its own row, and what is below rounding, is nothing to draw from
        residual[proposed[left.diagonal() <= noise]] = 0
        residual[chosen] = 0
        residual[residual <= noise] = 0
    return PartialCholesky(factor[:, : len(pivots)], pivots, residual)


def _proposals(factor: Float[Tensor, "m r"]) -> int:
    most = min(_MOST_PROPOSALS, _COLUMN_BYTES // (max(1, len(factor)) * factor.element_size()))
    return max(1, min(most, max(16, factor.shape[1] // 4)))


def _propose(residual: Float[Tensor, " n"], count: int, generator: torch.Generator) -> Int[Tensor, " b"]:
    """Draws with replacement by `residual`, each kept once, in the order they came (torch.multinomial ends at 2^24 categories)."""
    total = residual.cumsum(0)
    drawn = torch.rand(count, dtype=torch.float64, generator=generator).to(residual.device) * total[-1]
    index = torch.searchsorted(total, drawn, right=True).clamp_max_(len(residual) - 1).tolist()
    return torch.tensor(list(dict.fromkeys(index)), device=residual.device)


def _rows_of(
    factor: Float[Tensor, "m k"], index: Int[Tensor, " b"], rows: slice, ranks: Ranks
) -> Float[Tensor, "b k"]:
    """Rows of the whole factor, wherever they are held."""
    found = factor.new_zeros(len(index), factor.shape[1])
    here = (index >= rows.start) & (index < rows.stop)
    found[here] = factor[index[here] - rows.start]
    return ranks.sum_(found)


def _accept(
    left: Float[Tensor, "b b"], noise: float, generator: torch.Generator, at_most: int
) -> Bool[Tensor, " b"]:
    """Which proposals one draw at a time would have taken too: each with the share that earlier ones left of its diagonal entry."""
    work = left.cpu().numpy().copy()
    before = work.diagonal().copy()
    chances = torch.rand(len(work), dtype=torch.float64, generator=generator).numpy()
    accepted = torch.zeros(len(work), dtype=torch.bool)
    for place, chance in enumerate(chances):
        pivot = work[place, place]
        if pivot > max(noise, chance * before[place]):
            column = work[:, place] / np.sqrt(pivot)
            work -= np.outer(column, column)
            accepted[place] = True
            at_most -= 1
            if not at_most:
                break
    return accepted


def _lowered(
    residual: Float[Tensor, " n"], fresh: Float[Tensor, "m b"], rows: slice, ranks: Ranks
) -> Float[Tensor, " n"]:
    """The residual diagonal after some more columns of the factor, on every rank."""
    norms = torch.linalg.vector_norm(fresh, dim=1, dtype=torch.float64)
    lowered = torch.zeros_like(residual)
    lowered[rows] = (residual[rows] - norms.square()).clamp_min_(0)
    return ranks.sum_(lowered)
