"""A patch matrix as filters: what its top eigenvectors look like as small images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from agop import _checks
from agop.linalg.psd import eigh_descending


@dataclass(frozen=True, eq=False)
class PatchFilters:
    r"""Top eigenvectors of a patch matrix M (d, d) as filters.

    Attributes
    ----------
    filters
        (k, c, q, q): unit vectors, the largest eigenvalue first. The entry of largest magnitude is positive (an eigenvector
        has no sign of its own).
    eigenvalues
        (k,), in float64.
    shares
        Of the trace of M, (k,); NaN where M is zero.
    """

    filters: Float[Tensor, "k c q q"]
    eigenvalues: Float[Tensor, " k"]
    shares: Float[Tensor, " k"]


def patch_filters(M: Float[Tensor, "d d"], channels: int, *, n: int | None = None) -> PatchFilters:
    r"""Top eigenvectors :math:`v_k` of a patch matrix :math:`M = \sum_k \lambda_k v_k v_k^T` as filters of c channels.

    M is the patch AGOP of a convolution (`patch_agop`), its filter covariance (`nfm`) or the metric of a convolutional machine;
    :math:`\|M^{1/2} x_p\|^2 = \sum_k \lambda_k \langle v_k, x_p\rangle^2`, so that these are the filters whose answers the model reads.

    Parameters
    ----------
    M
        Symmetric positive semi-definite (d, d), d = c · q²: a row runs over channels, then rows, then columns of a patch.
    channels
        c.
    n
        How many; all by default.

    Raises
    ------
    ValueError
        If M isn't square and finite, or d is not c times a square.

    Notes
    -----
    Beaglehole et al. 2023 (arXiv 2309.00570), Section 4.

    Examples
    --------
    >>> found = patch_filters(torch.diag(torch.arange(12.0)), channels=3, n=2)
    >>> found.filters.shape, [round(share, 3) for share in found.shares.tolist()]
    (torch.Size([2, 3, 2, 2]), [0.167, 0.152])

    """
    side = patch_side(M, channels)
    n = len(M) if n is None else min(_checks.integer("n", n, at_least=1), len(M))
    values, vectors = eigh_descending(M)
    rows = vectors[:, :n].mT
    largest = rows.gather(1, rows.abs().argmax(1, keepdim=True))
    rows = rows * torch.where(largest < 0, -1, 1)
    trace = values.clamp_min(0).sum()
    return PatchFilters(rows.reshape(n, channels, side, side).to(M.dtype), values[:n], values[:n] / trace)


def patch_side(M: Float[Tensor, "d d"], channels: int) -> int:
    """The q of a patch matrix of c · q² rows and columns."""
    M = _checks.floating("M", M, ndim=2)
    channels = _checks.integer("channels", channels, at_least=1)
    d = M.shape[0]
    if d != M.shape[1] or not d:
        raise _checks.bad_value("M", "a square matrix", f"shape {tuple(M.shape)}")
    side = round((d / channels) ** 0.5)
    if side * side * channels != d:
        expected = f"a matrix of {channels} · q² rows, those of square patches of {channels} channels"
        raise _checks.bad_value("M", expected, f"{d} rows", "check the channels")
    return side
