"""The neural feature ansatz of a wide layer, in the few dimensions in which both of its matrices live."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from agop.gradients.ansatz import nfa
from agop.linalg.psd import psd_power


def layer_nfa(weight: Float[Tensor, "k d"], agop: Float[Tensor, "d d"], power: float | int = 0.5) -> float:
    r"""Pearson correlation of :math:`W^T W` with :math:`\mathrm{AGOP}^\alpha`, the same number as `agop.nfa`.

    The AGOP of what a layer reads is :math:`W^T E[\delta\delta^T] W`, so with an orthonormal basis Q (d, r) of the
    rows of W both matrices are :math:`Q M Q^T` with M (r, r). For a convolution that reads patches of 4,608 numbers
    and has 512 channels, the eigendecomposition is of 512 instead of 4,608 dimensions, 700 times less.
    """
    k, d = weight.shape
    if k >= d:
        return nfa(weight.mT @ weight, agop, power=power)
    work = torch.device("cpu") if weight.device.type == "mps" else weight.device
    rows = weight.detach().to(work).double()
    basis, triangle = torch.linalg.qr(rows.mT)
    feature_matrix = triangle @ triangle.mT
    # the large products in the AGOP's own precision, which is that of its entries
    small = agop.detach().to(work)
    seen = basis.mT @ (small @ basis.to(small.dtype)).double()
    powered = psd_power((seen + seen.mT) / 2, power).matrix
    ones = basis.sum(0)
    means = [float(ones @ matrix @ ones) / d**2 for matrix in (feature_matrix, powered)]
    product = float((feature_matrix * powered).sum()) - d**2 * means[0] * means[1]
    squares = [
        float(matrix.square().sum()) - d**2 * mean**2
        for matrix, mean in zip((feature_matrix, powered), means)
    ]
    norms = max(squares[0], 0.0) ** 0.5 * max(squares[1], 0.0) ** 0.5
    scale = float(feature_matrix.abs().max() * powered.abs().max())
    if norms <= d**2 * 1e-30 * scale:
        return float("nan")
    return max(-1.0, min(1.0, product / norms))


def split(weight: Float[Tensor, "k d"]) -> tuple[Float[Tensor, "k r"], Float[Tensor, "r d"]]:
    """`U` and `S Vᵀ` of `W = U S Vᵀ`, r = min(k, d), singular values descending; computed in float64.

    For k < d from the eigenvectors of `W Wᵀ` would be faster and lose half of the digits; this does not.
    """
    work = weight.detach().cpu() if weight.device.type == "mps" else weight.detach()
    u, s, vt = torch.linalg.svd(work.double(), full_matrices=False)
    return u.to(weight), (s[:, None] * vt).to(weight)
