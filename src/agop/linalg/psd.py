"""Powers of symmetric positive semi-definite matrices, with clipping that is said aloud."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from agop import _checks

NEGATIVE_TOLERANCE = 1e-3
"""A matrix with an eigenvalue below minus this share of its largest is not taken for a rounded PSD matrix."""


@dataclass(frozen=True, eq=False)
class PSDPower:
    r"""A power :math:`M^p = V \Lambda^p V^T` of a PSD matrix in factors, and what was done to its spectrum.

    Attributes
    ----------
    vectors, powers
        Eigenvectors :math:`V` (d, r) of the eigenvalues that were kept, largest first, and :math:`\lambda^p` (r,).
    eigenvalues
        All eigenvalues of the *input* in descending order (float64, unclipped), (d,).
    rank, clipped
        How many eigenvalues were kept, and how many replaced by zero.
    most_negative
        The smallest input eigenvalue if it was below zero, else 0.
    """

    vectors: Float[Tensor, "d r"]
    powers: Float[Tensor, " r"]
    eigenvalues: Float[Tensor, " d"]
    clipped: int
    most_negative: float

    @property
    def rank(self) -> int:
        """How many eigenvalues were kept."""
        return len(self.powers)

    @property
    def matrix(self) -> Float[Tensor, "d d"]:
        """The power itself."""
        half = self.vectors * self.powers.sqrt()
        return half @ half.mT

    @property
    def coordinates(self) -> Float[Tensor, "d r"]:
        r""":math:`V \Lambda^p`: rows times this are rows times the power, in the basis of its eigenvectors."""
        return self.vectors * self.powers


def psd_power(M: Float[Tensor, "d _"], power: float | int, *, rtol: float | None = None) -> PSDPower:
    r"""The matrix power :math:`M^p = V \Lambda^p V^T` of a symmetric PSD matrix, on its numerical range.

    Eigenvalues at or below `rtol` times the largest are clipped to zero and stay zero in the power (also in a negative
    one: then the result is the power of the pseudo-inverse). The eigendecomposition is done in float64 whatever the
    dtype of `M`, because the square root turns a relative error of 1e-7 in the spectrum into one of 3e-4.

    Parameters
    ----------
    M
        Symmetric positive semi-definite; only its symmetric part is read.
    power
        The exponent, any finite real number.
    rtol
        Relative threshold of the numerical range. Default: d times the machine epsilon of float64, the rounding of the
        decomposition itself. (d times that of float32 would cut eigenvalues of 1e-4, which are signal after a square root.)

    Returns
    -------
    PSDPower
        The power in the dtype and on the device of `M`, and what was clipped.

    Raises
    ------
    ValueError
        If `M` is not square, has NaN or infinite entries, or has an eigenvalue so negative (below -1e-3 times the
        largest) that it is not a rounded PSD matrix.

    Examples
    --------
    >>> import torch
    >>> psd_power(torch.diag(torch.tensor([4.0, 9.0])), 0.5).matrix
    tensor([[2.0000, 0.0000],
            [0.0000, 3.0000]])
    """
    M = _checks.floating("M", M, ndim=2)
    if M.shape[0] != M.shape[1]:
        raise _checks.bad_value("M", "a square matrix", f"shape {tuple(M.shape)}")
    power = _checks.real("power", power)
    values, vectors = eigh_descending(M)
    largest = float(values[0]) if values.numel() else 0.0
    smallest = float(values[-1]) if values.numel() else 0.0
    if smallest < -NEGATIVE_TOLERANCE * max(largest, -smallest * NEGATIVE_TOLERANCE):
        raise _checks.bad_value(
            "M",
            "a positive semi-definite matrix",
            f"eigenvalues from {smallest:.3g} to {largest:.3g}",
            "pass a matrix of the form A^T A",
        )
    threshold = (M.shape[0] * torch.finfo(torch.float64).eps if rtol is None else rtol) * largest
    kept = values > max(threshold, 0.0)
    rank = int(kept.sum())
    powers = values[:rank].pow(power).to(M)
    if not bool(torch.isfinite(powers).all()):
        raise _checks.bad_value("power", f"one whose result {M.dtype} can hold", repr(power), "rescale M")
    return PSDPower(
        vectors=vectors[:, :rank].to(M),
        powers=powers,
        eigenvalues=values,
        clipped=values.numel() - rank,
        most_negative=min(0.0, smallest),
    )


def eigh_descending(M: Float[Tensor, "d d"]) -> tuple[Float[Tensor, " d"], Float[Tensor, "d d"]]:
    """Eigenvalues (descending) and eigenvectors (columns) of the symmetric part of `M`, in float64.

    On a device without float64 the decomposition runs on the CPU and the result stays there.
    """
    work = M.detach().to("cpu") if M.device.type == "mps" else M.detach()
    work = work.double()
    values, vectors = torch.linalg.eigh((work + work.mT) / 2)
    return values.flip(0), vectors.flip(1)
