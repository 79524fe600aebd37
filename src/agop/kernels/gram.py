"""Kernel matrices of a set of points with itself: lower triangle computed, held once."""

from __future__ import annotations

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

from agop.kernels.base import Kernel
from agop.kernels.distance import Points, tiles


def fill_kernel_matrix(
    kernel: Kernel,
    points: Points,
    *,
    values: Float[Tensor, "n n"] | None = None,
    weights: Float[Tensor, "n n"] | None = None,
    on_share: Callable[[float], None] | None = None,
) -> None:
    """Write the kernel values and/or gradient weights of all pairs of `points` into the given (n, n) matrices.

    Distances are formed once per unordered pair, tile by tile, in the dtype of `points`, and serve both matrices. Of the
    `values` only the lower triangle is written, which is all that a Cholesky factorisation reads; `weights` become symmetric to
    the last bit. `on_share` hears the share of the work that is done, after each row of tiles.
    """
    given = values if values is not None else weights
    assert given is not None, "nothing to fill"
    for rows, columns in tiles(len(points)):
        of_values, of_weights = kernel.block(
            points,
            rows,
            points,
            given.dtype,
            columns=columns,
            value=values is not None,
            weight=weights is not None,
        )
        if values is not None and of_values is not None:
            values[rows, columns] = of_values
        if weights is not None and of_weights is not None:
            weights[rows, columns] = of_weights
            below = slice(columns.start, min(columns.stop, rows.start))
            weights[below, rows] = weights[rows, below].mT
            if columns.stop == rows.stop:
                square = weights[rows, rows]
                square.copy_(square.tril() + square.tril(-1).mT)
        if on_share is not None and columns.stop == rows.stop:
            on_share((rows.stop / len(points)) ** 2)
