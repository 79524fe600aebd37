r"""Solving :math:`(K + \mu\,\mathrm{diag}(1/w))\,A = Y`, directly or iteratively: a solver is chosen, nothing else changes."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import log
from typing import Any

import torch
from jaxtyping import Float
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor

from agop import _checks
from agop.kernels.base import Kernel
from agop.kernels.distance import Points
from agop.kernels.gram import fill_kernel_matrix
from agop.kernels.operator import KernelOperator, single_precision_suffices
from agop.linalg.conjugate_gradients import Product, Solution, conjugate_gradients
from agop.linalg.pivoted_cholesky import pivoted_cholesky
from agop.linalg.preconditioner import LowRankPreconditioner
from agop.linalg.ridge import RidgeFactor, SingularSystemError
from agop.machines.memory import MemoryEstimate, available_memory, check_fits, default_rank, human
from agop.ranks import Ranks, current

SOLVERS = ("auto", "cholesky", "cg")

StepHook = Callable[[str, float], None]
"""Called with a step of a fit, one of `STEPS`, and the share of it that is done; may raise to stop the fit."""

STEPS = ("kernel", "factor", "solve", "agop")


@dataclass(frozen=True, kw_only=True)
class Solver:
    """How ridge systems are to be solved.

    Attributes
    ----------
    name
        "cholesky" or "cg"; "auto" until `chosen` has decided.
    tolerance
        Of "cg": largest relative residual of any output.
    max_rank
        Of "cg": rank of the preconditioner (None: `default_rank`, or what fits).
    max_iter
        Of "cg": products with K in one solve.
    seed
        Of "cg": of the preconditioner's pivots.
    keep_bytes
        Of "cg": memory for tiles of K that are formed once, not in every iteration.
    reason
        Why this solver.
    """

    name: str = "cholesky"
    tolerance: float = 1e-6
    max_rank: int | None = None
    max_iter: int = 500
    seed: int = 0
    keep_bytes: int = 0
    reason: str = "asked for"

    @classmethod
    def of(cls, estimator: Any) -> Solver:
        """From an estimator's parameters, checked."""
        rank = estimator.max_rank
        return cls(
            name=_checks.one_of("solver", estimator.solver, SOLVERS),
            tolerance=_checks.real("tolerance", estimator.tolerance, above=0, at_most=0.1),
            max_rank=None if rank is None else _checks.integer("max_rank", rank, at_least=0),
            max_iter=_checks.integer("max_cg_iter", estimator.max_cg_iter, at_least=1),
            seed=estimator.seed_,
        )

    def chosen(
        self,
        needs: Callable[..., MemoryEstimate],
        n: int,
        ridge: float,
        max_memory: int | None,
        device: torch.device,
    ) -> Solver:
        """The solver to take, its rank fitted to the memory.

        Parameters
        ----------
        needs
            `estimate_memory` of the whole fit, with `solver` and `max_rank` open.
        n, ridge
            Of the system.

        Raises
        ------
        MemoryError
            If the fit cannot stay within its memory.
        ValueError
            If the solver asked for cannot solve this system.
        """
        limit = available_memory(device) if max_memory is None else max_memory
        direct = needs(solver="cholesky")
        if self.name == "cholesky" or (self.name == "auto" and (direct.total <= limit or ridge == 0)):
            check_fits(direct, max_memory, device)
            reason = self.reason if self.name == "cholesky" else "auto: fits into memory"
            return replace(self, name="cholesky", reason=reason)
        if ridge == 0:
            raise _checks.bad_value(
                "ridge",
                "a number > 0 for solver='cg'",
                "0",
                "set ridge to 1e-6 or more, or solver='cholesky'",
            )
        reason = self.reason
        if self.name == "auto":
            reason = f"auto: cholesky needs about {human(direct.total)}, {human(limit)} may be taken"
        rank = self.max_rank
        if rank is None:
            rank = default_rank(n)
            while rank > 16 and needs(solver="cg", max_rank=rank).total > limit:
                rank = 4 * rank // 5
        least = needs(solver="cg", max_rank=rank)
        check_fits(least, max_memory, device)
        # unless a limit was given, half of what is free is left to others
        spare = (limit // 2 if max_memory is None else limit) - least.total
        return replace(self, name="cg", max_rank=rank, keep_bytes=max(0, spare), reason=reason)

    def agreed(self, ranks: Ranks, device: torch.device) -> Solver:
        """The solver that rank 0 has chosen: each sees the memory of its own machine."""
        if ranks.alone:
            return self
        mine = torch.tensor([int(self.name == "cg"), self.max_rank or 0], device=device)
        iterative, rank = ranks.from_main(mine).tolist()
        return replace(self, name="cg", max_rank=rank) if iterative else replace(self, name="cholesky")


@dataclass(frozen=True, eq=False)
class Solved:
    """Coefficients, values on the training points, and how they were computed."""

    coefficients: Float[Tensor, "n c"]
    fitted: Float[Tensor, "n c"]
    report: dict[str, Any] = field(default_factory=dict)


def solve_direct(
    kernel: Kernel,
    X: Float[Tensor, "n d"],
    points: Points,
    Y: Float[Tensor, "n c"],
    ridge: float,
    sample_weight: Float[Tensor, " n"] | None,
    weights: Float[Tensor, "n n"] | None,
    tell: StepHook,
) -> Solved:
    """By Cholesky factorisation of the whole matrix; `weights` is filled with the gradient weights, which share the distances."""
    notes: list[str] = []
    if ridge == 0:
        _refuse_duplicates(X)
    try:
        factor = _factor(kernel, points, ridge, sample_weight, weights, X.dtype, tell)
    except SingularSystemError:
        if points.values.dtype == X.dtype:
            raise
        factor = _factor(kernel, points, ridge, sample_weight, None, torch.float64, tell)
        notes.append(f"the ridge system is singular in {str(X.dtype)[6:]}: it was solved in float64")
    Y = Y.to(factor.lower.dtype)
    A = factor.solve(Y)
    fitted = Y - _damping(ridge, sample_weight, X)[:, None].to(A.dtype) * A
    report = {"solve_dtype": str(A.dtype)[6:], "pivot_ratio": factor.pivot_ratio, "notes": notes}
    tell("solve", 1.0)
    return Solved(A.to(X.dtype), fitted.to(X.dtype), report)


def solve_cg(
    kernel: Kernel,
    X: Float[Tensor, "n d"],
    points: Points,
    Y: Float[Tensor, "n c"],
    ridge: float,
    sample_weight: Float[Tensor, " n"] | None,
    precision: str,
    solver: Solver,
    initial: Float[Tensor, "n c"] | None,
    tell: StepHook,
) -> Solved:
    """By conjugate gradients; of K only those tiles are stored that memory allows.

    "mixed" precision: residuals in float64, iterations in float32, unless rounding keeps these from the tolerance: then
    in float64 too. "native": everything in the dtype of `X`.
    """
    keep = solver.keep_bytes
    exact = KernelOperator(
        kernel, X, points, points.values.dtype, ranks=current(), keep_bytes=keep * (precision == "native")
    )
    fast = exact if precision == "native" else _in_single_precision(exact, X, keep)
    damping = _damping(ridge, sample_weight, X)
    rank = default_rank(len(X)) if solver.max_rank is None else solver.max_rank
    partial = pivoted_cholesky(
        fast,
        rank,
        generator=torch.Generator().manual_seed(solver.seed),
        target=0.1 * float(damping.mean()),
        ranks=current(),
    )
    tell("kernel", 1.0)
    # what the low-rank part leaves is nearly a multiple of the identity: its mean is a better D than the ridge alone; and below
    # the rounding of the factor nothing is known
    rounding = torch.finfo(fast.dtype).eps * float(fast.diagonal().max())
    D = damping + partial.residual.mean().clamp_min(4 * rounding)
    C = LowRankPreconditioner.of(partial.factor, D, ranks=current())
    tell("factor", 1.0)
    solution, notes = _iterate(fast, exact, damping, Y, C, solver, initial, tell)
    tell("solve", 1.0)
    fitted = Y.to(damping) - damping[:, None] * solution.X - solution.residual
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
    return Solved(solution.X.to(X.dtype), fitted.to(X.dtype), report)


def _in_single_precision(exact: KernelOperator, X: Float[Tensor, "n d"], keep_bytes: int) -> KernelOperator:
    """The same matrix in float32: distances too, unless so many points are near each other that this is the slower way."""
    kernel, points = exact.kernel, exact.points
    if single_precision_suffices(points):
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


def _damping(
    ridge: float, sample_weight: Float[Tensor, " n"] | None, X: Float[Tensor, "n d"]
) -> Float[Tensor, " n"]:
    """The diagonal that is added to K, in float64."""
    if sample_weight is None:
        return X.new_full((len(X),), ridge, dtype=torch.float64)
    return ridge / sample_weight.double()


def _refuse_duplicates(X: Float[Tensor, "n d"]) -> None:
    distinct = len(torch.unique(X, dim=0))
    if distinct < len(X):
        raise SingularSystemError(
            f"ridge: expected ridge > 0 where rows of X are duplicated (K is singular), got ridge=0 with {len(X) - distinct} "
            f"duplicates among {len(X)} rows; remove them or set ridge to 1e-6 or more."
        )


def _factor(
    kernel: Kernel,
    points: Points,
    ridge: float,
    sample_weight: Float[Tensor, " n"] | None,
    weights: Float[Tensor, "n n"] | None,
    dtype: torch.dtype,
    tell: StepHook,
) -> RidgeFactor:
    K = points.values.new_empty(len(points), len(points), dtype=dtype)
    fill_kernel_matrix(
        kernel, points, values=K, weights=weights, on_share=lambda share: tell("kernel", share)
    )
    if sample_weight is not None:
        K.diagonal().add_(ridge * (1 / sample_weight.to(K.dtype) - 1))
    # the share of the n³/3 operations that lie behind a row
    return RidgeFactor.of(
        K, ridge, overwrite=True, on_block=lambda done, n: tell("factor", 1 - (1 - done / n) ** 3)
    )
