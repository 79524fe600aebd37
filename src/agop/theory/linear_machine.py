r"""A Deep RFM that is linear, built from features: the measured counterpart of the linearised theory.

Each layer: scale the points; fit linear ridge regression, :math:`A = (X X^T + \lambda_k I)^{-1} Y`, whose gradient is
:math:`W = A^T X` at every point; project with the square root of the AGOP :math:`M = W^T W`; apply features whose Gram matrix is
that of their input plus :math:`\lambda_\Phi I`, either

- exactly: n further coordinates, :math:`\sqrt{\lambda_\Phi}` in a coordinate of the point's own, or
- in the wide limit: :math:`\Phi(z_i) = (R z_i + \sqrt{\lambda_\Phi}\,\xi_i)/\sqrt{k}` with standard normal R (k, r) and noise
  :math:`\xi_i` (k,) of the point's own, :math:`E[\Phi(z_i)\cdot\Phi(z_j)] = z_i\cdot z_j + \lambda_\Phi\,[i = j]`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from agop import _checks
from agop.linalg.ridge import RidgeFactor
from agop.theory.linearised import NORMALISATIONS, Normalisation
from agop.view import LayerView


def linear_deep_rfm(
    X: Float[Tensor, "n d"],
    Y: Float[Tensor, "n c"],
    lambda_k: float | int,
    lambda_phi: float | int,
    n_layers: int,
    *,
    normalise: Normalisation = "trace",
    width: int | None = None,
    generator: torch.Generator | None = None,
) -> Iterator[LayerView]:
    r"""The layers of a linear Deep RFM on its training points, one `LayerView` at a time.

    The projected stage :math:`X M^{1/2}` is given in an orthonormal basis of the range of M, (n, r) with r ≤ c: the same points up to a
    rotation, so that layers stay c + n (or k) wide.

    Parameters
    ----------
    X, Y
        Points and targets.
    lambda_k, lambda_phi
        Ridge and noise, :math:`\lambda_k > 0`, :math:`\lambda_\Phi \ge 0`.
    normalise
        "trace": points scaled to mean squared norm 1; "rows": each to norm 1; "none".
    width
        None: exact noise coordinates. A number k: random features of this width.
    generator
        Randomness of the wide features (needed there).

    Raises
    ------
    ValueError
        If shapes or parameters are unusable, or `width` comes without `generator`.
    """
    X = _checks.floating("X", X, ndim=2)
    Y = _checks.floating("Y", Y, ndim=2).to(X)
    _checks.same_length("X", len(X), "Y", len(Y))
    lambda_k = _checks.real("lambda_k", lambda_k, above=0)
    lambda_phi = _checks.real("lambda_phi", lambda_phi, at_least=0)
    n_layers = _checks.integer("n_layers", n_layers, at_least=1)
    _checks.one_of("normalise", normalise, NORMALISATIONS)
    if width is not None:
        width = _checks.integer("width", width, at_least=1)
        if generator is None:
            raise _checks.bad_value("generator", "a torch.Generator for random features", "None")
    return _layers(X, Y, lambda_k, lambda_phi, n_layers, normalise, width, generator)


def _layers(
    X: Float[Tensor, "n d"],
    Y: Float[Tensor, "n c"],
    lambda_k: float,
    lambda_phi: float,
    n_layers: int,
    normalise: Normalisation,
    width: int | None,
    generator: torch.Generator | None,
) -> Iterator[LayerView]:
    for index in range(n_layers):
        X = _scaled(X, normalise)
        W = RidgeFactor.of(X @ X.mT, lambda_k, overwrite=True).solve(Y).mT @ X
        _, singular, basis = torch.linalg.svd(W, full_matrices=False)
        projected = (X @ basis.mT) * singular
        if width is None:
            noise = math.sqrt(lambda_phi) * torch.eye(len(X), dtype=X.dtype, device=X.device)
            output = torch.cat([projected, noise], 1)
        else:
            assert generator is not None
            draw = torch.randn(
                projected.shape[1] + len(X), width, generator=generator, dtype=torch.float64
            ).to(X)
            mixing, noise = draw[: projected.shape[1]], draw[projected.shape[1] :]
            output = (projected @ mixing + math.sqrt(lambda_phi) * noise) / math.sqrt(width)
        M = W.mT @ W
        yield LayerView(f"layer {index + 1}", X, projected, output, feature_matrix=M, agop=M)
        X = output


def _scaled(X: Float[Tensor, "n d"], normalise: Normalisation) -> Float[Tensor, "n d"]:
    if normalise == "trace":
        norm = X.norm()
        return X * (math.sqrt(len(X)) / norm) if norm > 0 else X
    if normalise == "rows":
        norms = X.norm(dim=1, keepdim=True)
        return X / torch.where(norms > 0, norms, torch.ones_like(norms))
    return X
