"""Kernel matrices of a set of points with itself: lower triangle computed, mirrored, held once."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from agop.kernels.base import Kernel
from agop.kernels.distance import Points, tiles

_TILE_BYTES = 128 * 2**20


def fill_kernel_matrix(
    kernel: Kernel,
    points: Points,
    *,
    values: Float[Tensor, "n n"] | None = None,
    weights: Float[Tensor, "n n"] | None = None,
) -> None:
    """Write the kernel values and/or gradient weights of all pairs of `points` into the given (n, n) matrices.

    Distances are formed once per unordered pair, tile by tile, in the dtype of `points`, and serve both matrices.
    """
    given = values if values is not None else weights
    assert given is not None, "nothing to fill"
    for rows, columns in tiles(len(points), _TILE_BYTES, 4 * points.values.element_size()):
        blocks = kernel.block(
            points,
            rows,
            points,
            given.dtype,
            columns=columns,
            value=values is not None,
            weight=weights is not None,
        )
        for matrix, block in zip((values, weights), blocks, strict=True):
            if matrix is not None and block is not None:
                if rows == columns:
                    block = _symmetrised(block)
                matrix[rows, columns] = block
                matrix[columns, rows] = block.mT


def _symmetrised(block: Float[Tensor, "b b"]) -> Float[Tensor, "b b"]:
    """The lower triangle of a diagonal tile, mirrored: rounding must not make the matrix unsymmetric."""
    return torch.tril(block) + torch.tril(block, -1).mT
