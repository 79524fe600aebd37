"""Methods that predict, over a source of rows: block by block, so that only their results are held."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from agop._blocks import rows_per_block
from agop.blocks.block import is_blocks
from agop.machines.streaming import with_names

_BYTES = 64 * 2**20
"""What the rows of a block may take, as float64."""


def in_blocks(predict: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """`predict` that takes a source (`agop.open_blocks`) as well: what it says of all rows, in their order."""

    @functools.wraps(predict)
    def over(self: Any, X: Any) -> Any:
        if not is_blocks(X):
            return predict(self, X)
        rows = rows_per_block(X.n_rows, 8 * X.n_features, _BYTES)
        found = [predict(self, with_names(X, block)) for block in X.read(rows)]
        return torch.cat(found) if isinstance(found[0], Tensor) else np.concatenate(found)

    return over
