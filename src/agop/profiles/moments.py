"""Class moments of features that arrive in batches and can be very wide, such as all pixels of all channels.

`ClassMoments` merges batches by means; of (32, 800,000) features of ten classes that costs several times the
network that made them. Here every class has a reference vector that never changes (its mean in the first
batch it occurs in), and sums of deviations from it are kept: nothing is merged, and one pass in pieces of
columns that stay in the cache is all there is.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from agop import _blocks, _checks
from agop.collapse.moments import ClassMoments

WIDE = 16_384
"""From this many columns on, deviations are taken in the dtype of the features, not in float64."""

_PIECE_BYTES = 4 * 2**20
_FEW_CLASSES = 64


class StreamingMoments:
    r"""Counts, sums of deviations :math:`\sum_i (h_i - r_{y_i})` and of their squares, about fixed references.

    The references lie near the class means, so the squares about the means,
    :math:`\sum\|h_i - r\|^2 - n_c\|\bar h_c - r\|^2`, lose nothing by cancellation, at deep collapse as little
    as elsewhere. Below `WIDE` columns all is float64. From there on a single deviation is rounded to the dtype
    of the features (a relative 6e-8 of the deviation in float32, as small as the rounding of the features),
    and sums over batches are float64. Memory: 16 bytes per class and column, whatever the number of samples.
    """

    def __init__(self) -> None:
        self._reference: Tensor | None = None
        self._sums: Tensor | None = None
        self._counts: Tensor | None = None
        self._squares: Tensor | None = None

    def add(self, rows: Float[Tensor, "n d"], labels: Int[Tensor, " n"], n_classes: int) -> None:
        """Add rows with labels below `n_classes`, which may grow from batch to batch."""
        device = torch.device("cpu") if rows.device.type == "mps" else rows.device
        rows, labels = rows.detach().to(device), labels.to(device)
        self._grow(n_classes, rows)
        assert self._counts is not None
        counts = torch.bincount(labels, minlength=n_classes).double()
        new = (self._counts == 0) & (counts > 0)
        step = _blocks.rows_per_block(rows.shape[1], len(rows) * 8, _PIECE_BYTES)
        for columns in _blocks.row_blocks(rows.shape[1], step):
            self._add_columns(rows, labels, columns, counts, new)
        self._counts += counts

    def _grow(self, n_classes: int, rows: Tensor) -> None:
        d = rows.shape[1]
        kind = torch.float64 if d < WIDE else torch.promote_types(rows.dtype, torch.float32)
        if self._reference is None:
            self._reference = torch.zeros(0, d, dtype=kind, device=rows.device)
            self._sums = torch.zeros(0, d, dtype=torch.float64, device=rows.device)
            self._counts = torch.zeros(0, dtype=torch.float64, device=rows.device)
            self._squares = torch.zeros(0, dtype=torch.float64, device=rows.device)
        assert self._sums is not None and self._counts is not None and self._squares is not None
        if d != self._reference.shape[1]:
            raise _checks.bad_value(
                "X",
                f"samples of one size ({self._reference.shape[1]} features at this layer)",
                f"a batch with {d}",
                "resize the samples, or use pool='mean'",
            )
        more = n_classes - len(self._counts)
        if more > 0:
            grown = (self._reference, self._sums, self._counts, self._squares)
            self._reference, self._sums, self._counts, self._squares = (
                torch.cat([old, old.new_zeros(more, *old.shape[1:])]) for old in grown
            )

    def _add_columns(self, rows: Tensor, labels: Tensor, columns: slice, counts: Tensor, new: Tensor) -> None:
        assert self._reference is not None and self._sums is not None and self._squares is not None
        piece = rows[:, columns].to(self._reference.dtype)
        if bool(new.any()):
            means = _class_sums(piece, labels, len(counts)) / counts.clamp_min(1).unsqueeze(1)
            self._reference[new, columns] = means[new].to(self._reference.dtype)
        deviations = piece - self._reference[:, columns].index_select(0, labels)
        self._sums[:, columns] += _class_sums(deviations, labels, len(counts))
        squares = torch.linalg.vector_norm(deviations, dim=1).double().square_()
        self._squares.index_add_(0, labels, squares)

    def result(self, order: Int[Tensor, " c"] | None = None) -> ClassMoments:
        """The moments of all that was added, with the classes in this order."""
        if self._reference is None or self._sums is None or self._counts is None or self._squares is None:
            raise _checks.bad_value("X", "at least one batch", "none")
        if not bool(torch.isfinite(self._squares).all()):
            raise _checks.bad_value(
                "X",
                "finite features at every layer",
                "NaN or infinite ones",
                "look at the weights and the data",
            )
        reference, sums, counts, squares = self._reference, self._sums, self._counts, self._squares
        if order is not None:
            place = order.to(counts.device)
            reference, sums, counts, squares = reference[place], sums[place], counts[place], squares[place]
        offset = sums / counts.clamp_min(1).unsqueeze(1)
        within = squares - counts * torch.linalg.vector_norm(offset, dim=1).square()
        reference = reference.double()
        means = reference + offset
        # Knuth's two-sum: what the mean has below its last digit
        virtual = means - reference
        residual = (reference - (means - virtual)) + (offset - virtual)
        return ClassMoments(counts, means, within.clamp_min(0), residual)


def _class_sums(
    rows: Float[Tensor, "n d"], labels: Int[Tensor, " n"], n_classes: int
) -> Float[Tensor, "c d"]:
    if n_classes <= _FEW_CLASSES:
        chosen = torch.nn.functional.one_hot(labels, n_classes).to(rows.dtype)
        return chosen.T @ rows
    return torch.zeros(n_classes, rows.shape[1], dtype=rows.dtype, device=rows.device).index_add_(
        0, labels, rows
    )
