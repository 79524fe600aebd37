"""Kernel ridge regression with the AGOP of its predictor: one distance computation, one factorisation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from agop._blocks import row_blocks, rows_per_block
from agop.kernels.agop import KernelAGOP, kernel_agop
from agop.kernels.base import Kernel
from agop.kernels.distance import Points, working_dtype
from agop.kernels.gram import fill_kernel_matrix
from agop.linalg.ridge import RidgeFactor, SingularSystemError
from agop.machines.memory import fits_twice

StepHook = Callable[[str, float], None]
"""Called with a step of a fit, one of `STEPS`, and the share of it that is done; may raise to stop the fit."""

STEPS = ("kernel", "factor", "solve", "agop")


@dataclass(frozen=True, eq=False)
class KernelMachine:
    r"""The predictor :math:`f_c(x) = \sum_i A_{ic}\, k(x, z_i)`: a kernel, its centres and its coefficients."""

    kernel: Kernel
    centers: Float[Tensor, "n d"]
    coefficients: Float[Tensor, "n c"]
    precision: str = "mixed"

    def predict(self, X: Float[Tensor, "m d"]) -> Float[Tensor, "m c"]:
        """Values at the rows of `X`, in blocks of rows: 2mn(d + c) operations."""
        points = Points(self.centers, dtype=working_dtype(self.centers.dtype, self.precision))
        predictions = X.new_empty(len(X), self.coefficients.shape[1])
        for rows in row_blocks(
            len(X), rows_per_block(len(X), 3 * len(points) * points.values.element_size())
        ):
            block = points.beside(X[rows])
            values = self.kernel.block(block, slice(None), points, X.dtype, weight=False)[0]
            assert values is not None
            predictions[rows] = values @ self.coefficients
        return predictions


@dataclass(frozen=True, eq=False)
class MachineFit:
    """A fitted kernel machine, its values on the training points, its AGOP, and how they were computed."""

    machine: KernelMachine
    fitted: Float[Tensor, "n c"]
    agop: Float[Tensor, "d d"] | None
    report: dict[str, Any] = field(default_factory=dict)


def fit_kernel_machine(
    kernel: Kernel,
    X: Float[Tensor, "n d"],
    Y: Float[Tensor, "n c"],
    ridge: float,
    *,
    cells: Int[Tensor, " n"] | None = None,
    sample_weight: Float[Tensor, " n"] | None = None,
    precision: str = "mixed",
    with_agop: bool = True,
    max_memory: int | None = None,
    computed: bool = False,
    on_step: StepHook | None = None,
) -> MachineFit:
    r"""Fit :math:`A = (K + \mu I)^{-1} Y` and form the AGOP of the predictor on its centres.

    With `sample_weight` w, the minimiser of :math:`\sum_i w_i \|y_i - f(x_i)\|^2 + \mu \|f\|^2`, i.e.
    :math:`A = (K + \mu\,\mathrm{diag}(1/w))^{-1} Y`.

    Parameters
    ----------
    cells
        A partition of the points (the classes) whose members may nearly coincide; protects the AGOP from rounding.
    precision
        "mixed": distances in float64, the rest in the dtype of `X`; "native": everything in the dtype of `X`.
    max_memory
        Bytes the fit may take. Two (n, n) matrices are held if they fit (values and gradient weights share their distances), one
        otherwise (distances are formed again for the AGOP).

    computed
        `X` comes out of earlier arithmetic (see `agop.kernels.distance.Points`).
    on_step
        Hears how the fit gets on, several times in a long step.

    Raises
    ------
    SingularSystemError
        If the system is singular; in "mixed" precision only after float64 was tried as well.
    """
    points = Points(X, dtype=working_dtype(X.dtype, precision), computed=computed)
    n, d, c = *X.shape, Y.shape[1]
    notes: list[str] = []
    tell = on_step or _silent
    share = with_agop and fits_twice(n, d, c, X.dtype, max_memory, X.device)
    weights = X.new_empty(n, n) if share else None
    solve_dtype = X.dtype
    if ridge == 0:
        _refuse_duplicates(X)
    try:
        K = X.new_empty(n, n)
        fill_kernel_matrix(kernel, points, values=K, weights=weights)
        tell("kernel", 1.0)
        factor = _factor(K, ridge, sample_weight, tell)
    except SingularSystemError:
        if precision == "native" or X.dtype == torch.float64:
            raise
        solve_dtype = torch.float64
        K = X.new_empty(n, n, dtype=solve_dtype)
        fill_kernel_matrix(kernel, points, values=K)
        factor = _factor(K, ridge, sample_weight, tell)
        notes.append(f"the ridge system is singular in {str(X.dtype)[6:]}: it was solved in float64")
    A = factor.solve(Y.to(solve_dtype))
    damped = A * factor.ridge if sample_weight is None else A * (ridge / sample_weight.to(A.dtype))[:, None]
    fitted = (Y.to(solve_dtype) - damped).to(X.dtype)
    pivot_ratio = factor.pivot_ratio
    del K, factor
    tell("solve", 1.0)
    A = A.to(X.dtype)
    agop: KernelAGOP | None = None
    if with_agop:
        agop = kernel_agop(
            kernel, points, A, cells=_worthwhile(cells, n, c), sample_weight=sample_weight, weights=weights
        )
        tell("agop", 1.0)
    report = {
        "solver": "cholesky",
        "solve_dtype": str(solve_dtype)[6:],
        "pivot_ratio": pivot_ratio,
        "agop_route": None if agop is None else agop.route,
        "cancellation": None if agop is None else agop.cancellation,
        "notes": notes,
    }
    return MachineFit(
        KernelMachine(kernel, X, A, precision), fitted, None if agop is None else agop.matrix, report
    )


def _refuse_duplicates(X: Float[Tensor, "n d"]) -> None:
    distinct = len(torch.unique(X, dim=0))
    if distinct < len(X):
        raise SingularSystemError(
            f"ridge: expected ridge > 0 where rows of X are duplicated (K is singular), got ridge=0 with {len(X) - distinct} "
            f"duplicates among {len(X)} rows; remove them or set ridge to 1e-6 or more."
        )


def _silent(step: str, share: float) -> None:
    """Nobody listens."""


def _factor(
    K: Float[Tensor, "n n"], ridge: float, sample_weight: Float[Tensor, " n"] | None, tell: StepHook
) -> RidgeFactor:
    if sample_weight is not None:
        K.diagonal().add_(ridge * (1 / sample_weight.to(K.dtype) - 1))
    # the share of the n³/3 operations that lie behind a row
    return RidgeFactor.of(
        K, ridge, overwrite=True, on_block=lambda done, n: tell("factor", 1 - (1 - done / n) ** 3)
    )


def _worthwhile(cells: Int[Tensor, " n"] | None, n: int, c: int) -> Int[Tensor, " n"] | None:
    """The cells, unless there are so many that they would cost more than the AGOP itself (4n²kc operations)."""
    if cells is None:
        return None
    k = int(cells.max()) + 1
    return cells if k * c <= max(256, n // 8) else None
