r"""Block conjugate gradients: one system, many right-hand sides, one product with the matrix an iteration.

All columns share one Krylov space, so that every right-hand side profits from the directions of the others (O'Leary 1980). Directions are
an orthonormal basis of the preconditioned residuals, made conjugate to the last ones: columns may depend on each other or
converge at different times. What is carried along are the residuals themselves, not their images under the root of the
preconditioner: in single precision the recurrence for the latter (Dubrulle 2001) loses touch with the former after three digits.

The residual that decides is never the one of the recurrence: after a few digits in the cheap precision it is formed anew with the exact
operator, converged columns leave the block, and what remains is solved for as a correction.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from agop.linalg.preconditioner import LowRankPreconditioner
from agop.ranks import ALONE, Ranks

Product = Callable[[Tensor], Tensor]
"""V ↦ A V for (n, k) tensors."""

_DIGITS = {torch.float32: 1e-4, torch.float64: 1e-10}
"""How far residuals may fall in the recurrence before they are formed anew, by its dtype."""

_PATIENCE = 25
"""Iterations without progress after which rounding, not the system, is what is being fought."""

_SLACK = 0.5
"""A correction is solved a little further than asked, so that the residual formed anew passes too."""


@dataclass(frozen=True, eq=False)
class Solution:
    """An approximate solution of A X = B, and how near it is.

    Attributes
    ----------
    X
        In the dtype of B.
    residual
        B − A X, by the exact product.
    relative
        Norm of each column of `residual` over that of B; 0 where B is 0.
    iterations
        Products with A in the cheap precision.
    checks
        Products with A in the exact one.
    reason
        Why it ended: "converged", "max_iter", or "rounding" (the residual falls no further).
    """

    X: Float[Tensor, "n c"]
    residual: Float[Tensor, "n c"]
    relative: Float[Tensor, " c"]
    iterations: int
    checks: int
    reason: str

    @property
    def converged(self) -> bool:
        """Whether every column is within the tolerance."""
        return self.reason == "converged"


def conjugate_gradients(
    product: Product,
    B: Float[Tensor, "n c"],
    preconditioner: LowRankPreconditioner,
    *,
    exact: Product | None = None,
    tolerance: float = 1e-6,
    max_iter: int = 500,
    initial: Float[Tensor, "n c"] | None = None,
    on_iteration: Callable[[int, float], None] | None = None,
    ranks: Ranks = ALONE,
) -> Solution:
    r"""Solve A X = B, A symmetric positive definite, until :math:`\|b_j - A x_j\| \le \mathrm{tolerance}\,\|b_j\|` for every column.

    Parameters
    ----------
    product
        A in the dtype of the preconditioner: one call an iteration.
    exact
        A in the dtype of B (None: `product`): one call every few digits, the last one at the end.
    max_iter
        Calls of `product`, in all.
    initial
        Where to start; costs one exact call and saves the digits it has. Columns in which zero is nearer start there.
    on_iteration
        Called with (iterations so far, largest relative residual by the recurrence); may raise to interrupt.
    ranks
        Who computes along; rank 0 says when to stop.
    """
    exact, tell = exact or product, on_iteration or _nobody
    norms = torch.linalg.vector_norm(B, dim=0)
    unit = torch.where(norms > 0, norms, torch.ones_like(norms))
    B = B / unit  # then norms of residuals are relative ones
    X, residual, checks = torch.zeros_like(B), B, 0
    if initial is not None:
        X = torch.where(norms > 0, initial.to(B.dtype) / unit, X)
        residual, checks = B - exact(X), 1
        nearer = _norms(residual, ranks) < (norms > 0)  # a start that is farther than zero is none
        X, residual = torch.where(nearer, X, 0), torch.where(nearer, residual, B)
    relative = _norms(residual, ranks)
    iterations, reason = 0, "converged"
    while bool((wanting := relative > tolerance).any()):
        if iterations >= max_iter:
            reason = "max_iter"
            break
        used, correction = _correction(
            product,
            preconditioner,
            residual[:, wanting],
            tolerance,
            max_iter - iterations,
            partial(_later, tell, iterations),
            ranks,
        )
        iterations, checks = iterations + used, checks + 1
        tried = X.clone()
        tried[:, wanting] += correction
        left = B - exact(tried)
        norm = _norms(left, ranks)
        X, residual = torch.where(norm < relative, tried, X), torch.where(norm < relative, left, residual)
        stuck = not bool((norm[wanting] < relative[wanting] / 2).any())
        relative = torch.minimum(norm, relative)
        if stuck and bool((relative > tolerance).any()):
            reason = "max_iter" if iterations >= max_iter else "rounding"
            break
    return Solution(X * unit, residual * unit, relative, iterations, checks, reason)


def _correction(
    product: Product,
    C: LowRankPreconditioner,
    R: Float[Tensor, "n c"],
    tolerance: float,
    max_iter: int,
    tell: Callable[[int, float], None],
    ranks: Ranks,
) -> tuple[int, Float[Tensor, "n c"]]:
    """Iterations taken on A X = R from X = 0, in the dtype of `C`, and X."""
    left, X = R.to(C.dtype, copy=True), torch.zeros_like(R)
    start = _norms(left, ranks)
    goal = (_DIGITS[C.dtype] * start).clamp_min(_SLACK * tolerance)
    directions, images = left[:, :0], left[:, :0]  # none yet
    inverse = left.new_empty(0, 0)
    nearest, since = float("inf"), 0
    for iteration in range(1, max_iter + 1):
        fresh = C.transposed(_span(C(left), ranks))
        # conjugate to the last directions, and by that to all earlier ones
        fresh -= directions @ (inverse @ (images.mT @ fresh))
        directions, images = fresh, product(fresh)
        found = _inverse(directions, images, ranks)
        if found is None:
            return iteration, X
        inverse = found
        step = inverse @ (directions.mT @ left)
        X += directions @ step
        left -= images @ step
        now = _norms(left, ranks)
        tell(iteration, float(now.max()))
        farthest = float((now / goal).max())
        nearest, since = (farthest, 0) if farthest < nearest else (nearest, since + 1)
        if farthest <= 1 or since == _PATIENCE:
            return iteration, X
    return max_iter, X


def _inverse(p: Float[Tensor, "n b"], q: Float[Tensor, "n b"], ranks: Ranks) -> Float[Tensor, "b b"] | None:
    """(pᵀ q)⁻¹, or None where rounding left it indefinite: rank 0's, because another machine may round to the other side."""
    energy = p.double().mT @ q.double()
    lower, info = torch.linalg.cholesky_ex((energy + energy.mT) / 2)
    inverse = torch.full_like(energy, torch.nan) if int(info) else torch.cholesky_inverse(lower)
    inverse = ranks.from_main(inverse, same_shape=True)
    return None if bool(inverse.isnan().any()) else inverse.to(p.dtype)


def _span(V: Float[Tensor, "n c"], ranks: Ranks) -> Float[Tensor, "n b"]:
    """An orthonormal basis of the columns: rank 0's, because signs are a matter of the library.

    Outputs may depend on each other (two classes as ±1 do): directions within rounding of the others' span are left out.
    """
    w, small = torch.linalg.qr(V)
    left, sizes, _ = torch.linalg.svd(small.double())
    kept = sizes > 10 * torch.finfo(V.dtype).eps * sizes[0]
    return ranks.from_main(w @ left[:, : len(kept)][:, kept].to(w.dtype))


def _norms(V: Float[Tensor, "n c"], ranks: Ranks) -> Float[Tensor, " c"]:
    """Norms of the columns, in float64, the same bits on every rank."""
    return ranks.from_main(torch.linalg.vector_norm(V, dim=0, dtype=torch.float64), same_shape=True)


def _later(tell: Callable[[int, float], None], before: int, iteration: int, residual: float) -> None:
    tell(before + iteration, residual)


def _nobody(iteration: int, residual: float) -> None:
    """Nobody listens."""
