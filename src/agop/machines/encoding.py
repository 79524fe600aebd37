r"""From numbers, codes of categories and gaps to coordinates: numbers rescaled, an indicator for each level and for what is missing.

Encoded columns are, in this order: the columns of numbers; an indicator "is missing" for each of them that had gaps in `fit`; an indicator
for each level of each column of categories, where what is missing is a level if it occurred in `fit`. A gap in a column of numbers is its
mean. An indicator is 0 or 1, and only its mean is subtracted: two rows of different categories are then as far apart, :math:`\sqrt 2`, as
two rows are in a standardised column on average. A value that was not seen in `fit` is the level "missing" if there is one, else none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from agop.machines.columns import Columns


@dataclass(frozen=True, eq=False)
class Encoding:
    """Levels of each input column (None: it holds numbers), and which columns of numbers have an indicator of gaps."""

    levels: list[list[Any] | None]
    gaps: list[int]

    @classmethod
    def of(cls, X: Float[Tensor, "n d"], levels: list[list[Any] | None] | None) -> Encoding:
        """What fits the rows of `X`."""
        levels = [None] * X.shape[1] if levels is None else levels
        missing = torch.isnan(X).any(0).tolist()
        return cls(levels, [j for j, known in enumerate(levels) if known is None and missing[j]])

    @property
    def is_plain(self) -> bool:
        """Whether encoded columns are input columns."""
        return not self.gaps and all(known is None for known in self.levels)

    @property
    def numbers(self) -> list[int]:
        """The input columns that hold numbers."""
        return [j for j, known in enumerate(self.levels) if known is None]

    @property
    def sources(self) -> np.ndarray:
        """The input column that each encoded column comes from."""
        codes = [j for j, known in enumerate(self.levels) for _ in known or ()]
        return np.array([*self.numbers, *self.gaps, *codes], dtype=np.int64)

    def names(self, given: list[str]) -> list[str]:
        """Names of encoded columns: "age", "age is missing", "city=Rome", "city is missing"."""
        levels = [
            f"{given[j]} is missing" if level is None else f"{given[j]}={level}"
            for j, known in enumerate(self.levels)
            for level in known or ()
        ]
        return [*(given[j] for j in self.numbers), *(f"{given[j]} is missing" for j in self.gaps), *levels]

    def expanded(self, X: Float[Tensor, "n d"]) -> Float[Tensor, "n p"]:
        """Encoded columns, not yet rescaled; gaps in columns of numbers stay NaN."""
        if self.is_plain:
            return X
        parts = [X[:, self.numbers], torch.isnan(X[:, self.gaps]).to(X.dtype)]
        for j, known in enumerate(self.levels):
            if known:
                count = len(known)
                codes = torch.where(torch.isnan(X[:, j]), count - 1 if known[-1] is None else count, X[:, j])
                parts.append((codes[:, None] == torch.arange(count, device=X.device)).to(X.dtype))
        return torch.cat(parts, 1)

    def columns(
        self, X: Float[Tensor, "n d"], weight: Float[Tensor, " n"] | None, scaling: str, *, centered: bool
    ) -> Columns:
        """Means and scales of the encoded columns; those of indicators are 1, whatever the scaling."""
        encoded, count = self.expanded(X), len(self.numbers)
        columns = Columns.of(encoded[:, :count], weight, scaling, centered=centered)
        if self.is_plain:
            return columns
        indicators = Columns.of(encoded[:, count:], weight, "none", centered=centered)
        return Columns(
            torch.cat([columns.means, indicators.means]), torch.cat([columns.scales, indicators.scales])
        )
