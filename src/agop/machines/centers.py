r"""Which rows become the centres of a Nyström fit: at random, spread out, or by how much of the kernel only they explain.

A rule sees a seeded sample of rows, mapped by the metric. Equal rows are one, whose mass is the sum of their weights: so k copies of a row
are one with weight k, and where all rows are candidates their order does not matter. Draws are made with one random key a row, the least
first, so that fewer centres of one seed are among more of them ("random" and "leverage").
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from agop import _checks
from agop.kernels.base import Kernel
from agop.kernels.distance import Points, working_dtype
from agop.machines.names import CENTERS

CANDIDATES = 10
"""Rows a centre that a rule chooses from, if there are so many."""

ALL_BELOW = 20_000
"""Rows up to which all of them are candidates."""

_LANDMARKS = 1000
"""Candidates by which leverage scores are estimated."""

_TRIES = 4
"""Draws of which "kmeans++" takes the one that brings the rest closest."""


def n_candidates(n: int, m: int) -> int:
    """How many rows a rule looks at."""
    return min(n, max(CANDIDATES * m, ALL_BELOW))


def choose_centers(
    kernel: Kernel,
    X: Float[Tensor, "n d"],
    weight: Float[Tensor, " n"] | None,
    m: int,
    *,
    rule: str,
    ridge: float,
    seed: int,
    precision: str = "mixed",
) -> Float[Tensor, "m d"]:
    r"""At most `m` different rows of `X`: all different ones if there are no more.

    Parameters
    ----------
    kernel
        Whose distances and values count.
    X, weight
        Candidates as the metric maps them, and their weights (all positive).
    rule
        "random": each with a chance in proportion to its mass; "kmeans++": the same times the squared distance from those that are chosen
        already (of some draws the best); "leverage": in proportion to mass times ridge leverage score,
        :math:`k(x, x) - k_x^T (K + \mu I)^{-1} k_x`, estimated with 1,000 of the candidates.
    ridge
        Of the leverage scores, for the candidates together.
    """
    _checks.one_of("centers", rule, CENTERS)
    # in the order of their values: what is drawn does not depend on the order of rows
    rows, place = torch.unique(X, dim=0, return_inverse=True)
    if len(rows) <= m:
        return rows
    counts = torch.ones(len(X), dtype=torch.float64, device=X.device) if weight is None else weight.double()
    mass = counts.new_zeros(len(rows)).index_add_(0, place, counts / counts.max())
    generator = torch.Generator().manual_seed(seed % 2**63)
    points = kernel.points(rows, dtype=working_dtype(X.dtype, precision))
    if rule == "kmeans++":
        chosen = _spread_out(points, mass, m, generator)
    elif rule == "leverage":
        chosen = _least(mass * _leverage(kernel, points, rows, mass, ridge, generator), m, generator)
    else:
        chosen = _least(mass, m, generator)
    return rows[chosen]


def _least(chance: Float[Tensor, " n"], m: int, generator: torch.Generator) -> Int[Tensor, " m"]:
    """Draws without replacement, each in proportion to its chance: the least of exponential keys (Efraimidis and Spirakis 2006)."""
    uniform = torch.rand(len(chance), dtype=torch.float64, generator=generator).to(chance.device)
    keys = -uniform.clamp_min(1e-300).log() / chance.clamp_min(1e-300)
    return keys.argsort(stable=True)[:m]


def _spread_out(
    points: Points, mass: Float[Tensor, " n"], m: int, generator: torch.Generator
) -> Int[Tensor, " m"]:
    """k-means++ (Arthur and Vassilvitskii 2007), greedy: of a few draws the one that leaves least."""
    chosen = [int(_least(mass, 1, generator))]
    nearest = points.distances(slice(None), points, slice(chosen[0], chosen[0] + 1)).square_()[:, 0].double()
    values = points.values
    norms = values.double().square().sum(1)
    free = torch.ones_like(mass)
    for _ in range(1, m):
        free[chosen[-1]] = 0
        chance = mass * nearest * free
        upto = chance.cumsum(0)
        if not float(upto[-1]) > 0:  # the rest coincides with what is chosen, to rounding
            upto = (mass * free).cumsum(0)
        draws = torch.rand(_TRIES, dtype=torch.float64, generator=generator).to(mass.device) * upto[-1]
        drawn = torch.searchsorted(upto, draws).clamp_max(len(mass) - 1)
        left = torch.minimum(nearest[:, None], _squared(points, values, norms, drawn))
        best = int((mass @ left).argmin())
        chosen.append(int(drawn[best]))
        nearest = left[:, best].contiguous()
    return torch.tensor(chosen, device=mass.device)


def _squared(
    points: Points, values: Float[Tensor, "n d"], norms: Float[Tensor, " n"], index: Int[Tensor, " k"]
) -> Float[Tensor, "n k"]:
    """Squared distances from a few points: of Euclidean ones by a product, which rounding spoils only where it doesn't matter."""
    if type(points) is Points:
        return (norms[:, None] + norms[index] - 2 * (values @ values[index].mT).double()).clamp_min_(0)
    columns = [points.distances(slice(None), points, slice(int(i), int(i) + 1)) for i in index]
    return torch.cat(columns, 1).double().square_()


def _leverage(
    kernel: Kernel,
    points: Points,
    rows: Float[Tensor, "n d"],
    mass: Float[Tensor, " n"],
    ridge: float,
    generator: torch.Generator,
) -> Float[Tensor, " n"]:
    """Ridge leverage scores up to a factor, from some of the points as landmarks (Rudi et al. 2018, arXiv 1810.13258)."""
    marks = _least(mass, min(len(rows), _LANDMARKS), generator)
    landmarks = points.beside(rows[marks])
    K = kernel.block(landmarks, slice(None), landmarks, torch.float64, weight=False)[0]
    assert K is not None
    diagonal = kernel.diagonal(points, torch.float64)
    # the ridge of all candidates, as the landmarks stand for len(rows) / len(marks) of them each
    shift = max(ridge * len(marks) / len(rows), 1e-10 * float(K.diagonal().max()))
    factor = torch.linalg.cholesky(K + shift * torch.eye(len(K), dtype=K.dtype, device=K.device))
    scores = torch.empty_like(diagonal)
    for start in range(0, len(rows), 2048):
        part = slice(start, min(start + 2048, len(rows)))
        beside = kernel.block(points, part, landmarks, torch.float64, weight=False)[0]
        assert beside is not None
        explained = torch.linalg.solve_triangular(factor, beside.mT, upper=False).square().sum(0)
        scores[part] = diagonal[part] - explained
    return scores.clamp_min(1e-12 * float(diagonal.max()))
