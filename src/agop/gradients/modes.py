"""What a model looks at along each axis of a tensor: partial traces of an AGOP, and the neural feature ansatz for each of them."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from agop import _checks
from agop.gradients.ansatz import nfa


def mode_agops(agop: Float[Tensor, "d d"], shape: Sequence[int]) -> tuple[Tensor, ...]:
    r"""The AGOP along each mode (axis) of inputs of this shape: its partial traces over the other modes.

    With :math:`G^{(c)}_i` the gradient of output c at sample i, a tensor of shape :math:`p_1 \times \ldots \times p_D`, and
    :math:`[G]_m` its unfolding :math:`(p_m, \prod_{k \ne m} p_k)`,

    .. math:: M_m = \frac1n \sum_i \sum_c [G_i^{(c)}]_m [G_i^{(c)}]_m^T:

    a mean over samples, a **sum** over outputs and over positions in the other modes. For an image the two matrices say along which
    profiles of rows, and of columns, the function changes.

    Parameters
    ----------
    agop
        The AGOP (d, d) of flattened inputs in C order, :math:`d = \prod_m p_m`; or an NFM, or any matrix over flattened inputs.
    shape
        :math:`(p_1, \ldots, p_D)`.

    Returns
    -------
    tuple of Tensor
        D matrices :math:`(p_m, p_m)` in the dtype of `agop`. All have its trace, and are positive semi-definite if it is.

    Raises
    ------
    ValueError, TypeError
        If `agop` is no finite matrix over inputs of this shape.

    Notes
    -----
    For the layers of Makantasis et al. 2021 (IEEE Access 9), whose weights are sums of R outer products with one vector a mode.

    Examples
    --------
    >>> rows, columns = mode_agops(torch.eye(6), (2, 3))
    >>> rows.diagonal().tolist(), columns.diagonal().tolist()
    ([3.0, 3.0], [2.0, 2.0, 2.0])
    """
    return _partial_traces("agop", agop, shape)


def mode_nfa(
    feature_matrix: Any, agop: Any, shape: Sequence[int], *, power: float | int = 0.5, centered: bool = True
) -> tuple[float, ...]:
    r"""The neural feature ansatz along each mode: :math:`\mathrm{corr}\bigl(F_m, M_m^\alpha\bigr)`.

    :math:`F_m` and :math:`M_m` are the partial traces (`mode_agops`) of the NFM :math:`W^T W` and of the AGOP of one layer.

    Parameters
    ----------
    feature_matrix, agop
        Both (d, d), over flattened inputs.
    shape
        :math:`(p_1, \ldots, p_D)` with product d.
    power, centered
        As in `nfa`.

    Returns
    -------
    tuple of float
        One number a mode, in [-1, 1]; NaN where one of the matrices is constant, as for a mode of one entry.

    Raises
    ------
    ValueError, TypeError
        If a matrix does not belong to the shape, or a partial trace of the AGOP is not positive semi-definite.

    Notes
    -----
    The root of a partial trace is not the partial trace of the root: the ansatz can hold for all modes and not for the layer, or the
    other way round.

    Examples
    --------
    >>> A = torch.diag(torch.tensor([1.0, 4.0, 9.0, 16.0]))
    >>> [round(value, 3) for value in mode_nfa(A, A, (2, 2), power=1)]
    [1.0, 1.0]
    """
    ours = _partial_traces("feature_matrix", feature_matrix, shape)
    theirs = _partial_traces("agop", agop, shape)
    return tuple(
        nfa(own, other, power=power, centered=centered) for own, other in zip(ours, theirs, strict=True)
    )


def _partial_traces(name: str, matrix: Any, shape: Any) -> tuple[Tensor, ...]:
    sides = mode_sizes("shape", shape)
    matrix = _checks.floating(name, matrix, ndim=2)
    d = prod(sides)
    if tuple(matrix.shape) != (d, d):
        remedy = "pass the matrix over flattened inputs"
        raise _checks.bad_value(name, f"shape {(d, d)} for shape={sides}", f"{tuple(matrix.shape)}", remedy)
    found = []
    for mode, side in enumerate(sides):
        before, after = prod(sides[:mode]), prod(sides[mode + 1 :])
        found.append(torch.einsum("aibajb->ij", matrix.reshape(before, side, after, before, side, after)))
    return tuple(found)


def mode_sizes(name: str, shape: Any) -> tuple[int, ...]:
    """The sides of a tensor, at least one of them, each at least 1."""
    expected, remedy = "the sizes (p_1, ..., p_D) of the modes", "give the shape of one input, such as (8, 8)"
    if not isinstance(shape, Sequence) or isinstance(shape, str) or not len(shape):
        raise _checks.bad_value(name, expected, _checks.shown(shape), remedy)
    return tuple(_checks.integer(name, side, at_least=1, remedy=remedy) for side in shape)
