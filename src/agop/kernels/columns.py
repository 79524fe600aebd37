r"""Gradients of sums of kernels of p-norms, column by column: :math:`\sum_i w_{ji} s(x_{jk} - z_{ik}) a_i`, s(t) = sign(t) |t|^{p−1}."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

FEW = 8
"""A column with at most so many different values is summed value by value, by a matrix product."""

_BASIS_BYTES = 128 * 2**20
_TILE_BYTES = 2**19
"""What a tile of pairs takes: small enough to stay in a core's cache while all columns pass over it."""


class ColumnSums:
    r"""Centres and coefficients prepared for these sums.

    A column with few values v (an indicator has two) needs :math:`W (1[z = v] \circ a)` only, which a matrix product gives for all such
    columns at once. The others take three passes over tiles of pairs.

    Parameters
    ----------
    right
        Centres (n, d).
    A
        Coefficients (n, c), in the dtype of the sums.
    p
        Of the norm.
    """

    def __init__(self, right: Float[Tensor, "n d"], A: Float[Tensor, "n c"], p: float) -> None:
        self.p, self.A, self.columns = p, A, right.mT.contiguous()
        room = _BASIS_BYTES // max(1, A.numel() * A.element_size())
        owners: list[int] = []
        values: list[float] = []
        indicators: list[Tensor] = []
        many: list[int] = []
        for place, column in enumerate(self.columns):
            distinct = _distinct(column)
            if distinct is None or len(values) + len(distinct) > room:
                many.append(place)
                continue
            owners += [place] * len(distinct)
            values += distinct.tolist()
            indicators.append(column[:, None] == distinct)
        self.many = many
        self.owners: Int[Tensor, " v"] = torch.tensor(owners, dtype=torch.long, device=right.device)
        self.values: Float[Tensor, " v"] = torch.tensor(values, dtype=right.dtype, device=right.device)
        self.basis: Float[Tensor, "n vc"] | None = None
        if indicators:
            chosen = torch.cat(indicators, 1).to(A.dtype)
            self.basis = (chosen[:, :, None] * A[:, None, :]).flatten(1)

    def __call__(self, weight: Float[Tensor, "b n"], left: Float[Tensor, "b d"]) -> Float[Tensor, "b c d"]:
        """The sums for rows `left` with weights of pairs: b·n·c operations a value or three passes a column."""
        b, n, c = *weight.shape, self.A.shape[1]
        sums = weight.new_zeros(b, c, len(self.columns))
        if self.basis is not None:
            slopes = self._slope(left[:, self.owners] - self.values).to(weight.dtype)
            parts = (weight @ self.basis).view(b, -1, c) * slopes[:, :, None]
            sums.index_add_(2, self.owners, parts.mT)
        if not self.many:
            return sums
        step = max(8, _TILE_BYTES // (n * self.columns.element_size()))
        for start in range(0, b, step):
            tile, part = weight[start : start + step], left[start : start + step]
            for place in self.many:
                slope = self._slope(part[:, place, None] - self.columns[place])
                sums[start : start + step, :, place] = slope.to(weight.dtype).mul_(tile) @ self.A
        return sums

    def _slope(self, difference: Float[Tensor, "b k"]) -> Float[Tensor, "b k"]:
        """S of differences, in place; 0 where a coordinate is equal."""
        if self.p == 1:
            return difference.sign_()
        equal = difference == 0
        sign = difference.sign()
        return sign.mul_(difference.abs_().pow_(self.p - 1)).masked_fill_(equal, 0)


def _distinct(column: Float[Tensor, " n"]) -> Float[Tensor, " v"] | None:
    """The values of a column if they are few; a look at some of them spares the sorting of most others."""
    if len(torch.unique(column[: 4 * FEW])) > FEW:
        return None
    values = torch.unique(column)
    return values if len(values) <= FEW else None
