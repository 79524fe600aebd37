"""The row space of a matrix: of a wide one exactly, of one with a metric as far as rounding shows it."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from agop.linalg.psd import PSDPower


def row_basis(X: Float[Tensor, "n d"]) -> Float[Tensor, "d n"] | None:
    """An orthonormal basis of a space that holds every row of `X`, if that has far fewer dimensions than `X` has columns.

    With 2n < d the columns of the result (float64, from a QR decomposition, 2dn² operations) are such a basis: `X @ basis` has the
    distances of `X`, and (d, d) work becomes (n, n) work. Otherwise None: there is too little to gain.
    """
    if 2 * X.shape[0] >= X.shape[1]:
        return None
    return torch.linalg.qr(X.mT.double()).Q


def numerical_row_space(
    X: Float[Tensor, "n d"], raised: PSDPower, labels: Int[Tensor, " n"] | None, *, centered: bool = True
) -> tuple[Float[Tensor, "d r"], float]:
    r"""Coordinates of :math:`X M^p` in the eigenbasis of M, without those that rounding hides; and the share left out.

    Distances do not change under the rotation. A coordinate is left out while all that are left out together carry at
    most the machine epsilon of X's dtype of the scatter of the points (about their mean, or about 0 if not `centered`: for kernels that see
    where the origin is), and of their scatter about class means; and the metric itself must be that small along it, because new points
    may lie where these do not.
    """
    coordinates = raised.coordinates
    Z = X.to(coordinates.dtype) @ coordinates
    shares = [_scatter(Z - Z.mean(0) if centered else Z)]
    if labels is not None:
        index = labels.to(Z.device)
        sums = Z.new_zeros(int(index.max()) + 1, Z.shape[1]).index_add_(0, index, Z)
        counts = torch.bincount(index).clamp_min(1)[:, None]
        shares.append(_scatter(Z - (sums / counts)[index]))
    share = torch.stack(shares).max(0).values
    eps = torch.finfo(X.dtype).eps
    small = (raised.powers / raised.powers.max()).square() <= eps
    order = torch.where(small, share, torch.inf).argsort()
    left_out = share[order].cumsum(0)
    dropped = min(int(((left_out <= eps) & small[order]).sum()), len(order) - 1)
    kept = order[dropped:].sort().values
    return coordinates[:, kept], float(left_out[dropped - 1]) if dropped else 0.0


def _scatter(deviations: Float[Tensor, "n r"]) -> Float[Tensor, " r"]:
    """Each column's share of the sum of squares (zero where there is none)."""
    squares = deviations.square().sum(0)
    return squares / squares.sum().clamp_min(torch.finfo(squares.dtype).tiny)
