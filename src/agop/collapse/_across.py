"""The union of class moments that several processes hold: all-reduces only, memory of one of them."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from agop.collapse._accumulate import Sums, two_sum
from agop.ranks import Ranks


def merged(
    ranks: Ranks, mine: Sums, scatter: Float[Tensor, "d d"] | None
) -> tuple[Sums, Float[Tensor, "d d"] | None]:
    r"""The statistics of all ranks' samples together, the same bits on every rank.

    Two rounds: the counts and the rounded means :math:`r_c` first, then the deviations :math:`\delta = \mu - r` of each rank's
    means from those, with which :math:`\sum\|h - r\|^2 = \text{within} + n\|\delta\|^2`. The mean deviation puts right the rounding of
    :math:`r`, so that nothing cancels however far the means lie from the origin.
    """
    total = ranks.sum_(torch.cat([mine.counts.unsqueeze(1), mine.counts.unsqueeze(1) * mine.means], 1))
    counts = total[:, 0].clone()
    share = counts.clamp_min(1).unsqueeze(1)
    reference = total[:, 1:] / share
    delta = (mine.means - reference) + mine.residual
    delta[mine.counts == 0] = 0
    weight = mine.counts.unsqueeze(1)
    squares = mine.within + mine.counts * torch.linalg.vector_norm(delta, dim=1).square()
    total = ranks.sum_(torch.cat([squares.unsqueeze(1), weight * delta], 1))
    offset = total[:, 1:] / share
    within = total[:, 0] - counts * torch.linalg.vector_norm(offset, dim=1).square()
    means, residual = two_sum(reference, offset)
    matrix = None
    if scatter is not None:
        spread = weight.sqrt() * (delta - offset)
        matrix = ranks.sum_(torch.addmm(scatter, spread.T, spread))
    return Sums(counts, means, residual, within.clamp_min(0)), matrix
