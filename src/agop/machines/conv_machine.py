"""Kernel ridge regression on images with the patch AGOP of its predictor."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from agop import _checks
from agop._memory import available_memory
from agop.kernels.distance import SMALL
from agop.kernels.patch_agop import SUM_BYTES, patch_agop
from agop.kernels.patch_gram import BLOCK_BYTES, cross_matrix_product, fill_patch_matrix
from agop.kernels.patch_kernel import Metric, PatchKernel
from agop.kernels.patches import PatchGrid
from agop.linalg.psd import PSDPower, psd_power
from agop.linalg.ridge import RidgeFactor
from agop.machines.chain import rescaled
from agop.machines.memory import MemoryEstimate, check_fits
from agop.machines.progress import StepHook
from agop.machines.samples import Samples
from agop.ranks import current

RIDGE_SCALES = ("largest", "absolute")
MATRIX_SCALES = ("max", "frobenius", "trace", "none")
POSITIONS = ("sum", "mean")
_LEAST = 8 * 2**20


@dataclass(frozen=True, eq=False)
class ConvMachine:
    r"""The predictor :math:`f_c(x) = \sum_i A_{ic} K(x, x_i)` of images, with the metric that its kernel has."""

    kernel: PatchKernel
    grid: PatchGrid
    metric: Metric
    centers: Float[Tensor, "n pixels"]
    coefficients: Float[Tensor, "n c"]
    block_bytes: int = BLOCK_BYTES

    def predict(self, X: Float[Tensor, "m pixels"]) -> Float[Tensor, "m c"]:
        """Values at images that come as flat rows."""
        values = cross_matrix_product(
            self.kernel, X, self.centers, self.grid, self.metric, self.coefficients, budget=self.block_bytes
        )
        if not bool(torch.isfinite(values).all()):
            raise _out_of_range(X)
        return values


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How machines of images are fitted: everything but the images.

    Attributes
    ----------
    kernel, grid
        The kernel, and where the patches lie.
    ridge, ridge_scale
        The ridge, and its unit: the largest entry of the kernel matrix, or 1.
    power, scale
        Exponent of M in the map of patches, and how M is scaled.
    positions, n_agop
        Sum or mean of the AGOP over positions; at how many images it is taken (None: all).
    seed
        Chooses these images.
    block_bytes, sum_bytes
        Memory for images made ready, and for gradients.
    """

    kernel: PatchKernel
    grid: PatchGrid
    ridge: float
    ridge_scale: str = "largest"
    power: float = 0.5
    scale: str = "max"
    positions: str = "sum"
    n_agop: int | None = None
    seed: int = 0
    block_bytes: int = BLOCK_BYTES
    sum_bytes: int = SUM_BYTES

    def metric(self, X: Float[Tensor, "n pixels"], M: Tensor | None) -> tuple[Metric, dict[str, Any]]:
        """The map of patches by M (None: the identity), and what was done to the spectrum of M."""
        center = X.mean(0)
        if M is None:
            return Metric(None, center), {"rank": self.grid.features, "clipped": 0}
        raised: PSDPower = psd_power(M, self.power)
        root = current().from_main(raised.coordinates.contiguous())
        return Metric(root, center), {"rank": raised.rank, "clipped": raised.clipped}

    def next_matrix(
        self, agop: Float[Tensor, "d _d"], M: Tensor | None, notes: list[str]
    ) -> Float[Tensor, "d _d"]:
        """The M that an AGOP leads to: itself, scaled."""
        if not bool(agop.diagonal().max() > 0):
            notes.append("the predictor is constant at every training image: M stays as it was")
            return torch.eye(len(agop), dtype=agop.dtype, device=agop.device) if M is None else M
        return rescaled(agop, self.scale)


@dataclass(frozen=True, eq=False)
class ConvFit:
    """A fitted machine, its values on the training images, its patch AGOP, and how they were computed.

    `left_out` are the values at each image of the machine that was fitted without it, if they were asked for.
    """

    machine: ConvMachine
    fitted: Float[Tensor, "n c"]
    agop: Float[Tensor, "d _d"] | None
    left_out: Float[Tensor, "n c"] | None
    report: dict[str, Any] = field(default_factory=dict)


def _out_of_range(X: Tensor) -> ValueError:
    return _checks.bad_value(
        "X",
        f"images whose kernel values are within the range of {str(X.dtype)[6:]}",
        "larger ones",
        "rescale X",
    )


def matrix_dtype(X: Tensor) -> torch.dtype:
    """The dtype of the kernel matrix and its factor: float64 up to 2,048 images, then that of the images."""
    return torch.float64 if len(X) <= SMALL else X.dtype


def fit_conv_machine(
    plan: Plan,
    samples: Samples,
    M: Tensor | None,
    *,
    with_agop: bool = True,
    tell: StepHook,
) -> ConvFit:
    r"""Fit :math:`A = (K + \mu\,\mathrm{diag}(1/w))^{-1} Y` on images that come as flat rows, and form the patch AGOP of the predictor.

    The ranks of a launch share the kernel matrix and the AGOP; the factorisation all of them repeat.

    Raises
    ------
    SingularSystemError
        If the system is singular.
    """
    metric, facts = plan.metric(samples.X, M)
    K = gram(plan, samples.X, metric, tell)
    A, fitted, left_out, report = solve(plan, K, samples)
    tell("factor", 1.0)
    machine = ConvMachine(plan.kernel, plan.grid, metric, samples.X, A, plan.block_bytes)
    agop = None
    if with_agop:
        agop = agop_of(plan, machine, samples, lambda share: tell("agop", share))
        tell("agop", 1.0)
    return ConvFit(machine, fitted, agop, left_out, {**report, **facts})


def gram(plan: Plan, X: Float[Tensor, "n pixels"], metric: Metric, tell: StepHook) -> Float[Tensor, "n _n"]:
    """The lower triangle of the kernel matrix of images."""
    K = X.new_empty(len(X), len(X), dtype=matrix_dtype(X))
    fill_patch_matrix(
        plan.kernel,
        X,
        plan.grid,
        metric,
        K,
        budget=plan.block_bytes,
        ranks=current(),
        on_share=lambda share: tell("kernel", share),
    )
    return K


def solve(
    plan: Plan, K: Float[Tensor, "n _n"], samples: Samples, *, leave_out: bool = False
) -> tuple[Tensor, Tensor, Tensor | None, dict[str, Any]]:
    r"""Coefficients, fitted values, left-out values if asked for, and a report; `K` is overwritten.

    The value at image i of the machine fitted without it is :math:`y_i - \alpha_i / ((K + D)^{-1})_{ii}`.
    """
    largest = float(K.diagonal().max())
    if not math.isfinite(largest):
        raise _out_of_range(samples.X)
    ridge = plan.ridge * (largest if plan.ridge_scale == "largest" else 1.0)
    damping = K.new_full((len(K),), ridge)
    if samples.weight is not None:
        damping = (ridge / samples.weight.double()).to(K.dtype)
    factor = RidgeFactor.of(K, ridge, weight=samples.weight, overwrite=True)
    Y = samples.Y.to(K.dtype)
    A = factor.solve(Y)
    fitted = Y - damping[:, None] * A
    left_out = None
    if leave_out:
        inverse = torch.linalg.solve_triangular(
            factor.lower.tril(), torch.eye(len(K), dtype=K.dtype, device=K.device), upper=False
        )
        left_out = (Y - A / inverse.square().sum(0)[:, None]).to(samples.X.dtype)
    report = {"solve_dtype": str(K.dtype)[6:], "pivot_ratio": factor.pivot_ratio, "largest_entry": largest}
    report |= {"absolute_ridge": ridge, "notes": []}
    A = current().from_main(A.to(samples.X.dtype))
    return A, fitted.to(samples.X.dtype), left_out, report


def agop_of(plan: Plan, machine: ConvMachine, samples: Samples, on_share: Any) -> Float[Tensor, "d _d"]:
    """The patch AGOP of a machine at its centres, or at a seeded choice of them."""
    n, A, weight, X = len(samples), machine.coefficients, samples.weight, machine.centers
    count = n if plan.n_agop is None else min(n, plan.n_agop)
    if count < n:
        order = torch.randperm(n, generator=torch.Generator().manual_seed(plan.seed)).to(X.device)
        X, A, weight = X[order], A[order], None if weight is None else weight[order]
    return patch_agop(
        machine.kernel,
        X,
        machine.grid,
        machine.metric,
        A,
        at=count,
        sample_weight=weight,
        positions=plan.positions,
        budget=plan.block_bytes,
        sums=plan.sum_bytes,
        ranks=current(),
        on_share=on_share,
    )


def conv_memory(
    n: int, pixels: int, c: int, dtype: torch.dtype, features: int, limit: int | None, device: torch.device
) -> tuple[MemoryEstimate, int, int]:
    """What a fit needs at its peak; and of that, what images made ready and what gradients may take.

    Beside the kernel matrix and the images a fit takes at most 1.5 GB; where `limit` is less it works in smaller blocks.

    Raises
    ------
    MemoryError
        If the fit cannot stay within the limit.
    """
    size = torch.finfo(dtype).bits // 8
    matrix = n * n * (8 if n <= SMALL else size)
    points = 3 * n * pixels * size + 4 * n * c * 8
    fixed = 6 * 8 * features**2 + 64 * 2**20
    spare = (available_memory(device) if limit is None else limit) - matrix - points - fixed
    share = min(1.0, max(spare, 4 * _LEAST) / (4 * BLOCK_BYTES + SUM_BYTES))
    block, sums = (max(_LEAST, int(share * most)) for most in (BLOCK_BYTES, SUM_BYTES))
    estimate = MemoryEstimate(matrix, points, 0, fixed + 4 * block + sums)
    check_fits(estimate, limit, device)
    return estimate, block, sums


def predicted_steps(plan: Plan, n: int, c: int, learns: bool) -> dict[str, float]:
    """About what each step of a fit costs, in operations of a matrix product."""
    sides = plan.grid.sides(plan.kernel.depth)
    features, first = plan.grid.features, sides[0][0] * sides[0][1]
    passes = sum(height * width for height, width in sides) * 400.0
    kernel = n * n / 2 * (passes + 4.0 * first * features)
    steps = {"kernel": kernel, "factor": n**3 / 3}
    if learns:
        at = 1.0 if plan.n_agop is None else min(1.0, plan.n_agop / n)
        steps["agop"] = at * (2.2 * kernel + 2.0 * n * n * first * features * c)
        steps["root"] = 15.0 * features**3
    return steps
