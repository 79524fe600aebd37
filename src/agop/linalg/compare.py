"""Comparison of two matrices entry by entry."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from agop import _checks


def matrix_correlation(A: Float[Tensor, "_ _"], B: Float[Tensor, "_ _"], *, centered: bool = True) -> float:
    r"""Correlation of two matrices read as vectors of their entries.

    With `centered=True` the Pearson correlation, :math:`\langle A-\bar a, B-\bar b\rangle / (\|A-\bar a\|\,\|B-\bar b\|)`
    with :math:`\bar a, \bar b` the mean entries (Beaglehole et al. 2024, arXiv 2402.13728, use it for the neural feature
    ansatz); with `centered=False` the cosine :math:`\langle A, B\rangle / (\|A\|\,\|B\|)`. Computed in float64.

    Parameters
    ----------
    A, B
        Two matrices of one shape.
    centered
        Subtract the mean entry first.

    Returns
    -------
    float
        In [-1, 1]; NaN if one of the matrices is constant (zero, with `centered=False`).

    Raises
    ------
    ValueError
        If the shapes differ or an entry is not finite.

    Examples
    --------
    >>> import torch
    >>> round(matrix_correlation(torch.eye(3), 2 * torch.eye(3)), 6)
    1.0
    """
    A = _checks.floating("A", A, ndim=2)
    B = _checks.floating("B", B, ndim=2)
    if A.shape != B.shape:
        raise _checks.bad_value("B", f"the shape of A {tuple(A.shape)}", f"{tuple(B.shape)}")
    a, b = A.detach().double().flatten(), B.detach().to(A.device).double().flatten()
    a, b = a / a.abs().max().clamp_min(1e-300), b / b.abs().max().clamp_min(1e-300)
    if centered:
        a, b = a - a.mean(), b - b.mean()
    norms = float(a.norm() * b.norm())
    # a constant matrix leaves nothing but rounding after the mean is subtracted
    if norms <= a.numel() * 1e-30:
        return float("nan")
    return max(-1.0, min(1.0, float(a @ b) / norms))
