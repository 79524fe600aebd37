r"""NC1 and NC2 from a Gram matrix and labels alone: no features are needed.

With :math:`G = X X^T`, class indicator vectors :math:`1_c` and counts :math:`n_c`, the class means have the Gram matrix
:math:`K_{cc'} = 1_c^T G\, 1_{c'} / (n_c n_{c'})`, and

.. math:: \mathrm{tr}\,\Sigma_W = \tfrac1n\Big(\mathrm{tr}\,G - \sum_c \tfrac{1_c^T G 1_c}{n_c}\Big), \qquad
          \mathrm{tr}\,\Sigma_B = \tfrac1C \mathrm{tr}\,K - \tfrac1{C^2} 1^T K 1 .

Definitions as in `agop.collapse`: means over samples and over classes (Beaglehole et al. 2024, arXiv 2402.13728).
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Integer
from torch import Tensor

from agop import _checks
from agop.collapse.moments import check_labels
from agop.measurement import Measurement

_EQUAL = 64 * torch.finfo(torch.float64).eps
"""Share of the mean squared norm below which a trace is rounding."""


def gram_nc1(G: Float[Tensor, "n _"], labels: Integer[Tensor, " n"]) -> Measurement:
    r"""`tr Σ_W / tr Σ_B` of any features with the Gram matrix `G`; undefined where all class means coincide.

    The traces are formed after centring rows and columns, which leaves an absolute error of about 1e-16 of the mean squared norm: below
    that, features (or a factor of G) are needed.

    Raises
    ------
    ValueError, TypeError
        If G is not a square finite floating matrix, or the labels do not match it.
    """
    G, index = _checked(G, labels)
    present, counts = _classes(index)
    details = {"classes": len(present)}
    if len(present) < 2:
        return Measurement.undefined(
            "nc1", "trace, from a Gram matrix", "only one class has samples", details
        )
    average = _averages(index, present, counts)
    rest = G - (average @ G)[_position(index, present)]
    within = rest.diagonal().sum() - ((rest @ average.mT).gather(1, _position(index, present)[:, None])).sum()
    between = _centred_means(G, average).diagonal().mean()
    if not float(between) > _EQUAL * float(G.diagonal().mean().abs()):
        return Measurement.undefined("nc1", "trace, from a Gram matrix", "all class means are equal", details)
    value = max(0.0, float(within)) / len(G) / float(between)
    return Measurement(value, "nc1", "trace, from a Gram matrix", details=details)


def gram_nc2(G: Float[Tensor, "n _"], labels: Integer[Tensor, " n"]) -> Measurement:
    r"""Mean squared entry of :math:`U U^T - E`: cosines of the centred class means less those of a simplex ETF.

    Raises
    ------
    ValueError, TypeError
        As `gram_nc1`.
    """
    G, index = _checked(G, labels)
    present, counts = _classes(index)
    details = {"classes": len(present)}
    if len(present) < 2:
        return Measurement.undefined("nc2", "etf, cosine", "only one class has samples", details)
    centred = _centred_means(G, _averages(index, present, counts))
    squared = centred.diagonal()
    if not bool((squared > _EQUAL * float(G.diagonal().mean().abs())).all()):
        because = "the mean of a class lies at the global mean, so it has no direction"
        return Measurement.undefined("nc2", "etf, cosine", because, details)
    norms = squared.sqrt()
    C = len(present)
    excess = centred / norms / norms[:, None] + 1 / (C - 1)
    excess.fill_diagonal_(0)
    return Measurement(float(excess.square().mean()), "nc2", "etf, cosine", details=details)


def _checked(G: Float[Tensor, "n _"], labels: Integer[Tensor, " n"]) -> tuple[Tensor, Tensor]:
    G = _checks.floating("G", G, ndim=2)
    if G.shape[0] != G.shape[1]:
        raise _checks.bad_value("G", "a square matrix", f"shape {tuple(G.shape)}")
    check_labels(labels, None)
    _checks.same_length("G", len(G), "labels", len(labels))
    return G.detach().double(), labels.to(G.device, torch.int64)


def _classes(index: Tensor) -> tuple[Tensor, Tensor]:
    return torch.unique(index, return_counts=True)


def _position(index: Tensor, present: Tensor) -> Tensor:
    return torch.searchsorted(present, index)


def _averages(index: Tensor, present: Tensor, counts: Tensor) -> Float[Tensor, "k n"]:
    """The matrix that averages over each class."""
    return (index == present[:, None]).double() / counts[:, None]


def _centred_means(G: Float[Tensor, "n n"], average: Float[Tensor, "k n"]) -> Float[Tensor, "k k"]:
    """Gram matrix of μ_c − μ."""
    means = average @ G @ average.mT
    means = means - means.mean(0)
    return means - means.mean(1, keepdim=True)
