"""Labels of any kind, batch by batch, to class indices."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from agop import _checks


class ClassIndex:
    """Gives every label an index as it first appears; `order()` sorts the classes at the end."""

    def __init__(self) -> None:
        self._index: dict[Any, int] = {}

    def __len__(self) -> int:
        return len(self._index)

    def __call__(self, y: Any) -> Int[Tensor, " n"]:
        """Indices of the labels of one batch: numbers or strings, one per sample."""
        values = np.asarray(y.detach().cpu() if isinstance(y, Tensor) else y)
        if values.ndim == 2 and values.shape[1] == 1:
            values = values[:, 0]
        if values.ndim != 1:
            raise _checks.bad_value(
                "y",
                "one class label per sample, shape (n,)",
                f"shape {values.shape}",
                "take .argmax(1) of one-hot targets",
            )
        if values.dtype.kind == "f" and not (values == np.floor(values)).all():
            raise _checks.bad_value("y", "class labels", "fractions", "collapse is measured between classes")
        if values.dtype.kind not in "buifUS" and not (
            values.dtype.kind == "O" and all(isinstance(value, (str, int)) for value in values)
        ):
            raise _checks.bad_type("y", "numbers or strings", f"dtype {values.dtype}")
        if values.dtype.kind == "b":
            values = values.astype(np.int64)  # True among indices would be a mask
        classes, inverse = np.unique(values, return_inverse=True)
        places = [
            self._index.setdefault(value.item() if hasattr(value, "item") else value, len(self._index))
            for value in classes
        ]
        return torch.as_tensor(np.array(places, dtype=np.int64)[inverse.reshape(-1)])

    def classes(self) -> list[Any]:
        """All labels, sorted."""
        return sorted(self._index)

    def order(self) -> Int[Tensor, " c"]:
        """The index that each class of `classes()` was given."""
        return torch.tensor([self._index[value] for value in self.classes()], dtype=torch.int64)
