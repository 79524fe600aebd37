"""Ridge systems with a symmetric positive semi-definite matrix: factor once, solve many."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from agop import _checks
from agop.linalg.cholesky import NotPositiveDefinite, cholesky_, cholesky_solve


class SingularSystemError(ValueError):
    """The ridge system is singular to working precision; the message names the cause and the remedy."""


@dataclass(frozen=True, eq=False)
class RidgeFactor:
    r"""The Cholesky factor of :math:`K + \mu I`, ready to solve for any number of right-hand sides.

    Made by :meth:`of`. `pivot_ratio` is the smallest pivot :math:`L_{ii}^2` over the largest diagonal entry: an upper
    bound of the inverse condition number, reported so that a user can see how close to singular the system was.
    """

    lower: Float[Tensor, "n n"]
    ridge: float
    pivot_ratio: float

    @classmethod
    def of(
        cls,
        K: Float[Tensor, "n n"],
        ridge: float | int,
        *,
        weight: Float[Tensor, " n"] | None = None,
        overwrite: bool = False,
        on_block: Callable[[int, int], None] | None = None,
    ) -> RidgeFactor:
        r"""Factor :math:`K + \mu I` (not :math:`K + n\mu I`), or :math:`K + \mu\,\mathrm{diag}(1/w)`.

        Parameters
        ----------
        K
            Symmetric positive semi-definite (only the lower triangle is read).
        ridge
            :math:`\mu \ge 0`. Nothing is ever added to it unannounced.
        weight
            w > 0; only μ/w matters, so that both may be of any size.
        overwrite
            Factor in the memory of `K`, which is lost; needs no second (n, n) matrix.
        on_block
            Progress callback, called with (rows done, rows in all).

        Raises
        ------
        SingularSystemError
            If a pivot is zero, negative or within rounding of zero.
        """
        ridge = _checks.real("ridge", ridge, at_least=0)
        work = K if overwrite else K.clone()
        work.diagonal().add_(ridge if weight is None else ridge / weight.double())
        largest = float(work.diagonal().max())
        try:
            lower = cholesky_(work, on_block=on_block)
        except NotPositiveDefinite as error:
            raise _singular(ridge, K.dtype, error.row, work.shape[0]) from None
        pivots = lower.diagonal().double().square()
        ratio = float(pivots.min()) / largest
        if not ratio > torch.finfo(K.dtype).eps * 4:
            raise _singular(ridge, K.dtype, int(pivots.argmin()), work.shape[0])
        return cls(lower=lower, ridge=ridge, pivot_ratio=ratio)

    def solve(self, Y: Float[Tensor, "n c"]) -> Float[Tensor, "n c"]:
        r"""Return :math:`(K + \mu I)^{-1} Y`: 2n²c operations."""
        return cholesky_solve(self.lower, Y)


def _singular(ridge: float, dtype: torch.dtype, row: int, n: int) -> SingularSystemError:
    higher = "" if dtype == torch.float64 else ", or compute in float64"
    return SingularSystemError(
        f"ridge: expected a positive definite system K + ridge * I, got one that is singular in {str(dtype)[6:]} with "
        f"ridge={ridge:g} (row {row} of {n} is a combination of earlier rows: duplicated or nearly coincident points); "
        f"remove the duplicates or raise ridge (try {max(10 * ridge, 1e-6):g}){higher}."
    )
