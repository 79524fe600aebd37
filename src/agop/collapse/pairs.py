"""Sums over pairs of classes in tiles, so that tens of thousands of classes need no (C, C) matrix."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from agop._blocks import row_blocks, rows_per_block

TILE = 2048
"""Rows and columns of one tile: 32 MiB in float64."""

CANCELLATION = 1e-4
"""Squared distances below this share of the squared norms are recomputed from differences."""


def tiles(k: int, tile: int = TILE) -> Iterator[tuple[slice, slice, int]]:
    """Tiles on and above the diagonal of a symmetric (k, k) matrix, each with how often its entries count."""
    blocks = list(row_blocks(k, tile))
    for i, rows in enumerate(blocks):
        for j in range(i, len(blocks)):
            yield rows, blocks[j], 1 if i == j else 2


def squared_distances(points: Float[Tensor, "k d"], rows: slice, columns: slice) -> Float[Tensor, "p q"]:
    """‖a − b‖² for one tile of centred points; from the differences where the Gram formula would cancel."""
    a, b = points[rows], points[columns]
    scale = a.square().sum(1).unsqueeze(1) + b.square().sum(1)
    distances = torch.addmm(scale, a, b.T, alpha=-2)
    close = (distances < CANCELLATION * scale).nonzero()
    for part in row_blocks(len(close), rows_per_block(len(close), 24 * points.shape[1])):
        i, j = close[part].unbind(1)
        distances[i, j] = torch.linalg.vector_norm(a[i] - b[j], dim=1).square()
    return distances


def product_distance(
    left: Float[Tensor, "k d"], right: Float[Tensor, "k d"], target: str, tile: int = TILE
) -> float | None:
    r"""``‖P/‖P‖_F − T/‖T‖_F‖_F`` of ``P = left rightᵀ`` (k, k) and the Gram matrix T of a simplex ("etf") or of an orthogonal frame, in
    tiles; None if P is zero.

    The norm comes first: differences of nearly equal unit matrices are formed entry by entry.
    """
    k, tiny = len(left), torch.finfo(left.dtype).tiny
    left = left / left.abs().max().clamp_min(tiny) if left.numel() else left
    right = right / right.abs().max().clamp_min(tiny) if right.numel() else right
    parts = list(row_blocks(k, tile))
    squares = sum(
        float(torch.linalg.matrix_norm(left[rows] @ right[columns].T)) ** 2
        for rows in parts
        for columns in parts
    )
    if squares == 0:
        return None
    shift, norm = (1 / k, (k - 1) ** 0.5) if target == "etf" else (0.0, k**0.5)
    total = 0.0
    for rows in parts:
        for columns in parts:
            difference = (left[rows] @ right[columns].T).div_(squares**0.5).add_(shift / norm)
            if rows == columns:
                difference.diagonal().sub_(1 / norm)
            total += float(torch.linalg.matrix_norm(difference)) ** 2
    return total**0.5
