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

CPU_BLOCK_BYTES = 8 * 2**20
"""Working memory of one block on the CPU: it stays in the cache between the five passes over it."""

SEGMENT_ROWS = 16_384
"""Rows that share one reference per class."""

CANCELLATION = 64
"""Sums about a reference are taken again when the squares exceed those about the mean by this factor."""


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

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=torch.float64, device=device)

        return cls(zeros(n_classes), zeros(n_classes, d), zeros(n_classes, d), zeros(n_classes))

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
    features: Float[Tensor, "n d"], reference: Float[Tensor, "c d"], index: Int[Tensor, " n"] | None
) -> Iterator[tuple[slice, Float[Tensor, "b d"]]]:
    """`features − reference[index]` (or minus the only reference), float64 blocks on the reference's device.

    The next block overwrites this one: two buffers serve the whole pass, small enough for the CPU's cache.
    """
    n, d = features.shape
    device = reference.device
    budget = CPU_BLOCK_BYTES if device.type == "cpu" else DEFAULT_BLOCK_BYTES
    step = rows_per_block(n, 16 * d, budget)
    deviations = torch.empty(step, d, dtype=torch.float64, device=device)
    shifts = torch.empty_like(deviations) if index is not None else None
    for rows in row_blocks(n, step):
        deviation = deviations[: rows.stop - rows.start]
        # MPS has no float64: its rows cross over in their own dtype
        deviation.copy_(features[rows].detach())
        if index is None or shifts is None:
            deviation.sub_(reference)
        else:
            shift = shifts[: len(deviation)]
            torch.index_select(reference, 0, index[rows], out=shift)
            deviation.sub_(shift)
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
    """The statistics of one segment, summed as deviations from one sample of each class.

    If that sample is an outlier the sums cancel: then, and for the scatter matrix, again about the means.
    """
    n, device = len(labels), features.device
    first = torch.full((n_classes,), n - 1, device=device, dtype=torch.int64)
    first.scatter_reduce_(0, labels, torch.arange(n, device=device), "amin")
    counts = torch.bincount(labels, minlength=n_classes).double()
    sums, squares = _sums_about(features[first].double(), features, labels, counts, None)
    if scatter is None and not bool((squares > CANCELLATION * sums.within).any()):
        return sums
    return _sums_about(sums.means, features, labels, counts, scatter)[0]


def _sums_about(
    reference: Float[Tensor, "c d"],
    features: Float[Tensor, "n d"],
    labels: Int[Tensor, " n"],
    counts: Float[Tensor, " c"],
    scatter: Float[Tensor, "d d"] | None,
) -> tuple[Sums, Float[Tensor, " c"]]:
    """The statistics, and the summed squares about `reference` (which is overwritten); adds to `scatter`."""
    sums, squares = torch.zeros_like(reference), torch.zeros_like(counts)
    for rows, deviation in deviation_blocks(features, reference, labels):
        sums.index_add_(0, labels[rows], deviation)
        squares.index_add_(0, labels[rows], torch.linalg.vector_norm(deviation, dim=1).square_())
        if scatter is not None:
            scatter.addmm_(deviation.T, deviation)
    offset = sums.div_(counts.clamp_min(1).unsqueeze(1))
    within = squares - counts * torch.linalg.vector_norm(offset, dim=1).square()
    if scatter is not None:
        scaled = offset * counts.sqrt().unsqueeze(1)
        scatter.addmm_(scaled.T, scaled, alpha=-1)
    reference[counts == 0] = 0
    means, residual = two_sum(reference, offset)
    return Sums(counts, means, residual, within.clamp_min_(0)), squares


def _add_shift_scatter(scatter: Float[Tensor, "d d"] | None, a: Sums, b: Sums) -> None:
    """What the scatter matrix gains when the class means of two sets are replaced by those of the union."""
    if scatter is not None:
        weight = (a.counts * b.counts / (a.counts + b.counts).clamp_min(1)).sqrt()
        scaled = mean_difference(a, b) * weight.unsqueeze(1)
        scatter.addmm_(scaled.T, scaled)
