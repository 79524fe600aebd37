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
