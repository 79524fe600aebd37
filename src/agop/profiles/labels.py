"""Labels of any kind, batch by batch, to class indices."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from agop import _checks

IGNORE_INDEX = -100
"""The label of what is in no class, as torch's losses have it."""

SEVERAL = "take .argmax(1) of one-hot targets; of several labels a sample measure one at a time, y[:, k]"
"""What to do with labels of two axes that are none of positions."""


class ClassIndex:
    """Gives every label an index as it first appears, −1 to those that are ignored; `order()` sorts the classes at the end.

    With `positions`, a sample may have a label at each of its positions (tokens, pixels).
    """

    def __init__(self, ignore_index: int | None = IGNORE_INDEX, *, positions: bool = False) -> None:
        self._index: dict[Any, int] = {}
        self._ignore, self._positions = ignore_index, positions
        self.ignored = 0

    def __len__(self) -> int:
        return len(self._index)

    def __call__(self, y: Any) -> Int[Tensor, "n *p"]:
        """Indices of the labels of one batch: numbers or strings, one per sample or position."""
        values = self._checked(y)
        flat = values.reshape(-1)
        if flat.dtype.kind == "b":
            flat = flat.astype(np.int64)  # True among indices would be a mask
        kept = ~self._ignored(flat)
        self.ignored += int((~kept).sum())
        indices = np.full(len(flat), -1, dtype=np.int64)
        classes, inverse = np.unique(flat[kept], return_inverse=True)
        places = [
            self._index.setdefault(value.item() if hasattr(value, "item") else value, len(self._index))
            for value in classes
        ]
        indices[kept] = np.array(places, dtype=np.int64)[inverse.reshape(-1)]
        return torch.as_tensor(indices.reshape(values.shape))

    def _checked(self, y: Any) -> np.ndarray:
        try:
            values = np.asarray(y.detach().cpu() if isinstance(y, Tensor) else y)
        except ValueError:  # rows of different lengths
            raise _checks.bad_value(
                "y", "one class label per sample", "lists of different lengths", SEVERAL
            ) from None
        if values.ndim == 2 and values.shape[1] == 1:
            values = values[:, 0]
        several = values.ndim > 1
        if values.ndim == 0 or (several and (not self._positions or values.dtype.kind in "bf")):
            wanted = "one class label per sample, shape (n,)"
            wanted += ", or integers or names per position, (n, positions)" if self._positions else ""
            kind = f" of {values.dtype}" if several and self._positions else ""
            raise _checks.bad_value("y", wanted, f"shape {values.shape}{kind}", SEVERAL)
        if values.dtype.kind == "f" and not (values == np.floor(values)).all():
            raise _checks.bad_value("y", "class labels", "fractions", "collapse is measured between classes")
        if values.dtype.kind not in "buifUS" and not (
            values.dtype.kind == "O" and all(isinstance(value, (str, int)) for value in values.reshape(-1))
        ):
            raise _checks.bad_type("y", "numbers or strings", f"dtype {values.dtype}")
        if values.dtype.kind == "O" and len({isinstance(value, str) for value in self._named(values)}) > 1:
            raise _checks.bad_type("y", "labels of one kind", "texts and numbers", "convert them to texts")
        return values

    def _named(self, values: np.ndarray) -> list[Any]:
        return [value for value in values.reshape(-1) if value != self._ignore]

    def _ignored(self, flat: np.ndarray) -> np.ndarray:
        if self._ignore is None:
            return np.zeros(len(flat), dtype=bool)
        # a list of names and −100 becomes an array of texts
        ignored = flat == (str(self._ignore) if flat.dtype.kind == "U" else self._ignore)
        return np.broadcast_to(np.asarray(ignored, dtype=bool), flat.shape)

    def classes(self) -> list[Any]:
        """All labels, sorted."""
        return sorted(self._index)

    def order(self) -> Int[Tensor, " c"]:
        """The index that each class of `classes()` was given."""
        return torch.tensor([self._index[value] for value in self.classes()], dtype=torch.int64)
