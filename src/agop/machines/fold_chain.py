r"""One recursion of an RFM on some rows, judged on others: of every iteration the values of many ridges at the held-out rows."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from agop.kernels import named
from agop.kernels.agop import kernel_agop
from agop.kernels.distance import matrix_dtype, working_dtype
from agop.kernels.gram import fill_kernel_matrix
from agop.linalg.cholesky import cholesky_solve
from agop.machines.chain import Chain
from agop.machines.kernel_ridge import KernelMachine, MachineFit, worthwhile
from agop.machines.metric import MetricRule
from agop.machines.samples import Samples

if TYPE_CHECKING:
    from agop.machines.rfm import _RFM

Judge = Callable[[Float[Tensor, "m c"]], float]
"""A score of values at the held-out rows, larger is better."""

Halt = Callable[[], bool]
"""Whether to stop at the next opportunity."""

PATIENCE = 2
"""Iterations without progress after which a recursion ends."""

PROGRESS = 0.01
"""Progress is a score that is better by this share of what the recursion has gained over its iteration 0, whatever the score's unit."""


@dataclass
class Stage:
    """One iteration: the ridges that were tried, the values of each at the held-out rows (r, m, c), and their scores if it was judged."""

    ridges: tuple[float, ...]
    values: Float[Tensor, "r m c"]
    scores: list[float] = field(default_factory=list)

    def of(self, ridge: float) -> Float[Tensor, "m c"] | None:
        """Values of a ridge, if it was tried and they are finite."""
        if ridge not in self.ridges:
            return None
        found = self.values[self.ridges.index(ridge)]
        return found if bool(torch.isfinite(found).all()) else None


def follow(
    model: _RFM,
    fit: Samples,
    held: Samples,
    dtype: torch.dtype,
    plan: list[tuple[float, ...]],
    *,
    judge: Judge | None,
    halt: Halt,
    grid: tuple[float, ...] | None = None,
) -> list[Stage]:
    r"""The recursion of `model` on the rows of `fit`, up to a Cholesky factorisation a ridge.

    Parameters
    ----------
    model
        An unfitted estimator with the parameters of the recursion, `learning_ridge` among them.
    fit, held
        Samples as they came.
    plan
        The ridges to try at each iteration.
    judge
        Score of values at `held`. With it the plan is open: its first entry is tried, then at each iteration the best ridge and one beside
        it in `grid`, and the recursion ends after two iterations without progress.
    halt
        Whether time is up.
    grid
        All ridges that there are, ascending; None: the first of the plan.

    Returns
    -------
    list of Stage
        As far as it came. A ridge whose system is singular has values NaN.
    """
    samples, at = model._prepared(fit, held, dtype)
    assert at is not None
    kernel = named.make_kernel(
        model.kernel, model.bandwidth, samples.X, samples.weight, factor=model.bandwidth_factor
    )
    MetricRule.of(model).check(kernel, len(plan) - 1)
    moves = (
        model.bandwidth_at == "each" and isinstance(model.kernel, str) and isinstance(model.bandwidth, str)
    )
    d = samples.X.shape[1]
    chain = Chain(kernel, torch.eye(d, dtype=samples.X.dtype, device=samples.X.device), moves=moves)
    stages: list[Stage] = []
    best, since = -float("inf"), 0
    for iteration in range(len(plan)):
        if halt():
            break
        ridges = plan[iteration] if judge is None or not iteration else _near(grid or plan[0], stages)
        learns = iteration + 1 < len(plan)
        values, matrix = _step(model, chain, samples, at, ridges, learns=learns)
        stage = Stage(ridges, values)
        stages.append(stage)
        if judge is not None:
            stage.scores = [
                judge(one) if bool(torch.isfinite(one).all()) else -float("inf") for one in values
            ]
            top = max(stage.scores)
            since = 0 if progressed(top, best, max(stages[0].scores)) else since + 1
            best = max(best, top)
        if matrix is None or since >= PATIENCE:
            break
        chain = Chain(chain.kernel, matrix, iteration + 1, moves=moves)
    return stages


def progressed(score: float, best: float, first: float) -> bool:
    """Whether a score is better than the best one by `PROGRESS` of what that has gained over the first."""
    gained = best - first if math.isfinite(first) else 0.0
    return score > best + PROGRESS * gained


def around(ridge: float, grid: tuple[float, ...]) -> tuple[float, ...]:
    """A ridge of a grid and its neighbours there."""
    place = grid.index(ridge)
    return grid[max(0, place - 1) : place + 2]


def promising(stages: list[Stage]) -> list[tuple[float, ...]]:
    """Of judged stages, up to one beyond that of the best score, the two best ridges each: what is worth being tried on other rows."""
    tops = [max(stage.scores) for stage in stages]
    plan = []
    for stage in stages[: tops.index(max(tops)) + 2]:
        known = sorted(zip(stage.scores, stage.ridges, strict=True), reverse=True)
        plan.append(tuple(sorted(ridge for _, ridge in known[:2])))
    return plan


def _near(grid: tuple[float, ...], stages: list[Stage]) -> tuple[float, ...]:
    """The best ridge of the last stage, and the neighbour in the grid that may be better: one that was not tried, else the better one."""
    last = stages[-1]
    known = dict(zip(last.ridges, last.scores, strict=True))
    centre = max(known, key=known.__getitem__)
    beside = [ridge for ridge in around(centre, grid) if ridge != centre]
    beside.sort(key=lambda ridge: -known.get(ridge, math.inf))
    return tuple(sorted((centre, *beside[:1])))


def _step(
    model: _RFM, chain: Chain, samples: Samples, held: Samples, ridges: tuple[float, ...], *, learns: bool
) -> tuple[Float[Tensor, "r m c"], Float[Tensor, "d d"] | None]:
    """Values of all ridges with the metric of `chain`, and the next matrix (None: there is none)."""
    rule = MetricRule.of(model)
    coordinates, _ = rule.coordinates(chain, samples)
    X, Z = samples.X, held.X
    if chain.iteration:
        X, Z = X @ coordinates, Z @ coordinates
    kernel = chain.kernel_at(model.kernel, X, samples.weight, factor=model.bandwidth_factor)
    n, precision = len(X), model.precision
    points = kernel.points(X, dtype=working_dtype(X.dtype, precision), computed=chain.iteration > 0)
    K = X.new_empty(n, n, dtype=matrix_dtype(X.dtype, precision, n))
    W = torch.empty_like(K) if learns else None
    fill_kernel_matrix(kernel, points, values=K, weights=W)
    beside = kernel.block(points.beside(Z), slice(None), points, K.dtype, weight=False)[0]
    assert beside is not None
    Y, diagonal = samples.Y.to(K.dtype), K.diagonal().clone()
    weight = torch.ones_like(diagonal) if samples.weight is None else samples.weight.to(K.dtype)
    teacher = model._ridge_of_learning
    solutions: dict[float, Tensor] = {}
    for ridge in dict.fromkeys((*ridges, teacher) if learns else ridges):
        K.diagonal().copy_(diagonal + (ridge / weight).clamp_max(1e300))
        factor, info = torch.linalg.cholesky_ex(K)
        singular = bool(info) or not bool((factor.diagonal() > 0).all())
        solutions[ridge] = torch.full_like(Y, torch.nan) if singular else cholesky_solve(factor, Y)
    values = torch.stack([samples.restored(beside @ solutions[ridge]) for ridge in ridges])
    if not learns or not bool(torch.isfinite(solutions[teacher]).all()):
        return values, None
    assert W is not None
    A = solutions[teacher]
    unit = 2.0 ** math.frexp(float(A.abs().max()) or 1.0)[1]
    summed = kernel_agop(
        kernel,
        points,
        A / unit,
        cells=worthwhile(samples.cells, n, A.shape[1]),
        sample_weight=samples.weight,
        center=bool(model.center_gradients),
        weights=W,
    ).matrix
    machine = MachineFit(KernelMachine(kernel, X, A, precision), A, summed * unit**2, {"notes": []})
    matrix = rule.following(machine, samples, coordinates, chain)
    return values, matrix if bool(torch.isfinite(matrix).all()) else None
