r"""Solving :math:`(K + \mu\,\mathrm{diag}(1/w))\,A = Y`, directly or iteratively: a solver is chosen, nothing else changes."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field, replace
from math import log
from typing import Any

import torch
from jaxtyping import Float
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor

from agop.kernels.base import Kernel
from agop.kernels.distance import Points
from agop.kernels.gram import fill_kernel_matrix
from agop.kernels.operator import KernelOperator, single_precision_suffices
from agop.linalg.conjugate_gradients import Product, Solution, conjugate_gradients
from agop.linalg.pivoted_cholesky import pivoted_cholesky
from agop.linalg.preconditioner import LowRankPreconditioner
from agop.linalg.ridge import RidgeFactor, SingularSystemError
from agop.machines.generalised import judged
from agop.machines.memory import default_rank
from agop.machines.progress import StepHook
from agop.machines.solver import Solver
from agop.ranks import current


@dataclass(frozen=True, eq=False)
class System:
    r"""The system :math:`(K + \mu\,\mathrm{diag}(1/w))\,A = Y`; `points` are the rows of `X`, prepared for distances.

    `dtype` is that of K, its factor and the coefficients.
    """

    kernel: Kernel
    X: Float[Tensor, "n d"]
    points: Points
    Y: Float[Tensor, "n c"]
    ridge: float
    sample_weight: Float[Tensor, " n"] | None
    dtype: torch.dtype

    @property
    def damping(self) -> Float[Tensor, " n"]:
        """The diagonal that is added to K, in float64; at most 1e300, where the weight counts for nothing."""
        if self.sample_weight is None:
            return self.X.new_full((len(self.X),), self.ridge, dtype=torch.float64)
        return (self.ridge / self.sample_weight.double()).clamp_max(1e300)


@dataclass(frozen=True, eq=False)
class Solved:
    """Coefficients, values on the training points, and how they were computed."""

    coefficients: Float[Tensor, "n c"]
    fitted: Float[Tensor, "n c"]
    report: dict[str, Any] = field(default_factory=dict)


def solve_direct(system: System, weights: Float[Tensor, "n n"] | None, tell: StepHook) -> Solved:
    """By Cholesky factorisation of the whole matrix; `weights` is filled with the gradient weights, which share the distances."""
    X, notes = system.X, []
    if system.ridge == 0:
        _refuse_duplicates(X)
    try:
        factor = _factor(system, weights, system.dtype, tell)
    except SingularSystemError:
        if system.points.values.dtype == system.dtype:
            raise
        factor = _factor(system, None, torch.float64, tell)
        notes.append(f"the ridge system is singular in {str(system.dtype)[6:]}: it was solved in float64")
    Y, damping = system.Y.to(factor.lower.dtype), system.damping[:, None]
    root = _equilibrium(system)

    def solve(Y: Float[Tensor, "n c"]) -> Float[Tensor, "n c"]:
        return factor.solve(Y) if root is None else root * factor.solve((root * Y).to(Y.dtype)).double()

    A = solve(Y)
    fitted = Y - damping.to(A.dtype) * A
    report = {"solve_dtype": str(Y.dtype)[6:], "pivot_ratio": factor.pivot_ratio, "notes": notes}
    report |= judged(Y, damping * A, damping, solve, system.sample_weight)
    tell("solve", 1.0)
    return Solved(A if root is not None else A.to(system.dtype), fitted.to(X.dtype), report)


def solve_cg(
    system: System,
    precision: str,
    solver: Solver,
    initial: Float[Tensor, "n c"] | None,
    tell: StepHook,
) -> Solved:
    """By conjugate gradients; of K only those tiles are stored that memory allows.

    "mixed" precision: residuals in float64, iterations in float32, unless rounding keeps these from the tolerance: then
    in float64 too. "native": everything in the dtype of `X`.
    """
    X, points, damping, ranks = system.X, system.points, system.damping, current()
    keep, native = solver.keep_bytes, precision == "native"
    exact = KernelOperator(
        system.kernel, X, points, points.values.dtype, ranks=ranks, keep_bytes=keep if native else 0
    )
    wide = float(damping.max()) > _LARGE
    fast = exact if native or wide else _in_single_precision(exact, X, keep)
    rank = default_rank(len(X)) if solver.max_rank is None else solver.max_rank
    partial = pivoted_cholesky(
        fast,
        rank,
        generator=torch.Generator().manual_seed(solver.seed),
        target=0.1 * float(damping.mean()),
        ranks=ranks,
    )
    tell("kernel", 1.0)
    # what the low-rank part leaves is nearly a multiple of the identity: its mean is a better D than the ridge alone; and below
    # the rounding of the factor nothing is known
    rounding = torch.finfo(fast.dtype).eps * float(fast.diagonal().max())
    D = damping + partial.residual.mean().clamp_min(4 * rounding)
    C = LowRankPreconditioner.of(partial.factor, D, ranks=ranks)
    tell("factor", 1.0)
    solution, notes = _iterate(fast, exact, damping, system.Y, C, solver, initial, tell)
    tell("solve", 1.0)
    fitted = system.Y.to(damping) - damping[:, None] * solution.X - solution.residual
    report = {
        "solve_dtype": str(exact.dtype)[6:],
        "preconditioner_rank": C.rank,
        "kept": fast.kept,
        "tolerance": solver.tolerance,
        "iterations": solution.iterations,
        "residual_checks": solution.checks,
        "residuals": solution.relative.tolist(),
        "converged": solution.converged,
        "notes": notes,
    }
    return Solved(solution.X.to(system.dtype), fitted.to(X.dtype), report)


def _in_single_precision(exact: KernelOperator, X: Float[Tensor, "n d"], keep_bytes: int) -> KernelOperator:
    """The same matrix in float32: distances too, unless so many points are near each other that this is the slower way."""
    kernel, points = exact.kernel, exact.points
    suffices = torch.tensor(int(single_precision_suffices(points)), device=X.device)
    if bool(exact.ranks.from_main(suffices, same_shape=True)):
        points = kernel.points(X, dtype=torch.float32)
    return KernelOperator(kernel, X, points, torch.float32, ranks=exact.ranks, keep_bytes=keep_bytes)


def _iterate(
    fast: KernelOperator,
    exact: KernelOperator,
    damping: Float[Tensor, " n"],
    Y: Float[Tensor, "n c"],
    C: LowRankPreconditioner,
    solver: Solver,
    initial: Float[Tensor, "n c"] | None,
    tell: StepHook,
) -> tuple[Solution, list[str]]:
    notes: list[str] = []

    def hear(iteration: int, residual: float) -> None:
        tell("solve", min(1.0, max(0.0, log(max(residual, 1e-300)) / log(solver.tolerance))))

    def solve(product: Product, C: LowRankPreconditioner, initial: Tensor | None, left: int) -> Solution:
        return conjugate_gradients(
            product,
            Y.to(exact.dtype),
            C,
            exact=_damped(exact, damping),
            tolerance=solver.tolerance,
            max_iter=left,
            initial=initial,
            on_iteration=hear,
            ranks=exact.ranks,
        )

    solution = solve(_damped(fast, damping), C, initial, solver.max_iter)
    if solution.reason == "rounding" and fast.dtype != exact.dtype and solution.iterations < solver.max_iter:
        notes.append(f"rounding stopped the iteration in {str(fast.dtype)[6:]}: it went on in float64")
        before = solution
        left = solver.max_iter - before.iterations
        solution = solve(_damped(exact, damping), C.to(exact.dtype), before.X, left)
        solution = replace(
            solution,
            iterations=solution.iterations + before.iterations,
            checks=solution.checks + before.checks,
        )
    if not solution.converged:
        notes.append(_not_converged(solution, solver))
        if exact.ranks.is_main:
            warnings.warn(notes[-1], ConvergenceWarning, stacklevel=2)
    return solution, notes


def _not_converged(solution: Solution, solver: Solver) -> str:
    why, remedy = f"after {solution.iterations} iterations", "raise max_cg_iter or max_rank"
    if solution.reason == "rounding":
        why, remedy = "because rounding hides the rest", "raise ridge or tolerance, or use precision='mixed'"
    return (
        f"solver='cg' stopped at a relative residual of {float(solution.relative.max()):.2g} "
        f"(tolerance {solver.tolerance:.2g}) {why}; {remedy}."
    )


def _damped(operator: KernelOperator, damping: Float[Tensor, " n"]) -> Product:
    """V ↦ (K + D) V."""
    column = damping.to(operator.dtype)[:, None]
    return lambda V: (operator @ V).addcmul_(column, V)


_LARGE = 1e6
"""A damping beyond which the system is solved with a diagonal of one: its pivots, and single precision, would tell nothing of K."""


def _equilibrium(system: System) -> Float[Tensor, "n 1"] | None:
    """Roots s (float64) that make the diagonal of s (K + D) s one, if D = μ/w is large; else None."""
    if float(system.damping.max()) <= _LARGE:
        return None
    diagonal = system.kernel.diagonal(system.points, torch.float64)
    return (diagonal + system.damping).rsqrt()[:, None]


def _refuse_duplicates(X: Float[Tensor, "n d"]) -> None:
    distinct = len(torch.unique(X, dim=0))
    if distinct < len(X):
        raise SingularSystemError(
            f"ridge: expected ridge > 0 where rows of X are duplicated (K is singular), got ridge=0 with {len(X) - distinct} "
            f"duplicates among {len(X)} rows; remove them or set ridge to 1e-6 or more."
        )


def _factor(
    system: System, weights: Float[Tensor, "n n"] | None, dtype: torch.dtype, tell: StepHook
) -> RidgeFactor:
    points = system.points
    K = points.values.new_empty(len(points), len(points), dtype=dtype)
    fill_kernel_matrix(
        system.kernel, points, values=K, weights=weights, on_share=lambda share: tell("kernel", share)
    )
    root = _equilibrium(system)
    if root is not None:
        short = root.to(dtype)
        K.mul_(short).mul_(short.mT).diagonal().add_((root.square() * system.damping[:, None])[:, 0])
        return RidgeFactor.of(K, 0, overwrite=True)
    # the share of the n³/3 operations that lie behind a row
    return RidgeFactor.of(
        K,
        system.ridge,
        weight=system.sample_weight,
        overwrite=True,
        on_block=lambda done, n: tell("factor", 1 - (1 - done / n) ** 3),
    )
