"""The between-class covariance, seen in the span of the class means; effective and numeric rank of a
spectrum.

Σ_B has rank at most C − 1, so its pseudo-inverse needs a (C, C) or (d, d) eigenproblem, whichever is smaller,
and never a (d, d) matrix when C < d.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, eq=False)
class BetweenSpectrum:
    """Eigenvalues (descending) and orthonormal eigenvectors of Σ_B above the numeric rank.

    Attributes
    ----------
    eigenvalues : (r,)
        Those larger than `tolerance`.
    vectors : (d, r)
        Orthonormal columns.
    tolerance
        max(C, d) · eps · λ_max: the cutoff that a float64 pseudo-inverse of Σ_B uses.

    """

    eigenvalues: Float[Tensor, " r"]
    vectors: Float[Tensor, "d r"]
    tolerance: float

    @property
    def rank(self) -> int:
        """The numeric rank of Σ_B."""
        return len(self.eigenvalues)


def between_spectrum(centred: Float[Tensor, "k d"], weights: Float[Tensor, " k"]) -> BetweenSpectrum:
    """The spectrum of Σ_B = Σ_c w_c (μ_c − μ)(μ_c − μ)ᵀ from the rows μ_c − μ."""
    k, d = centred.shape
    if k == 0:
        return BetweenSpectrum(centred.new_zeros(0), centred.new_zeros(d, 0), 0.0)
    rows = centred * weights.sqrt().unsqueeze(1)
    small = rows @ rows.T if k <= d else rows.T @ rows
    values, vectors = torch.linalg.eigh(small)
    values, vectors = values.flip(0), vectors.flip(1)
    tolerance = max(k, d) * torch.finfo(values.dtype).eps * max(0.0, float(values[0]))
    keep = values > tolerance
    # one direction is lost to the centring, whatever rounding makes of its eigenvalue
    keep[k - 1 :] = False
    values, vectors = values[keep], vectors[:, keep]
    if k <= d:
        vectors = (rows.T @ vectors).div_(values.sqrt())
    return BetweenSpectrum(values, vectors, tolerance)


def numeric_spectrum(eigenvalues: Float[Tensor, " k"], size: int) -> Float[Tensor, " r"]:
    """The eigenvalues of a PSD matrix above `size` · eps · λ_max: as many as its numeric rank."""
    if eigenvalues.numel() == 0:
        return eigenvalues
    largest = eigenvalues.amax().clamp_min(0)
    return eigenvalues[eigenvalues > size * torch.finfo(eigenvalues.dtype).eps * largest]
