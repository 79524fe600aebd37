"""Class moments of features that arrive in batches and can be very wide, such as all pixels of all channels.

`ClassMoments` merges batches by means; of (32, 800,000) features of ten classes that costs several times the
network that made them. Here every class has a reference vector that never changes (its mean in the first
batch it occurs in), and sums of deviations from it are kept: nothing is merged, and one pass in pieces of
columns that stay in the cache is all there is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from agop import _blocks, _checks
from agop.collapse._accumulate import two_sum
from agop.collapse.moments import ClassMoments

WIDE = 16_384
"""From this many columns on, deviations are taken in the dtype of the features, not in float64."""

_PIECE_BYTES = 4 * 2**20
_FEW_CLASSES = 64
_MANY_CLASSES = 1024
"""Beyond so many classes only those are touched that occur in a batch."""


class StreamingMoments:
    r"""Counts, sums of deviations :math:`\sum_i (h_i - r_{y_i})` and of their squares, about fixed references.

    The references lie near the class means, so the squares about the means,
    :math:`\sum\|h_i - r\|^2 - n_c\|\bar h_c - r\|^2`, lose nothing by cancellation, at deep collapse as little
    as elsewhere. Below `WIDE` columns all is float64. From there on a single deviation is rounded to the dtype
    of the features (a relative 6e-8 of the deviation in float32, as small as the rounding of the features),
    and sums over batches are float64. Memory: 16 bytes per class and column, whatever the number of samples.
    """

    def __init__(self) -> None:
        self._sums: _Sums | None = None
        self._n_classes = 0

    def add(self, rows: Float[Tensor, "n d"], labels: Int[Tensor, " n"], n_classes: int) -> None:
        """Add rows with labels below `n_classes`, which may grow from batch to batch."""
        device = torch.device("cpu") if rows.device.type == "mps" else rows.device
        rows, labels = rows.detach().to(device), labels.to(device)
        sums = self._grown(n_classes, rows)
        counts = torch.bincount(labels, minlength=len(sums.counts)).double()
        new = (sums.counts == 0) & (counts > 0)
        step = _blocks.rows_per_block(rows.shape[1], len(rows) * 8, _PIECE_BYTES)
        for columns in _blocks.row_blocks(rows.shape[1], step):
            sums.add_columns(rows, labels, columns, counts, new)
        sums.counts += counts

    def _grown(self, n_classes: int, rows: Tensor) -> _Sums:
        if self._sums is None:
            self._sums = _Sums.zeros(n_classes, rows)
        sums = self._sums
        if rows.shape[1] != sums.reference.shape[1]:
            raise _checks.bad_value(
                "X",
                f"samples of one size ({sums.reference.shape[1]} features at this layer)",
                f"a batch with {rows.shape[1]}",
                "resize the samples, or use pool='mean'",
            )
        self._n_classes = max(self._n_classes, n_classes)
        if n_classes > len(sums.counts):
            # a vocabulary grows with every batch: room for more is made now and then, not each time
            room = n_classes if n_classes <= _MANY_CLASSES else max(n_classes, 3 * len(sums.counts) // 2)
            self._sums = sums = sums.with_classes(room)
        return sums

    def result(self, order: Int[Tensor, " c"] | None = None) -> ClassMoments:
        """The moments of all that was added, with the classes in this order."""
        if self._sums is None:
            raise _checks.bad_value("X", "at least one batch", "none")
        order = torch.arange(self._n_classes) if order is None else order
        total = self._sums.rows(order)
        reference, sums, counts, squares = total.reference, total.sums, total.counts, total.squares
        if not bool(torch.isfinite(squares).all()):
            raise _checks.bad_value(
                "X",
                "finite features at every layer",
                "NaN or infinite ones",
                "look at the weights and the data",
            )
        offset = sums / counts.clamp_min(1).unsqueeze(1)
        within = squares - counts * torch.linalg.vector_norm(offset, dim=1).square()
        means, residual = two_sum(reference.double(), offset)
        return ClassMoments(counts, means, within.clamp_min(0), residual)


@dataclass
class _Sums:
    """Rows are classes: counts, references, summed deviations from them, summed squares of these."""

    counts: Float[Tensor, " c"]
    reference: Float[Tensor, "c d"]
    sums: Float[Tensor, "c d"]
    squares: Float[Tensor, " c"]

    @classmethod
    def zeros(cls, n_classes: int, like: Tensor) -> _Sums:
        d, device = like.shape[1], like.device
        kind = torch.float64 if d < WIDE else torch.promote_types(like.dtype, torch.float32)

        def zeros(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
            return torch.zeros(shape, dtype=dtype, device=device)

        return cls(zeros(n_classes), zeros(n_classes, d, dtype=kind), zeros(n_classes, d), zeros(n_classes))

    def with_classes(self, n_classes: int) -> _Sums:
        more = n_classes - len(self.counts)
        return _Sums(*(torch.cat([old, old.new_zeros(more, *old.shape[1:])]) for old in self._parts()))

    def rows(self, order: Int[Tensor, " k"]) -> _Sums:
        place = order.to(self.counts.device)
        return _Sums(*(old[place] for old in self._parts()))

    def _parts(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.counts, self.reference, self.sums, self.squares

    def add_columns(self, rows: Tensor, labels: Tensor, columns: slice, counts: Tensor, new: Tensor) -> None:
        """Add some columns of a batch; classes that are `new` get their reference first."""
        piece = rows[:, columns].to(self.reference.dtype)
        present: Any = slice(None)
        inverse, n_present, first = labels, len(counts), new
        if len(counts) > _MANY_CLASSES:
            found, inverse = labels.unique(return_inverse=True)
            present, n_present, counts, new = found, len(found), counts[found], new[found]
            first = found[new]
        if bool(new.any()):
            means = _class_sums(piece, inverse, n_present) / counts.clamp_min(1).unsqueeze(1)
            self.reference[first, columns] = means[new].to(self.reference.dtype)
        deviations = piece - self.reference[:, columns].index_select(0, labels)
        self.sums[present, columns] += _class_sums(deviations, inverse, n_present)
        squares = torch.linalg.vector_norm(deviations, dim=1).double().square_()
        self.squares.index_add_(0, labels, squares)


def _class_sums(
    rows: Float[Tensor, "n d"], labels: Int[Tensor, " n"], n_classes: int
) -> Float[Tensor, "c d"]:
    if n_classes <= _FEW_CLASSES:
        chosen = torch.nn.functional.one_hot(labels, n_classes).to(rows.dtype)
        return chosen.T @ rows
    return torch.zeros(n_classes, rows.shape[1], dtype=rows.dtype, device=rows.device).index_add_(
        0, labels, rows
    )
