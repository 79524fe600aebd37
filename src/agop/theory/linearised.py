r"""The linearised Deep RFM: kernel and feature map act as linear maps plus a multiple of the identity.

Data layout: Gram matrices G are (n, n), targets Y are (n, c), rows are samples.

Where the kernel of a layer is :math:`G + \lambda_k I` and the random features have the Gram matrix
:math:`P + \lambda_\Phi I` of their input's Gram matrix P, a layer acts on Gram matrices alone:

.. math:: P = G (G + \lambda_k I)^{-1}\, Y Y^T\, (G + \lambda_k I)^{-1} G, \qquad G' = (P + \lambda_\Phi I) / \kappa .

The linear predictor has one gradient everywhere, W, so its AGOP is :math:`W^T W`, and the projected points
:math:`X (W^T W)^{1/2}` have the Gram matrix :math:`F F^T` of the *fitted values* :math:`F = X W^T = G (G + \lambda_k I)^{-1} Y`. F is
what is computed here: differences within a class then keep their digits at any depth.

Source: Beaglehole, Súkeník, Mondelli, Belkin 2024 (arXiv 2402.13728), the asymptotic analysis of Deep RFM.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from agop import _checks
from agop.linalg.psd import eigh_descending
from agop.linalg.ridge import RidgeFactor

Normalisation = Literal["trace", "rows", "none"]
NORMALISATIONS = ("trace", "rows", "none")
"""How a Gram matrix is scaled before each layer: to trace n, to unit diagonal, or not at all."""


@dataclass(frozen=True, eq=False)
class LinearisedLayer:
    """One layer as Gram matrices of its three stages, (n, n) float64, and the fitted values (n, c) of its predictor."""

    gram: Float[Tensor, "n n"]
    fitted: Float[Tensor, "n c"]
    output: Float[Tensor, "n n"]

    @property
    def projected(self) -> Float[Tensor, "n n"]:
        """The Gram matrix of the projected stage, F Fᵀ."""
        return self.fitted @ self.fitted.mT


def fitted_values(
    G: Float[Tensor, "n n"], Y: Float[Tensor, "n c"], lambda_k: float | int, *, offset: float | int = 0.0
) -> Float[Tensor, "n c"]:
    r""":math:`F = G (G + \lambda_k I + a 1 1^T)^{-1} Y`: what the linear part of the predictor says about the points.

    With the offset :math:`a = 0` this is kernel ridge regression's fit on its training points. A kernel with a constant part, fitted as
    :math:`G + a 1 1^T + \lambda_k I`, has the same gradients as its linear part, so its AGOP projects to :math:`F F^T` with this F.

    Raises
    ------
    SingularSystemError
        If `lambda_k` is 0 and G is singular.
    """
    lambda_k = _checks.real("lambda_k", lambda_k, at_least=0)
    offset = _checks.real("offset", offset, at_least=0)
    A = RidgeFactor.of(G + offset, lambda_k).solve(Y)
    return Y - lambda_k * A - offset * A.sum(0)


def linearised_layers(
    G: Float[Tensor, "n _"],
    Y: Float[Tensor, "n c"],
    lambda_k: float | int,
    lambda_phi: float | int,
    n_layers: int,
    *,
    normalise: Normalisation = "trace",
    kernel_offset: float | int = 0.0,
    feature_offset: float | int = 0.0,
) -> list[LinearisedLayer]:
    r"""The recursion of Gram matrices, layer by layer, in float64.

    Parameters
    ----------
    G
        Gram matrix of the data, symmetric positive semi-definite; it is normalised like those of later layers.
    Y
        Targets, one row a sample (one-hot in the paper's theorem).
    lambda_k, lambda_phi
        :math:`\lambda_k, \lambda_\Phi \ge 0`, in the units of the normalised Gram matrix and of :math:`F F^T`.
    normalise
        "trace": :math:`\kappa = \mathrm{tr}(P + \lambda_\Phi I)/n`; "rows": unit rows, as a Deep RFM does; "none": κ = 1.
    kernel_offset, feature_offset
        Multiples of :math:`1 1^T` in the kernel and in the features' Gram matrix (a ReLU has a constant part).

    Raises
    ------
    ValueError
        If G is not square and finite, Y has other rows, or a parameter is negative.
    """
    G = _square("G", G)
    Y = _checks.floating("Y", Y, ndim=2).to(G)
    _checks.same_length("G", len(G), "Y", len(Y))
    n_layers = _checks.integer("n_layers", n_layers, at_least=1)
    lambda_phi = _checks.real("lambda_phi", lambda_phi, at_least=0)
    feature_offset = _checks.real("feature_offset", feature_offset, at_least=0)
    _checks.one_of("normalise", normalise, NORMALISATIONS)
    layers = []
    for _ in range(n_layers):
        G = normalised(G, normalise)
        F = fitted_values(G, Y, lambda_k, offset=kernel_offset)
        output = F @ F.mT + feature_offset
        output.diagonal().add_(lambda_phi)
        layers.append(LinearisedLayer(G, F, output))
        G = output
    return layers


def normalised(G: Float[Tensor, "n n"], how: Normalisation) -> Float[Tensor, "n n"]:
    """A Gram matrix scaled to trace n ("trace"), to unit diagonal where it is not zero ("rows"), or as it is ("none")."""
    if how == "trace":
        trace = float(G.diagonal().sum())
        if not trace > 0:
            raise _checks.bad_value("G", "a Gram matrix of positive trace", f"trace {trace:g}")
        return G * (len(G) / trace)
    if how == "rows":
        norms = G.diagonal().clamp_min(0).sqrt()
        norms = torch.where(norms > 0, norms, torch.ones_like(norms))
        return G / norms / norms[:, None]
    return G


@dataclass(frozen=True)
class Limit:
    r"""What the recursion converges to, and how fast.

    `strengths` :math:`s_j` are the non-zero eigenvalues of :math:`Y Y^T`; the projected Gram matrix converges to
    :math:`\sum_j p_j u_j u_j^T` in their eigenvectors, with `values` :math:`p_j`. The part of P between :math:`u_j` and a
    direction that separates points of one class shrinks by `rates` :math:`r_j` per layer, and NC1 of the projected stage, which is
    quadratic in it, by :attr:`nc1_factor`.
    """

    strengths: tuple[float, ...]
    values: tuple[float, ...]
    rates: tuple[float, ...]
    kappa: float

    @property
    def nc1_factor(self) -> float:
        """The factor by which NC1 of the projected stage falls per layer in the end, max r_j²; below 1 it collapses."""
        return max(self.rates) ** 2


def limit(
    Y: Float[Tensor, "n c"],
    lambda_k: float | int,
    lambda_phi: float | int,
    *,
    normalise: Literal["trace", "none"] = "trace",
) -> Limit:
    r"""The collapsed fixed point of the recursion and its linear rates, in closed form up to a scalar equation.

    With :math:`g_j = (p_j + \lambda_\Phi)/\kappa` the eigenvalues of the Gram matrix at collapse,

    .. math:: p_j = s_j \left(\frac{g_j}{g_j + \lambda_k}\right)^2, \qquad
              r_j = \frac{s_j}{\kappa}\,\frac{g_j}{(g_j + \lambda_k)^2}\,\frac{\lambda_k}{\lambda_\Phi/\kappa + \lambda_k},

    which is :math:`\lambda_k / (\lambda_k + \lambda_\Phi)` for strong signals and κ = 1: smaller :math:`\lambda_k / \lambda_\Phi`
    collapses faster. It follows from the recursion by perturbing :math:`P` off the fixed point: the block of
    :math:`(G + \lambda_k I)^{-1}` between :math:`u_j` and the complement is
    :math:`-(\lambda_\Phi/\kappa + \lambda_k)^{-1} G_{21} (g_j + \lambda_k)^{-1}`. (Not in the paper, which gives a bound.)

    Raises
    ------
    ValueError
        If a parameter is negative, both are zero, or Y is zero.
    """
    Y = _checks.floating("Y", Y, ndim=2).detach().double()
    lambda_k = _checks.real("lambda_k", lambda_k, at_least=0)
    lambda_phi = _checks.real("lambda_phi", lambda_phi, at_least=0)
    _checks.one_of("normalise", normalise, ("trace", "none"))
    if lambda_k + lambda_phi == 0:
        raise _checks.bad_value("lambda_phi", "> 0 where lambda_k is 0", "0", "one of them shapes the layer")
    spectrum = eigh_descending(Y.mT @ Y)[0]
    strengths = [float(s) for s in spectrum if s > len(Y) * 1e-14 * float(spectrum[0])]
    if not strengths:
        raise _checks.bad_value("Y", "targets that are not zero", "zeros")
    values, kappa = strengths, 1.0
    for _ in range(100_000):
        if normalise == "trace":
            kappa = sum(values) / len(Y) + lambda_phi
        grams = [(p + lambda_phi) / kappa for p in values]
        new = [s * (g / (g + lambda_k)) ** 2 for s, g in zip(strengths, grams, strict=True)]
        moved = max(abs(a - b) / s for a, b, s in zip(new, values, strengths, strict=True))
        values = new
        if moved < 1e-15:
            break
    else:
        raise _checks.bad_value(
            "lambda_k", "a value at which the recursion settles", f"{lambda_k:g}", "take a smaller one"
        )
    noise = lambda_k / (lambda_phi / kappa + lambda_k)
    rates = [s / kappa * g / (g + lambda_k) ** 2 * noise for s, g in zip(strengths, grams, strict=True)]
    return Limit(tuple(strengths), tuple(values), tuple(rates), kappa)


@dataclass(frozen=True)
class RidgeShift:
    r"""A kernel matrix read as :math:`K \approx b\,(G + a\,1 1^T + \lambda I)`.

    `slope` b, `offset` a and `shift` λ, in the units of G; `r2` is the share of the variance of the off-diagonal entries of K that the
    line explains. A negative `shift` says that the diagonal lies below the line: the kernel has no ridge to offer.
    """

    slope: float
    offset: float
    shift: float
    r2: float


def ridge_shift(K: Float[Tensor, "n _"], G: Float[Tensor, "n _"]) -> RidgeShift:
    r"""Estimate slope, offset and ridge shift of a kernel matrix against the Gram matrix of its points.

    Least squares over the off-diagonal entries gives :math:`K_{ij} \approx b G_{ij} + b a`; what the diagonal of K has above that line, on
    average and divided by b, is λ.

    Raises
    ------
    ValueError
        If the shapes differ, there are fewer than two points, or the off-diagonal entries of G are all equal or unrelated to K (b ≤ 0).
    """
    K, G = _square("K", K), _square("G", G)
    if K.shape != G.shape or len(G) < 2:
        raise _checks.bad_value("K", f"the shape of G {tuple(G.shape)}, n >= 2", f"{tuple(K.shape)}")
    off = ~torch.eye(len(G), dtype=torch.bool, device=G.device)
    k, g = K[off], G[off]
    k_mean, g_mean = k.mean(), g.mean()
    variance = float((g - g_mean).square().mean())
    covariance = float(((g - g_mean) * (k - k_mean)).mean())
    slope = covariance / variance if variance > 0 else math.nan
    if not slope > 0:
        raise _checks.bad_value("K", "entries that grow with those of G", f"a slope of {slope:g}")
    offset = float(k_mean) / slope - float(g_mean)
    shift = float(K.diagonal().mean()) / slope - offset - float(G.diagonal().mean())
    r2 = covariance**2 / (variance * max(float((k - k_mean).square().mean()), 1e-300))
    return RidgeShift(slope, offset, shift, min(1.0, r2))


def _square(name: str, matrix: Float[Tensor, "n _"]) -> Float[Tensor, "n n"]:
    matrix = _checks.floating(name, matrix, ndim=2)
    if matrix.shape[0] != matrix.shape[1]:
        raise _checks.bad_value(name, "a square matrix", f"shape {tuple(matrix.shape)}")
    return matrix.detach().double()
