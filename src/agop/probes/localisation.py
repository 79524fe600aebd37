"""Are the rows of a matrix local? Inverse participation ratio, position and width on a ring or torus, and how evenly positions tile it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from agop import _checks
from agop.evidence import Evidence
from agop.linalg.psd import eigh_descending
from agop.measurement import Measurement
from agop.probe import Probe


def inverse_participation_ratio(rows: Float[Tensor, "k d"]) -> Float[Tensor, " k"]:
    r"""How concentrated each row is on few entries: :math:`\sum_i w_i^4 / (\sum_i w_i^2)^2`, in [1/d, 1].

    1 for a single entry, 1/m for m equal ones, 1.5/d for a cosine, 3/(d + 2) on average for a Gaussian row. It does not depend on the
    scale of a row, and on permutations and signs of entries; it does depend on the basis.

    Parameters
    ----------
    rows
        Finite.

    Returns
    -------
    (k,)
        In float64; NaN for a row of zeros.

    Raises
    ------
    ValueError, TypeError
        If rows is no finite matrix with columns.

    Notes
    -----
    Ingrosso and Goldt 2022 (PNAS; arXiv 2202.00565). Their code's function of this name returns the inverse of it.

    Examples
    --------
    >>> inverse_participation_ratio(torch.tensor([[0.0, 2.0, 0.0, 0.0], [1.0, -1.0, 1.0, 1.0]])).tolist()
    [1.0, 0.25]
    """
    squares = _shares(rows)
    return squares.square().sum(1)


def _shares(rows: Float[Tensor, "k d"]) -> Float[Tensor, "k d"]:
    """Squares of the entries as shares of each row's sum."""
    w = _checks.floating("rows", rows, ndim=2).detach().double()
    if not w.shape[1]:
        raise _checks.bad_value("rows", "at least one column", f"shape {tuple(rows.shape)}")
    w = w / w.abs().amax(1, keepdim=True)  # squares of huge or tiny entries would overflow or vanish
    squares = w.square()
    return squares / squares.sum(1, keepdim=True)


@dataclass(frozen=True, eq=False)
class Localisation:
    """Where the rows of a matrix lie on a ring or torus of pixels; made by `localisation`.

    Attributes
    ----------
    ipr : (k,)
        Inverse participation ratios.
    position : (k, axes)
        Circular mean of the squares of a row, in pixels.
    width : (k,)
        Circular standard deviation of the squares, in pixels; of a torus the root of the sum of squares of both axes. Infinite where they
        are spread evenly.
    tiling
        Entropy of the positions in k boxes (of the first axis) over that of even ones: 1 if every box has one, 0 if all lie in one.
    """

    ipr: Float[Tensor, " k"]
    position: Float[Tensor, "k a"]
    width: Float[Tensor, " k"]
    tiling: float


def localisation(rows: Float[Tensor, "k d"], axes: int = 1) -> Localisation:
    """Inverse participation ratio, position, width and tiling of rows over the pixels of a ring (`axes` 1) or a square torus (2).

    Parameters
    ----------
    rows
        Weights of k units, or k eigenvectors of an AGOP, over d pixels; of a torus row by row.

    Raises
    ------
    ValueError, TypeError
        If rows is no finite matrix without rows of zeros, or d is no square where `axes` is 2.
    """
    _checks.one_of("axes", axes, (1, 2))
    shares = _shares(rows)
    if not bool(torch.isfinite(shares).all()):
        raise _checks.bad_value("rows", "rows that are not all zero", "a row of zeros", "leave it out")
    side = _side(shares.shape[1], axes)
    turns = torch.exp(2j * math.pi * torch.arange(side, dtype=torch.float64, device=shares.device) / side)
    along = [shares] if axes == 1 else [shares.reshape(-1, side, side).sum(other) for other in (2, 1)]
    means = torch.stack([share.to(turns.dtype) @ turns for share in along], 1)
    position = torch.remainder(means.angle() / (2 * math.pi) * side, side)
    spread = (-2 * means.abs().clamp(max=1).log()).clamp(min=0).sum(1).sqrt() * side / (2 * math.pi)
    return Localisation(shares.square().sum(1), position, spread, _tiling(position[:, 0], side))


def _side(d: int, axes: int) -> int:
    side = d if axes == 1 else math.isqrt(d)
    if side**axes != d:
        raise _checks.bad_value("rows", "a square number of columns, row by row", f"{d}", "pass axes=1")
    return side


def _tiling(position: Float[Tensor, " k"], side: int) -> float:
    k = len(position)
    if k < 2:
        return 1.0
    boxes = torch.bincount((position * k / side + 0.5).long() % k, minlength=k).double() / k
    there = boxes[boxes > 0]
    return float(-(there * there.log()).sum() / math.log(k))


def band_energy(M: Float[Tensor, "d d"], radius: float | int, axes: int = 1) -> Measurement:
    r"""Share of a matrix's off-diagonal energy at distances up to `radius`: :math:`\sum_{0 < |i - j| \le r} M_{ij}^2 / \sum_{i \ne j}
    M_{ij}^2`.

    Distances are periodic, on a ring or a square torus (Euclidean) of pixels. Unlike eigenvectors it does not depend on a choice of basis
    where eigenvalues are equal, as those of any shift-invariant matrix are in pairs.

    Raises
    ------
    ValueError, TypeError
        If M is no finite square matrix, or the radius is not above 0.
    """
    m = _checks.floating("M", M, ndim=2).detach().double()
    if m.shape[0] != m.shape[1] or len(m) < 2:
        raise _checks.bad_value("M", "a square matrix of two rows or more", f"shape {tuple(M.shape)}")
    radius = _checks.real("radius", radius, above=0)
    _checks.one_of("axes", axes, (1, 2))
    side = _side(len(m), axes)
    places = torch.arange(len(m), device=m.device)
    distance = torch.zeros_like(m)
    for axis in (places % side, places // side)[:axes]:
        steps = (axis[:, None] - axis).abs()
        distance += torch.minimum(steps, side - steps).double().square()
    squares = (m / m.abs().max()).square() if bool(m.any()) else m
    off = squares.sum() - squares.diagonal().sum()
    definition = f"off-diagonal, distance <= {radius:g}"
    if not float(off) > 0:
        return Measurement.undefined("band_energy", definition, "the matrix is diagonal")
    near = squares[(distance > 0) & (distance <= radius**2)].sum()
    return Measurement(float(near / off), "band_energy", definition)


def eigenvector_localisation(
    M: Float[Tensor, "d d"], k: int = 1, *, least_gap: float | int = 1e-6
) -> Measurement:
    """Mean inverse participation ratio of the top k eigenvectors of a symmetric matrix, such as an AGOP.

    Undefined where two of the k + 1 largest eigenvalues lie within `least_gap` (relative to the largest): their eigenvectors are then one
    choice of many. So it is for every matrix that is invariant under shifts: Fourier modes come in pairs. See `band_energy` for what does
    not depend on the choice.

    Raises
    ------
    ValueError, TypeError
        If M is not finite and symmetric, or k not below its size.
    """
    m = _checks.floating("M", M, ndim=2).detach().double()
    if m.shape[0] != m.shape[1]:
        raise _checks.bad_value("M", "a square matrix", f"shape {tuple(M.shape)}")
    k = _checks.integer("k", k, at_least=1)
    if k > len(m):
        raise _checks.bad_value("k", f"at most the {len(m)} eigenvectors there are", str(k))
    gap = _checks.real("least_gap", least_gap, at_least=0)
    values, vectors = eigh_descending(m)
    definition = f"mean IPR of {k} eigenvectors"
    if not float(values[0]) > 0:
        return Measurement.undefined("eigenvector_ipr", definition, "no eigenvalue is positive")
    gaps = -values[: k + 1].diff() / values[0]
    smallest = float(gaps.min()) if len(gaps) else math.inf
    details = {"smallest_gap": smallest}
    if smallest <= gap:
        reason = "eigenvalues coincide, and eigenvectors among theirs are one choice of many"
        return Measurement.undefined("eigenvector_ipr", definition, reason, details)
    each = inverse_participation_ratio(vectors[:, :k].mT)
    return Measurement(float(each.mean()), "eigenvector_ipr", definition, details=details)


def _of_evidence(e: Evidence) -> Measurement:
    each = inverse_participation_ratio(e.weight)
    there = each[torch.isfinite(each)]
    definition = "mean over units"
    if not len(there):
        return Measurement.undefined("ipr", definition, "all weights are zero")
    d = e.weight.shape[1]
    details = {"gaussian": 3 / (d + 2), "largest": float(there.max()), "units": len(there)}
    return Measurement(float(there.mean()), "ipr", definition, details=details)


IPR = Probe(
    name="ipr",
    label="inverse participation ratio",
    short="IPR",
    measure=_of_evidence,
    level="layer",
    needs=("weight",),
    meaning="how local the weights of a unit are: 3/(d + 2) for Gaussian ones, 1 for a single input",
    scale="log",
    range="[1/d, 1]",
    formula="mean_k Σ_i w_ki⁴ / (Σ_i w_ki²)²",
    source="Ingrosso, Goldt 2022 (arXiv 2202.00565)",
    invariant=("order", "labels", "shift", "scale", "batches"),
)
