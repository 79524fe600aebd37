"""The row space of a wide matrix."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def row_basis(X: Float[Tensor, "n d"]) -> Float[Tensor, "d n"] | None:
    """An orthonormal basis of a space that holds every row of `X`, if that has far fewer dimensions than `X` has columns.

    With 2n < d the columns of the result (float64, from a QR decomposition, 2dn² operations) are such a basis: `X @ basis` has the
    distances of `X`, and (d, d) work becomes (n, n) work. Otherwise None: there is too little to gain.
    """
    if 2 * X.shape[0] >= X.shape[1]:
        return None
    return torch.linalg.qr(X.mT.double()).Q
