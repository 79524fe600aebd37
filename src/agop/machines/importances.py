r"""What a fitted machine looks at: the AGOP of the function that predicts, and its diagonal, column by column of the input."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from agop._blocks import row_blocks, rows_per_block
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


def averaged_agop(
    parts: list[tuple[KernelMachine, Float[Tensor, "p r"], bool]],
    shares: list[float],
    weight: Float[Tensor, " n"] | None,
) -> Float[Tensor, "p p"]:
    r"""The AGOP of a weighted sum of machines with the same rows as centres, pulled back to common columns, in float64.

    :math:`\sum_i w_i J_i^T J_i / \sum_i w_i` with :math:`J_i = \sum_m s_m J_{m,i} B_m^T`, block by block of the rows.

    Parameters
    ----------
    parts
        Machines, the maps B from columns to their coordinates, and whether their centres come out of earlier arithmetic.
    shares
        The weight of each machine in the sum.
    weight
        Of the rows.
    """
    if len(parts) == 1:
        machine, coordinates, computed = parts[0]
        return machine_agop(machine, coordinates, weight, computed=computed) * shares[0] ** 2
    ready = []
    for (machine, coordinates, computed), share in zip(parts, shares, strict=True):
        centers = machine.centers
        points = machine.kernel.points(
            centers, dtype=working_dtype(centers.dtype, machine.precision), computed=computed
        )
        A = machine.kernel.scaled(share * machine.coefficients.to(points.values.dtype), points)
        ready.append((machine.kernel, points, A, coordinates.to(points.values.dtype)))
    n, c, p = len(ready[0][1]), ready[0][2].shape[1], len(ready[0][3])
    total = ready[0][3].new_zeros(p, p, dtype=torch.float64)
    counted = torch.full_like(total[0, :1], 1 / n).expand(n) if weight is None else weight / weight.sum()
    for rows in row_blocks(n, rows_per_block(n, 8 * (3 * n + 2 * c * p))):
        J = total.new_zeros(rows.stop - rows.start, c, p)
        for kernel, points, A, coordinates in ready:
            J += kernel.jacobians(points, rows, points, A) @ coordinates.mT
        J = (J * counted[rows, None, None].sqrt()).flatten(0, 1)
        total += J.mT @ J
    return total


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
