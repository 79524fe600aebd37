r"""What a fitted machine looks at: the AGOP of the function that predicts, and its diagonal, column by column of the input."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from agop.kernels.agop import kernel_agop
from agop.kernels.distance import matrix_dtype, working_dtype

if TYPE_CHECKING:
    from agop.machines.kernel_ridge import KernelMachine


def machine_agop(
    machine: KernelMachine,
    coordinates: Float[Tensor, "p r"],
    weight: Float[Tensor, " n"] | None,
    *,
    computed: bool,
) -> Float[Tensor, "p p"]:
    """The AGOP of a machine on its own centres, pulled back through z = Bᵀx, in float64: what `fit` would learn next from it."""
    centers = machine.centers
    points = machine.kernel.points(
        centers, dtype=working_dtype(centers.dtype, machine.precision), computed=computed
    )
    A = machine.coefficients.to(matrix_dtype(centers.dtype, machine.precision, len(centers)))
    largest = float(A.abs().max())
    if largest == 0:
        return coordinates.new_zeros(len(coordinates), len(coordinates), dtype=torch.float64)
    # only ratios count: squares of tiny coefficients would vanish
    summed = kernel_agop(machine.kernel, points, A / largest, sample_weight=weight).matrix
    B = coordinates.to(summed.dtype)
    return (B @ summed @ B.mT).double() * largest**2


def column_importances(
    M: Float[Tensor, "p p"], sources: Int[np.ndarray, " p"], indicators: list[list[int]], d: int
) -> Float[np.ndarray, " d"]:
    r"""Shares of the trace of an AGOP by input column, non-negative and with sum 1; zeros if M is zero.

    Parameters
    ----------
    M
        The AGOP over encoded columns.
    sources
        The input column that each encoded column comes from.
    indicators
        The encoded columns of each column of categories: of their gradient the mean is removed, because the levels of a row can only change
        together (their indicators sum to 1): the trace over a group of L is :math:`\mathrm{tr}\,M_{gg} - \mathbf 1^T M_{gg} \mathbf 1 / L`.
    d
        How many input columns there are.
    """
    squares = M.diagonal().double().cpu().numpy().clip(min=0)
    totals = np.bincount(sources, weights=squares, minlength=d)
    for group in indicators:
        index = torch.as_tensor(group, device=M.device)
        together = float(M[index][:, index].double().sum()) / len(group)
        totals[sources[group[0]]] = max(0.0, float(totals[sources[group[0]]]) - max(0.0, together))
    total = totals.sum()
    return totals / total if total > 0 else np.zeros(d)
