r"""Kernel learning: the kernel matrix that serves a ridge regression of the labels best is the collapsed one.

With one-hot targets :math:`Y` (n, C) and :math:`\mu > 0`, over

.. math:: \mathcal K = \{ k \succeq 0 : k_{ii} \le 1 \}, \qquad \text{minimise } f(k) = \mathrm{tr}\, Y^T (k + \mu I)^{-1} Y .

f is convex. By Cauchy–Schwarz, for each class
:math:`y^T (k+\mu I)^{-1} y \ge (y^T y)^2 / y^T (k + \mu I) y = n_c^2 / (y^T k y + \mu n_c) \ge n_c / (n_c + \mu)`, the last because
:math:`|k_{ij}| \le 1`. Both are equalities for every class only if :math:`k_{ij} = 1` within classes and 0 across them: the collapsed
kernel :math:`k^* = Y Y^T` is the only minimiser, for balanced and for imbalanced classes.

Source: Beaglehole, Súkeník, Mondelli, Belkin 2024 (arXiv 2402.13728), the kernel learning theorem (there for balanced classes).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Integer
from torch import Tensor

from agop import _checks
from agop.collapse.moments import check_labels, check_size
from agop.linalg.psd import eigh_descending
from agop.linalg.ridge import RidgeFactor

_SHRINK, _GROW = 0.5, 1.5
_SMALLEST_STEP = 1e-12


def one_hot(labels: Integer[Tensor, " n"], n_classes: int | None = None) -> Float[Tensor, "n c"]:
    """Targets 0 and 1, float64; a column per class, also for absent ones."""
    n_classes = check_labels(labels, n_classes)
    check_size(n_classes, max(1, len(labels)))
    return torch.nn.functional.one_hot(labels.long(), n_classes).double()


def collapsed_kernel(labels: Integer[Tensor, " n"]) -> Float[Tensor, "n n"]:
    """:math:`k^*`: 1 for two samples of one class, 0 otherwise; float64."""
    check_labels(labels, None)
    return (labels[:, None] == labels).double()


def lower_bound(labels: Integer[Tensor, " n"], mu: float | int) -> float:
    r""":math:`\sum_c n_c / (n_c + \mu)` over the classes that have samples: the value of f at :math:`k^*`, and of no other kernel."""
    mu = _checks.real("mu", mu, above=0)
    check_labels(labels, None)
    counts = torch.bincount(labels.long()).double()
    return float((counts / (counts + mu)).sum())


def objective(k: Float[Tensor, "n n"], Y: Float[Tensor, "n c"], mu: float | int) -> float:
    r""":math:`\mathrm{tr}\, Y^T (k + \mu I)^{-1} Y`, a sum over outputs.

    Raises
    ------
    SingularSystemError
        If :math:`k + \mu I` is not positive definite.
    """
    return float((Y * RidgeFactor.of(k, _checks.real("mu", mu, above=0)).solve(Y)).sum())


def objective_gradient(
    k: Float[Tensor, "n n"], Y: Float[Tensor, "n c"], mu: float | int
) -> tuple[float, Float[Tensor, "n n"]]:
    r"""The value of f and its gradient :math:`-(k + \mu I)^{-1} Y Y^T (k + \mu I)^{-1}`."""
    A = RidgeFactor.of(k, _checks.real("mu", mu, above=0)).solve(Y)
    return float((Y * A).sum()), -(A @ A.mT)


@dataclass(frozen=True, eq=False)
class Projection:
    """The nearest point of 𝒦, how many rounds it took, and the distance of the two projections' diagonals at the end."""

    matrix: Float[Tensor, "n n"]
    rounds: int
    residual: float


def project(S: Float[Tensor, "n _"], *, tolerance: float = 1e-8, max_rounds: int = 500) -> Projection:
    r"""The nearest matrix, in Frobenius norm, that is PSD with diagonal at most 1: Dykstra's alternating projections.

    Projections onto the PSD cone (eigenvalues clipped at 0) and onto the diagonal's half-spaces alternate, each with its correction
    (Boyle and Dykstra 1986; Higham 2002 for correlation matrices; only the cone needs one here that is kept as a matrix). At the end rows
    and columns whose diagonal is still above 1 are scaled to 1, so that the result is feasible exactly.

    Raises
    ------
    ValueError
        If S is not a square finite matrix.
    """
    S = _checks.floating("S", S, ndim=2)
    if S.shape[0] != S.shape[1]:
        raise _checks.bad_value("S", "a square matrix", f"shape {tuple(S.shape)}")
    current = (S + S.mT).double() / 2
    cone_part = torch.zeros_like(current)
    diagonal_part = current.new_zeros(len(S))
    rounds, residual = 0, float("inf")
    psd = current
    while rounds < max_rounds and residual > tolerance:
        rounds += 1
        wanted = current - cone_part
        psd = _clipped(wanted)
        cone_part = psd - wanted
        diagonal = psd.diagonal() - diagonal_part
        capped = diagonal.clamp_max(1)
        diagonal_part = capped - diagonal
        residual = float((psd.diagonal() - capped).abs().max())
        current = psd.clone()
        current.diagonal().copy_(capped)
    scale = psd.diagonal().clamp_min(1).rsqrt()
    return Projection(psd * scale * scale[:, None], rounds, residual)


def _clipped(S: Float[Tensor, "n n"]) -> Float[Tensor, "n n"]:
    values, vectors = eigh_descending(S)
    kept = int((values > 0).sum())
    return (vectors[:, :kept] * values[:kept]) @ vectors[:, :kept].mT


@dataclass(frozen=True, eq=False)
class LearnedKernel:
    r"""The kernel at the end, and one entry per accepted step in each list (the first is the start).

    `values` are those of f, `gaps` their relative distance to the lower bound, `distances`
    :math:`\|k - k^*\|_F / \|k^*\|_F`. `converged` says whether the gap reached the tolerance.
    """

    kernel: Float[Tensor, "n n"]
    values: list[float]
    gaps: list[float]
    distances: list[float]
    converged: bool


def learn_kernel(
    start: Float[Tensor, "n _"],
    labels: Integer[Tensor, " n"],
    mu: float | int,
    *,
    tolerance: float = 1e-6,
    max_steps: int = 2000,
    callback: Callable[[int, float], None] | None = None,
) -> LearnedKernel:
    r"""Minimise f over 𝒦 by accelerated projected gradient from `start`, which is projected onto 𝒦 first.

    The step is found by backtracking on the quadratic upper bound; momentum is dropped whenever f would rise (O'Donoghue and Candès 2015),
    so `values` never rise. It stops when f is within `tolerance` of the lower bound, relatively: f is convex and the bound is attained,
    so this is a certificate, not a guess.

    Parameters
    ----------
    start
        For example a data kernel :math:`k(x_i, x_j)` of the samples.
    labels
        Classes of the samples.
    mu
        The ridge, > 0.
    max_steps
        Accepted steps at most; each costs an eigendecomposition per round of the projection.
    callback
        Called with (step, relative gap).
    """
    mu = _checks.real("mu", mu, above=0)
    tolerance = _checks.real("tolerance", tolerance, above=0)
    best, target = lower_bound(labels, mu), collapsed_kernel(labels)
    _checks.same_length("labels", len(labels), "start", len(start))
    Y = one_hot(labels)
    k = project(start).matrix
    value = objective(k, Y, mu)
    values = [value]
    distances = [_distance(k, target)]
    ahead, momentum, step = k, 1.0, mu
    while (value - best) / best > tolerance and len(values) <= max_steps:
        there, slope = objective_gradient(ahead, Y, mu)
        new, new_value, step = _descend(ahead, there, slope, Y, mu, step)
        if new_value > value:
            if momentum == 1.0:
                break  # a plain step no longer helps: rounding is reached
            ahead, momentum = k, 1.0
            continue
        following = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        # the extrapolated point may leave the cone; f needs only that it stays above -mu, and projecting is safe
        ahead = project(new + (momentum - 1) / following * (new - k)).matrix if momentum > 1 else new
        k, value, momentum, step = new, new_value, following, step * _GROW
        values.append(value)
        distances.append(_distance(k, target))
        if callback is not None:
            callback(len(values) - 1, (value - best) / best)
    gaps = [(entry - best) / best for entry in values]
    return LearnedKernel(k, values, gaps, distances, gaps[-1] <= tolerance)


def _descend(
    at: Float[Tensor, "n n"],
    value: float,
    slope: Float[Tensor, "n n"],
    Y: Float[Tensor, "n c"],
    mu: float,
    step: float,
) -> tuple[Float[Tensor, "n n"], float, float]:
    """One projected gradient step that stays under its quadratic upper bound; the point, its value, the step size."""
    while True:
        new = project(at - step * slope).matrix
        move = new - at
        new_value = objective(new, Y, mu)
        bound = value + float((slope * move).sum()) + float(move.square().sum()) / (2 * step)
        if new_value <= bound + 1e-14 * abs(value) or step < _SMALLEST_STEP:
            return new, new_value, step
        step *= _SHRINK


def _distance(k: Float[Tensor, "n n"], target: Float[Tensor, "n n"]) -> float:
    return float((k - target).norm() / target.norm())
