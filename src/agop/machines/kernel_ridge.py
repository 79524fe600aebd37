"""Kernel ridge regression with the AGOP of its predictor: one distance computation, one factorisation."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor

from agop._blocks import row_blocks, rows_per_block
from agop.kernels.agop import KernelAGOP, kernel_agop
from agop.kernels.base import Kernel
from agop.kernels.distance import matrix_dtype, working_dtype
from agop.machines.memory import fits_twice
from agop.machines.progress import StepHook
from agop.machines.solve import System, solve_cg, solve_direct
from agop.machines.solver import Solver
from agop.ranks import current


@dataclass(frozen=True, eq=False)
class KernelMachine:
    r"""The predictor :math:`f_c(x) = \sum_i A_{ic}\, k(x, z_i)`: a kernel, its centres and its coefficients."""

    kernel: Kernel
    centers: Float[Tensor, "n d"]
    coefficients: Float[Tensor, "n c"]
    precision: str = "mixed"

    def predict(self, X: Float[Tensor, "m d"]) -> Float[Tensor, "m c"]:
        """Values at the rows of `X`, in blocks of rows: 2mn(d + c) operations."""
        points = self.kernel.points(self.centers, dtype=working_dtype(self.centers.dtype, self.precision))
        predictions = X.new_empty(len(X), self.coefficients.shape[1], dtype=self.coefficients.dtype)
        for rows in row_blocks(
            len(X), rows_per_block(len(X), 3 * len(points) * points.values.element_size())
        ):
            block = points.beside(X[rows])
            # coefficients of few centres may cancel: then they are in float64, and so are values
            values = self.kernel.block(block, slice(None), points, self.coefficients.dtype, weight=False)[0]
            assert values is not None
            predictions[rows] = values @ self.coefficients
        return predictions


@dataclass(frozen=True, eq=False)
class MachineFit:
    """A fitted kernel machine, its values on the training points (None: not formed), its AGOP, and how they were computed."""

    machine: KernelMachine
    fitted: Float[Tensor, "n c"] | None
    agop: Float[Tensor, "d d"] | None
    report: dict[str, Any] = field(default_factory=dict)


_DIRECT = Solver()


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
    center_gradients: bool = False,
    max_memory: int | None = None,
    computed: bool = False,
    solver: Solver = _DIRECT,
    initial: Float[Tensor, "n c"] | None = None,
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
        "mixed": distances in float64, and up to 2,048 points all matrices of pairs too, the rest in the dtype of `X`; "native":
        everything in the dtype of `X`.
    center_gradients
        Whether the AGOP is the covariance of the gradients, not their second moment.
    max_memory
        Bytes the fit may take. Two (n, n) matrices are held if they fit (values and gradient weights share their distances), one
        otherwise (distances are formed again for the AGOP), none by an iterative solver.
    computed
        `X` comes out of earlier arithmetic (see `agop.kernels.distance.Points`).
    solver
        How to solve; its name must be decided.
    initial
        Coefficients from which an iterative solver starts.
    on_step
        Hears how the fit gets on, several times in a long step.

    Notes
    -----
    The ranks of a launch share the AGOP and the products of an iterative solver; a Cholesky factorisation all of them repeat.

    Raises
    ------
    SingularSystemError
        If the system is singular; in "mixed" precision only after float64 was tried as well.
    """
    ranks = current()
    if computed:  # unlike machines round unlike, and all ranks must mean the same points
        X = ranks.from_main(X)
    points = kernel.points(X, dtype=working_dtype(X.dtype, precision), computed=computed)
    n, d, c = *X.shape, Y.shape[1]
    tell = on_step or _silent
    dtype = matrix_dtype(X.dtype, precision, n)
    system, weights = System(kernel, X, points, Y, ridge, sample_weight, dtype), None
    if solver.name == "cg":
        solved = solve_cg(system, precision, solver, initial, tell)
    else:
        if with_agop and fits_twice(n, d, c, dtype, max_memory, X.device):
            weights = X.new_empty(n, n, dtype=dtype)
        solved = solve_direct(system, weights, tell)
    coefficients = ranks.from_main(solved.coefficients)
    unit = _unit(coefficients)
    agop: KernelAGOP | None = None
    if with_agop:
        agop = kernel_agop(
            kernel,
            points,
            coefficients.to(dtype) if unit == 1 else (coefficients / unit).to(dtype),
            cells=worthwhile(cells, n, c),
            sample_weight=sample_weight,
            center=center_gradients,
            weights=weights,
            route="direct" if solver.name == "cg" else None,  # the other one stores an (n, n) matrix
            ranks=ranks,
            on_share=lambda share: tell("agop", share),
        )
        tell("agop", 1.0)
    report = {
        "solver": solver.name,
        "solver_reason": solver.reason,
        **solved.report,
        "agop_route": None if agop is None else agop.route,
        "cancellation": None if agop is None else agop.cancellation,
    }
    machine = KernelMachine(kernel, X, coefficients.to(X.dtype), precision)
    matrix = None if agop is None else agop.matrix if unit == 1 else agop.matrix.double() * unit**2
    return MachineFit(machine, solved.fitted, matrix, report)


def _silent(step: str, share: float) -> None:
    """Nobody listens."""


def _unit(A: Float[Tensor, "n c"]) -> float:
    """A power of two to divide coefficients by before their squares are summed: 1 unless those would leave the range of float32."""
    largest = float(A.abs().max())
    return 1.0 if largest == 0 or 1e-12 < largest < 1e12 else 2.0 ** math.frexp(largest)[1]


def worthwhile(cells: Int[Tensor, " n"] | None, n: int, c: int) -> Int[Tensor, " n"] | None:
    """The cells, unless there are so many that they would cost more than the AGOP itself (4n²kc operations)."""
    if cells is None:
        return None
    k = int(cells.max()) + 1
    return cells if k * c <= max(256, n // 8) else None
