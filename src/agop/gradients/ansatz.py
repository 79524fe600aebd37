"""The neural feature ansatz: is what a layer's weights keep a power of what the model looks at there?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from scipy.optimize import minimize_scalar
from torch import Tensor, nn

from agop import _checks
from agop.gradients.reads import read_matrix
from agop.linalg.compare import matrix_correlation
from agop.linalg.psd import eigh_descending, psd_power


def nfm(layer: nn.Module) -> Float[Tensor, "d d"]:
    r"""Neural feature matrix :math:`W^T W` (d, d) of a layer, W the matrix (k, d) that multiplies what the
    layer reads.

    For a convolution W is the flattened kernel, so that d is the length of a patch (groups are summed); for
    attention the stacked query, key and value projections; for a recurrent layer the input weights of its
    first layer. It compares with the layer's entry in `layer_agops`; for any layer `W = layer_agops(…).weights[name]`
    is what multiplies, and WᵀW its NFM.

    Parameters
    ----------
    layer
        Linear, Conv1d/2d/3d, transposed convolution, MultiheadAttention, RNN, GRU, LSTM, or any module whose
        `weight` is (k, d…).

    Returns
    -------
    Tensor
        In the dtype of the weights, at least float32, without a graph.

    Raises
    ------
    TypeError
        If the layer has no such matrix.

    Notes
    -----
    Radhakrishnan et al. 2024 (arXiv 2212.13881); Beaglehole et al. 2024 (arXiv 2402.13728).

    Examples
    --------
    >>> nfm(nn.Conv2d(3, 8, kernel_size=5)).shape
    torch.Size([75, 75])

    """
    if not isinstance(layer, nn.Module):
        raise _checks.bad_type("layer", "a torch module with a weight", type(layer).__name__)
    weight = read_matrix(layer)
    weight = weight.to(torch.promote_types(weight.dtype, torch.float32))
    return weight.mT @ weight


def nfa(
    nfm_or_view: Any, agop: Tensor | None = None, *, power: float | int = 0.5, centered: bool = True
) -> float:
    r"""Neural feature ansatz: correlation of the NFM with the AGOP to the power α,

    .. math:: \rho = \mathrm{corr}\bigl(W^T W,\ \mathrm{AGOP}^\alpha\bigr),

    of the matrices read as vectors of their entries.

    Parameters
    ----------
    nfm_or_view
        The NFM (d, d) – or, without `agop`, a `LayerView` or anything with the attributes `feature_matrix`
        and `agop`.
    agop
        The AGOP (d, d) of the same layer.
    power
        α, 1/2 in the paper's figures.
    centered
        Pearson correlation (the paper), or the uncentred cosine.

    Returns
    -------
    float
        In [-1, 1]; NaN if one of the matrices is constant.

    Raises
    ------
    ValueError
        If a view lacks one of the matrices, shapes differ, or the AGOP is not positive semi-definite.

    Notes
    -----
    Beaglehole et al. 2024 (arXiv 2402.13728), Section 5; α = 1 in Radhakrishnan et al. 2024 (arXiv
    2212.13881).

    Examples
    --------
    >>> A = torch.diag(torch.tensor([4.0, 9.0, 1.0]))
    >>> round(nfa(torch.diag(torch.tensor([2.0, 3.0, 1.0])), A), 6)
    1.0

    """
    feature_matrix, gradients = _pair(nfm_or_view, agop)
    return matrix_correlation(feature_matrix, psd_power(gradients, power).matrix, centered=centered)


def nfa_of_weight(
    weight: Float[Tensor, "k d"], agop: Float[Tensor, "d d"], *, power: float | int = 0.5
) -> float:
    r"""`nfa` of a wide layer from its weight W, in the few dimensions in which both matrices live; the same number.

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


@dataclass(frozen=True)
class PowerFit:
    """The power at which NFM and AGOP agree best: `power`, its `correlation`, and the curve behind it."""

    power: float
    correlation: float
    powers: tuple[float, ...]
    correlations: tuple[float, ...]


def nfa_best_power(
    nfm_or_view: Any,
    agop: Tensor | None = None,
    *,
    between: tuple[float, float] = (0.1, 1.5),
    centered: bool = True,
) -> PowerFit:
    r"""The α in an interval for which :math:`\mathrm{corr}(W^T W, \mathrm{AGOP}^\alpha)` is largest.

    One eigendecomposition :math:`V\Lambda V^T` of the AGOP gives the correlation for every α in O(d)
    operations, because :math:`\langle W^TW, V\Lambda^\alpha V^T\rangle = \sum_i \lambda_i^\alpha\, v_i^T W^T
    W v_i`. A grid of 57 powers (the curve) is refined around its best point.

    Parameters
    ----------
    nfm_or_view, agop, centered
        As in `nfa`.
    between
        The interval of α.

    Returns
    -------
    PowerFit
        `power`, `correlation`, and the curve `powers`, `correlations`. NaN where a matrix is constant.

    Raises
    ------
    ValueError
        As in `nfa`, or if the interval is empty or not positive.

    Examples
    --------
    >>> A = torch.diag(torch.tensor([4.0, 9.0, 1.0]))
    >>> round(nfa_best_power(torch.diag(torch.tensor([8.0, 27.0, 1.0])), A).power, 3)
    1.5

    """
    if not isinstance(between, tuple | list) or len(between) != 2:
        raise _checks.bad_value("between", "two powers, (lowest, highest)", repr(between))
    low = _checks.real("between", between[0], above=0.0)
    high = _checks.real("between", between[1], above=low)
    feature_matrix, gradients = _pair(nfm_or_view, agop)
    correlation = _correlation_curve(feature_matrix, gradients, centered)
    powers = torch.linspace(low, high, 57, dtype=torch.float64).tolist()
    curve = [correlation(power) for power in powers]
    best = max(range(len(powers)), key=lambda index: (curve[index] == curve[index], curve[index]))
    bounds = (powers[max(best - 1, 0)], powers[min(best + 1, len(powers) - 1)])
    found = minimize_scalar(lambda power: -correlation(power), bounds=bounds, method="bounded")
    candidates = [(curve[best], powers[best]), (correlation(float(found.x)), float(found.x))]
    value, power = max(candidates, key=lambda pair: (pair[0] == pair[0], pair[0]))
    return PowerFit(power, value, tuple(powers), tuple(curve))


def _correlation_curve(feature_matrix: Tensor, gradients: Tensor, centered: bool) -> Any:
    values, vectors = eigh_descending(gradients)
    kept = values > gradients.shape[0] * torch.finfo(gradients.dtype).eps * values[0].clamp_min(0)
    values, vectors = values[kept], vectors[:, kept]
    # neither matrix's scale changes a correlation
    values = values / values[:1]
    other = feature_matrix.to(vectors.device).double()
    other = other / other.abs().max().clamp_min(1e-300)
    d = float(other.shape[0])
    along = (vectors * (other @ vectors)).sum(0)
    ones = vectors.sum(0).square()
    shift = other.mean() if centered else torch.zeros((), dtype=torch.float64)
    other_norm = (other - shift).norm()

    def correlation(power: float) -> float:
        spectrum = values.pow(power)
        mean = (spectrum * ones).sum() / d**2 if centered else torch.zeros((), dtype=torch.float64)
        norm = (spectrum.square().sum() - d**2 * mean.square()).clamp_min(0).sqrt()
        if float(norm * other_norm) <= d**2 * 1e-30:
            return float("nan")
        return float(((spectrum * along).sum() - d**2 * mean * shift) / (norm * other_norm))

    return correlation


def _pair(nfm_or_view: Any, agop: Tensor | None) -> tuple[Tensor, Tensor]:
    """Two square matrices of one shape: those that were passed, or those of a view."""
    if isinstance(nfm_or_view, Tensor):
        if agop is None:
            raise _checks.bad_value(
                "agop", "the AGOP that belongs to the NFM", "None", "pass both, or a LayerView"
            )
        matrices = nfm_or_view, agop
    elif hasattr(nfm_or_view, "feature_matrix") and hasattr(nfm_or_view, "agop"):
        matrices = nfm_or_view.feature_matrix, nfm_or_view.agop if agop is None else agop
    else:
        raise _checks.bad_type(
            "nfm_or_view", "a matrix or an object with feature_matrix and agop", type(nfm_or_view).__name__
        )
    for name, matrix in zip(("feature_matrix", "agop"), matrices):
        if matrix is None:
            label = getattr(nfm_or_view, "name", "")
            raise _checks.bad_value("nfm_or_view", f"a view with its {name}", f"view {label!r} without one")
    for name, matrix in zip(("nfm_or_view", "agop"), matrices):
        _checks.floating(name, matrix, ndim=2)
        if matrix.shape != (len(matrices[0]), len(matrices[0])) or not len(matrix):
            raise _checks.bad_value(name, "two square matrices of one shape", f"shape {tuple(matrix.shape)}")
    return matrices
