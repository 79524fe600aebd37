"""Class sums of rows in float64, block by block: the arithmetic beneath `ClassMoments`.

A mean is kept as `means + residual` (two float64, the second below the last digit of the first), so that
merging the statistics of two batches loses nothing even when class means are 10^10 times the spread around
them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from agop._blocks import DEFAULT_BLOCK_BYTES, row_blocks, rows_per_block

CPU_BLOCK_BYTES = 4 * 2**20
"""Working memory of one block on the CPU: it stays in the cache between the five passes over it."""

SEGMENT_ROWS = 16_384
"""Rows that share one reference per class."""

CANCELLATION = 64
"""Sums about a sample are taken again when the squares exceed those about the mean by this factor."""

PLAIN = 8
"""The same for sums about zero."""

PROBE_ROWS = 256
"""Rows on which it is tried whether sums about zero will do."""


@dataclass
class Sums:
    """Count, mean (as a sum of two float64) and summed squared deviation of every class; rows are classes."""

    counts: Float[Tensor, " c"]
    means: Float[Tensor, "c d"]
    residual: Float[Tensor, "c d"]
    within: Float[Tensor, " c"]

    @classmethod
    def zeros(cls, n_classes: int, d: int, device: torch.device) -> Sums:
        """No samples yet."""
        column = torch.zeros(n_classes, dtype=torch.float64, device=device)
        matrix = column.new_zeros(n_classes, d)
        return cls(column, matrix, matrix.clone(), column.clone())

    def rows(self, classes: Int[Tensor, " k"]) -> Sums:
        """The statistics of some classes, copied."""
        return Sums(self.counts[classes], self.means[classes], self.residual[classes], self.within[classes])

    def put(self, classes: Int[Tensor, " k"], rows: Sums) -> None:
        """Overwrite the statistics of some classes."""
        self.counts[classes] = rows.counts
        self.means[classes] = rows.means
        self.residual[classes] = rows.residual
        self.within[classes] = rows.within


def two_sum(
    a: Float[Tensor, "c d"], b: Float[Tensor, "c d"]
) -> tuple[Float[Tensor, "c d"], Float[Tensor, "c d"]]:
    """`a + b` rounded, and the rounding error (Knuth): together they are the exact sum."""
    total = a + b
    virtual = total - a
    return total, (a - (total - virtual)) + (b - virtual)


def mean_difference(a: Sums, b: Sums) -> Float[Tensor, "c d"]:
    """`mean_b − mean_a` per class, exact where the two means nearly coincide."""
    return (b.means - a.means) + (b.residual - a.residual)


def merge(a: Sums, b: Sums) -> Sums:
    """The statistics of the union of two disjoint sets of samples (Chan, Golub and LeVeque 1979)."""
    new = ((a.counts == 0) & (b.counts > 0)).unsqueeze(1)
    if bool(new.any()):
        # a class seen for the first time keeps its mean to the last digit: zero plus it would round
        means, residual = torch.where(new, b.means, a.means), torch.where(new, b.residual, a.residual)
        a = Sums(a.counts, means, residual, a.within)
    counts = a.counts + b.counts
    share = b.counts / counts.clamp_min(1)
    delta = mean_difference(a, b)
    between = (a.counts * share) * torch.linalg.vector_norm(delta, dim=1).square()
    means, residual = two_sum(a.means, a.residual + delta * share.unsqueeze(1))
    return Sums(counts, means, residual, a.within + b.within + between)


def deviation_blocks(
    features: Float[Tensor, "n d"],
    reference: Float[Tensor, "c d"] | None,
    index: Int[Tensor, " n"] | None,
    device: torch.device,
) -> Iterator[tuple[slice, Float[Tensor, "b d"]]]:
    """Float64 blocks of `features − reference[index]`, or minus the only reference, or as they are if None.

    The next block overwrites this one: two buffers serve the whole pass, small enough for the CPU's cache.
    """
    n, d = features.shape
    budget = CPU_BLOCK_BYTES if device.type == "cpu" else DEFAULT_BLOCK_BYTES
    step = rows_per_block(n, 16 * d, budget)
    deviations = torch.empty(step, d, dtype=torch.float64, device=device)
    shifts = torch.empty_like(deviations) if index is not None and reference is not None else None
    for rows in row_blocks(n, step):
        deviation = deviations[: rows.stop - rows.start]
        # MPS has no float64: its rows cross over in their own dtype
        deviation.copy_(features[rows].detach())
        if reference is not None and index is not None and shifts is not None:
            shift = shifts[: len(deviation)]
            torch.index_select(reference, 0, index[rows], out=shift)
            deviation.sub_(shift)
        elif reference is not None:
            deviation.sub_(reference)
        yield rows, deviation


def class_sums(
    features: Float[Tensor, "n d"],
    labels: Int[Tensor, " n"],
    n_classes: int,
    scatter: Float[Tensor, "d d"] | None,
) -> Sums:
    """The statistics of all rows; adds the pooled within-class scatter to `scatter` if there is one."""
    # MPS has no float64: rows cross to the CPU segment by segment, in their own dtype
    device = torch.device("cpu") if features.device.type == "mps" else features.device
    n, d = features.shape
    few = n_classes <= SEGMENT_ROWS // 16
    total = Sums.zeros(n_classes, d, device)
    for rows in row_blocks(n, SEGMENT_ROWS):
        segment = features[rows].to(device)
        if few:
            part = _segment_sums(segment, labels[rows].to(device), n_classes, scatter)
            _add_shift_scatter(scatter, total, part)
            total = merge(total, part) if rows.start else part
            continue
        # many classes: touch only those that occur here
        present, compact = labels[rows].to(device).unique(return_inverse=True)
        part = _segment_sums(segment, compact, len(present), scatter)
        if rows.start:
            before = total.rows(present)
            _add_shift_scatter(scatter, before, part)
            part = merge(before, part)
        total.put(present, part)
    return total


def _segment_sums(
    features: Float[Tensor, "n d"],
    labels: Int[Tensor, " n"],
    n_classes: int,
    scatter: Float[Tensor, "d d"] | None,
) -> Sums:
    """The statistics of one segment, in the cheapest way that cancels no digits.

    Sums about zero are enough where class means are small against the spread (three passes over a block instead of
    five); else sums of deviations from one sample of each class; and where that is an outlier, and for the scatter
    matrix, a second time about the means.
    """
    n, device = len(labels), features.device
    counts = torch.bincount(labels, minlength=n_classes).double()
    if scatter is None and n >= 64 * n_classes:
        few = labels[:PROBE_ROWS]
        probe, squares = _sums_about(
            None, features[:PROBE_ROWS], few, torch.bincount(few, minlength=n_classes).double(), None
        )
        if bool(squares.sum() < PLAIN / 2 * probe.within.sum()):
            sums, squares = _sums_about(None, features, labels, counts, None)
            if not bool((squares > PLAIN * sums.within).any()):
                return sums
    first = torch.full((n_classes,), n - 1, device=device, dtype=torch.int64)
    first.scatter_reduce_(0, labels, torch.arange(n, device=device), "amin")
    sums, squares = _sums_about(features[first].double(), features, labels, counts, None)
    if scatter is None and not bool((squares > CANCELLATION * sums.within).any()):
        return sums
    return _sums_about(sums.means, features, labels, counts, scatter)[0]


def _sums_about(
    reference: Float[Tensor, "c d"] | None,
    features: Float[Tensor, "n d"],
    labels: Int[Tensor, " n"],
    counts: Float[Tensor, " c"],
    scatter: Float[Tensor, "d d"] | None,
) -> tuple[Sums, Float[Tensor, " c"]]:
    """The statistics, and the summed squares about `reference` (None is zero; overwritten); adds to `scatter`."""
    sums, squares = counts.new_zeros(len(counts), features.shape[1]), torch.zeros_like(counts)
    for rows, deviation in deviation_blocks(features, reference, labels, counts.device):
        sums.index_add_(0, labels[rows], deviation)
        squares.index_add_(0, labels[rows], torch.linalg.vector_norm(deviation, dim=1).square_())
        if scatter is not None:
            scatter.addmm_(deviation.T, deviation)
    offset = sums.div_(counts.clamp_min(1).unsqueeze(1))
    within = squares - counts * torch.linalg.vector_norm(offset, dim=1).square()
    if scatter is not None:
        scaled = offset * counts.sqrt().unsqueeze(1)
        scatter.addmm_(scaled.T, scaled, alpha=-1)
    within.clamp_min_(0)
    if reference is None:
        return Sums(counts, offset, torch.zeros_like(offset), within), squares
    reference[counts == 0] = 0
    means, residual = two_sum(reference, offset)
    return Sums(counts, means, residual, within), squares


def _add_shift_scatter(scatter: Float[Tensor, "d d"] | None, a: Sums, b: Sums) -> None:
    """What the scatter matrix gains when the class means of two sets are replaced by those of the union."""
    if scatter is not None:
        weight = (a.counts * b.counts / (a.counts + b.counts).clamp_min(1)).sqrt()
        scaled = mean_difference(a, b) * weight.unsqueeze(1)
        scatter.addmm_(scaled.T, scaled)
