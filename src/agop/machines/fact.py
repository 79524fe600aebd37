r"""What a kernel machine's features are at convergence: the FACT of ridge regression, in closed form.

Source: Boix-Adserà, Mallinar, Simon, Belkin 2025 (arXiv 2507.05644), Section 4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from agop import _checks
from agop._blocks import row_blocks, rows_per_block
from agop.kernels.columns import ColumnSums
from agop.kernels.distance import matrix_dtype, working_dtype

if TYPE_CHECKING:
    from agop.machines.kernel_ridge import KernelMachine

UPDATES = ("agop", "fact", "fact-geometric")
"""What M is learned from."""


def machine_fact(
    machine: KernelMachine,
    inputs: Float[Tensor, "n d"],
    coordinates: Float[Tensor, "d r"],
    *,
    weight: Float[Tensor, " n"] | None = None,
    center: bool = False,
    computed: bool = False,
) -> Float[Tensor, "d d"]:
    r"""FACT of a machine that was fitted by ridge regression on `inputs` mapped to z = Bᵀx, in the inputs' coordinates.

    .. math:: F = -\frac1\mu \sum_i w_i \nabla_x \ell_i\, x_i^T = \sum_i J_i^T \alpha_i\, x_i^T, \qquad
              \ell_i = \tfrac12 \|y_i - f(x_i)\|^2,

    because the residuals of ridge regression are :math:`y_i - f(x_i) = \mu \alpha_i / w_i`: neither targets nor ridge are needed, and a
    ridge of 0 is the limit. It is :math:`-\frac1{n\lambda} \sum_i \nabla_x \ell_i x_i^T` with the decay of the same problem,
    :math:`\lambda = \mu / n`. With gradient weights W, :math:`V_i = \sum_j W_{ij} \langle \alpha_i, \alpha_j\rangle (z_i - z_j)`
    and :math:`F = B V^T X`: n²(c + r) operations, where the AGOP takes 2n²cr or n³.

    Parameters
    ----------
    machine
        Its centres are the rows of `inputs` in coordinates.
    inputs
        The rows x; where they are centred doesn't matter for kernels of distances, whose V sums to 0.
    coordinates
        The map B.
    weight
        Sample weights w. They are in the coefficients already; the mean that `center` subtracts is weighted.
    center
        Subtract the (weighted) mean of the gradients, which is 0 for kernels of distances.
    computed
        The centres come out of earlier arithmetic (see `agop.kernels.distance.Points`).

    Returns
    -------
    (d, d)
        In the dtype in which distances are formed; at a critical point of a linear layer WᵀW, here not symmetric in general.
    """
    if len(machine.centers) != len(inputs):
        expected = "'agop' where the machine's centres are not its training points, and its coefficients no residuals"
        raise _checks.bad_value("update", expected, "one that needs them", "take another solver")
    V = loss_gradients(machine, computed=computed)
    if center:
        shares = torch.full_like(V[:, 0], 1 / len(V)) if weight is None else (weight / weight.sum()).to(V)
        V = V - shares[:, None] * V.sum(0)
    return coordinates.to(V) @ (V.mT @ inputs.to(V))


def loss_gradients(machine: KernelMachine, *, computed: bool = False) -> Float[Tensor, "n r"]:
    r""":math:`J_i^T \alpha_i` at every centre: the gradients of the squared losses over :math:`-\mu`, in blocks of rows."""
    kernel, centers = machine.kernel, machine.centers
    points = kernel.points(centers, dtype=working_dtype(centers.dtype, machine.precision), computed=computed)
    n, Z = len(centers), points.values
    dtype = matrix_dtype(centers.dtype, machine.precision, n)
    alpha = machine.coefficients.to(dtype)
    A = kernel.scaled(alpha, points)
    outward = kernel.outward(points, points, A)
    V = torch.zeros_like(Z)
    sums: ColumnSums | None = None
    bytes_per_row = 4 * n * Z.element_size()
    if not kernel.rotation_invariant:
        bytes_per_row += 2 * A.shape[1] * Z.shape[1] * Z.element_size()
    for rows in row_blocks(n, rows_per_block(n, bytes_per_row)):
        W = kernel.block(points, rows, points, dtype, value=False)[1]
        assert W is not None
        if not kernel.rotation_invariant:
            sums = sums or kernel.column_sums(Z, A)
            assert sums is not None
            V[rows] = torch.einsum("bcd,bc->bd", sums(W, Z[rows]), alpha[rows]).to(Z.dtype)
            continue
        B = W.mul_(alpha[rows] @ A.mT).to(Z.dtype)
        V[rows] = torch.addmm(B.sum(1, keepdim=True) * Z[rows], B, Z, alpha=-1)
    if outward is not None:
        V += (outward[0] * alpha).sum(1, keepdim=True).to(Z) * outward[1].to(Z)
    return V


def feature_matrix(
    F: Float[Tensor, "d d"], metric: Float[Tensor, "d d"], update: str, *, diagonal: bool
) -> Float[Tensor, "d d"]:
    r"""The M that an `update` of a recursive feature machine learns, such that :math:`M^{1/2}` is the next metric.

    "fact": :math:`F F^T`, the square of :math:`(F F^T)^{1/2}`, which FACT says the metric is. "fact-geometric":
    :math:`(F N^2 F^T)^{1/2}` with the metric N of this fit, so that the next one is :math:`(F N^2 F^T)^{1/4}`, a geometric mean of both.
    As for the AGOP, whose root the metric is by default, points are mapped to :math:`X M^p` with p = 1/4. A diagonal metric has the
    diagonal of F.
    """
    F, metric = F.double(), metric.double()
    if diagonal:
        own, before = F.diagonal().abs(), metric.diagonal()
        return torch.diag(own.square() if update == "fact" else own * before)
    if update == "fact":
        return F @ F.mT
    left, values, _ = torch.linalg.svd(F @ metric)
    return (left * values) @ left.mT
