"""The Cholesky factorisation of a large matrix in its own memory."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

BLOCK = 1024
"""Rows of a diagonal block of a large matrix: LAPACK factors it where it lies, all else is matrix products."""

_ALONE = 8192
"""Rows up to which LAPACK does the whole matrix, faster than our blocks (its 32-bit limit is n ≈ 46,000)."""

_UPDATE_ROWS = 512
"""Rows of the trailing matrix updated by one product: little more than what lies below the diagonal is formed."""

_SOLVE_COLUMNS = 128
"""Columns of a triangular solve that are not turned into a product."""


class NotPositiveDefinite(ArithmeticError):
    """The factorisation met a pivot that is not positive; `row` is the first such row."""

    def __init__(self, row: int) -> None:
        super().__init__(f"the leading minor of order {row + 1} is not positive definite")
        self.row = row


def cholesky_(
    K: Float[Tensor, "n n"],
    *,
    block: int | None = None,
    on_block: Callable[[int, int], None] | None = None,
) -> Float[Tensor, "n n"]:
    """Overwrite the lower triangle of `K` with its Cholesky factor `L`, `K = L Lᵀ`, and return `K`.

    Right-looking and blocked: n³/3 operations, almost all of them matrix products, and no second (n, n) matrix. Only the
    lower triangle is read; what is above the diagonal afterwards is unspecified (read the factor with `.tril()` or
    hand it to a triangular solve).

    Parameters
    ----------
    K
        Symmetric positive definite, contiguous; overwritten.
    block
        Rows of a diagonal block; None: all up to n = 8,192, then `BLOCK`.
    on_block
        Called with (rows done, rows in all) after each diagonal block; it may raise to interrupt.

    Raises
    ------
    NotPositiveDefinite
        At the first pivot that is not positive.
    """
    n = K.shape[0]
    block = block or (n if n <= _ALONE else BLOCK)
    info = torch.zeros((), dtype=torch.int32, device=K.device)
    for start in range(0, n, block):
        end = min(n, start + block)
        factor = K[start:end, start:end]
        # the transpose of a row-major block is what LAPACK calls column-major: it works in place, without a copy
        column_major = factor.mT
        torch.linalg.cholesky_ex(column_major, upper=True, out=(column_major, info))
        if int(info) != 0:
            raise NotPositiveDefinite(start + int(info) - 1)
        _solve_rows_(K[end:, start:end], factor)
        for row in range(end, n, _UPDATE_ROWS):
            stop = min(n, row + _UPDATE_ROWS)
            K[row:stop, end:stop].addmm_(K[row:stop, start:end], K[end:stop, start:end].mT, alpha=-1)
        if on_block is not None:
            on_block(end, n)
    return K


def _solve_rows_(P: Float[Tensor, "m b"], L: Float[Tensor, "b b"]) -> None:
    """Overwrite `P` with P L⁻ᵀ: halves, with a product between them, down to narrow triangular solves."""
    b = len(L)
    if b <= _SOLVE_COLUMNS:
        P.copy_(torch.linalg.solve_triangular(L, P.mT, upper=False).mT)
        return
    half = b // 2
    left, right = P[:, :half], P[:, half:]
    _solve_rows_(left, L[:half, :half])
    right.addmm_(left, L[half:, :half].mT, alpha=-1)
    _solve_rows_(right, L[half:, half:])


def cholesky_solve(
    L: Float[Tensor, "n n"], Y: Float[Tensor, "n c"], *, block: int = BLOCK
) -> Float[Tensor, "n c"]:
    """Solve `L Lᵀ A = Y` with the lower triangle of `L`, reading it in place (torch.cholesky_solve copies it)."""
    n = L.shape[0]
    A = Y.clone()
    for start in range(0, n, block):
        end = min(n, start + block)
        A[start:end] -= L[start:end, :start] @ A[:start]
        A[start:end] = torch.linalg.solve_triangular(L[start:end, start:end], A[start:end], upper=False)
    for start in reversed(range(0, n, block)):
        end = min(n, start + block)
        A[start:end] -= L[end:, start:end].mT @ A[end:]
        A[start:end] = torch.linalg.solve_triangular(L[start:end, start:end].mT, A[start:end], upper=True)
    return A
