"""Which class each row of a layer belongs to: labels per sample or per position, and positions that are padding."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from agop import _checks
from agop.profiles import pooling
from agop.profiles.labels import SEVERAL
from agop.profiles.sample import Picked


@dataclass(frozen=True, eq=False)
class BatchLabels:
    """What is known of the samples that run through the model now.

    Attributes
    ----------
    labels
        The class index of each sample, (b,), or of each position, (b, …); −1 for what is in no class.
    n_classes
        How many classes have come so far.
    picked
        Which samples of the batch have their rows kept.
    mask
        Which positions count, (b, …), or None for all of them.
    """

    labels: Int[Tensor, "b *p"]
    n_classes: int
    picked: Picked | None = None
    mask: Bool[Tensor, "b *q"] | None = None

    def __post_init__(self) -> None:
        if not self.per_position or self.mask is None:
            return
        if self.mask.shape != self.labels.shape:
            expected = f"one label per sample, or per position of the mask, shape {tuple(self.mask.shape)}"
            raise _checks.bad_value("y", expected, f"shape {tuple(self.labels.shape)}", SEVERAL)
        object.__setattr__(self, "labels", torch.where(self.mask.cpu(), self.labels, -1))

    @property
    def per_position(self) -> bool:
        """Whether every position has a label of its own."""
        return self.labels.ndim > 1

    @property
    def positions(self) -> int:
        """How many positions the labels or the mask tell apart; 1 where neither does."""
        shape = self.labels.shape if self.per_position or self.mask is None else self.mask.shape
        return math.prod(shape[1:])

    def by_position(self) -> Int[Tensor, "b p"]:
        """The class index of every position, −1 for padding."""
        labels = (
            self.labels.flatten(1) if self.per_position else self.labels[:, None].expand(-1, self.positions)
        )
        return labels if self.mask is None else torch.where(self.mask.cpu().flatten(1), labels, -1)

    def of_rows(self, n_rows: int) -> Int[Tensor, " m"] | None:
        """The class index of each of the rows that a layer has; None where labels per position have other positions."""
        if n_rows == len(self.labels) * self.positions and (self.per_position or self.mask is not None):
            return (
                self.by_position().reshape(-1)
                if n_rows > len(self.labels) or self.per_position
                else self.labels
            )
        return None if self.per_position else pooling.spread_labels(self.labels, n_rows)

    def samples_first(self, tensor: Tensor) -> Tensor | None:
        """The tensor with samples along its first axis, also where the positions of all samples lie below each other; or None."""
        b = len(self.labels)
        found = pooling.samples_first(tensor, b)
        below = tensor.ndim == 2 and self.positions > 1 and len(tensor) == b * self.positions
        if found is None and below and tensor.is_floating_point():
            return tensor.reshape(b, self.positions, -1)
        return found

    def mask_for(self, tensor: Tensor, axis: int) -> Bool[Tensor, "b p"] | None:
        """The mask, where the tensor's positions (all axes but the first and that of the features) are those of the mask."""
        if self.mask is None or tensor.ndim < 3:
            return None
        positions = tensor.numel() // (len(tensor) * tensor.shape[axis]) if tensor.numel() else 0
        return self.mask.flatten(1) if positions == math.prod(self.mask.shape[1:]) else None
