r"""Targets with any offset and unit, to those that a machine is fitted to, and back: :math:`y_c = m_c + s_c \tilde y_c`."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from agop.machines.columns import centre, shares, spread

_DIGITS = 1e-3
"""Largest rounding of a prediction, as a share of the targets' standard deviation, that passes without a wider dtype."""

_MOST = float(torch.finfo(torch.float64).max)

_MARGIN = 16
"""Predictions may be this many times as large as the largest target."""


@dataclass(frozen=True, eq=False)
class Targets:
    r"""Offset :math:`m_c` and unit :math:`s_c` of each output, in float64 (0: the output is constant), and how much room they need.

    `largest` is the largest :math:`|y|`; `resolution` the largest machine epsilon that a dtype may have whose rounding is at most 1e-3 of
    the standard deviation of every output.
    """

    means: Float[Tensor, " c"]
    scales: Float[Tensor, " c"]
    largest: float = 0.0
    resolution: float = _MOST

    @classmethod
    def of(
        cls,
        Y: Float[Tensor, "n c"],
        weight: Float[Tensor, " n"] | None,
        *,
        center: bool,
        labels: bool,
        dtype: torch.dtype | None,
    ) -> Targets:
        """What fits targets `Y` (float64), which a machine of `dtype` is to be fitted to (None: one that takes any).

        Centred regression targets are divided by their standard deviation; the ±1 targets of `labels` keep their unit, and their centre is
        2·prior − 1. Without `center` targets stay as they are, but for a power of two that all of them are divided by if their squares
        would leave the range of `dtype`.
        """
        share = shares(weight, Y)
        means = centre(Y / 4, share) * 4  # differences of the largest targets leave the range of float64
        size = Y.abs().amax(0)
        deviations = spread(Y / 4 - means / 4, share) * 4
        return cls.measured(means, deviations, size, center=center, labels=labels, dtype=dtype)

    @classmethod
    def measured(
        cls,
        means: Float[Tensor, " c"],
        deviations: Float[Tensor, " c"],
        size: Float[Tensor, " c"],
        *,
        center: bool,
        labels: bool,
        dtype: torch.dtype | None,
    ) -> Targets:
        """From means, standard deviations and largest absolute values of targets; see `of`."""
        varies = deviations > 4 * torch.finfo(torch.float64).eps * size
        finest = deviations[varies] / size[varies] if bool(varies.any()) else size.new_full((1,), _MOST)
        largest, resolution = float(size.max()), _DIGITS * float(finest.min())
        if labels:
            means = means if center else torch.zeros_like(means)
            return cls(means, torch.ones_like(means))
        if center:
            return cls(means, torch.where(varies, deviations, 0.0), largest, resolution)
        safe = math.inf if dtype is None else torch.finfo(dtype).max ** 0.375
        unit = 1.0 if largest == 0 or 1 / safe < largest < safe else 2.0 ** (math.frexp(largest)[1] - 1)
        return cls(torch.zeros_like(means), torch.full_like(means, unit), largest, resolution)

    def scaled(self, Y: Float[Tensor, "n c"], dtype: torch.dtype) -> Float[Tensor, "n c"]:
        """What is fitted."""
        unit = torch.where(self.scales > 0, self.scales, 1.0)
        return ((Y / 2 - self.means / 2) / unit * 2).masked_fill_(self.scales == 0, 0).to(dtype)

    def restored(self, values: Float[Tensor, "m c"]) -> Float[Tensor, "m c"]:
        """Values of a fitted machine as targets, in float64; as they are where nothing was done to the targets."""
        if not bool(self.means.any()) and bool((self.scales == 1).all()):
            return values
        return self.means + values.double() * self.scales

    def dtype(self, asked: torch.dtype) -> torch.dtype:
        """The dtype of predictions: the one asked for, unless it can't hold the targets or their digits; then float64."""
        limits = torch.finfo(asked)
        holds = self.largest <= limits.max / _MARGIN and limits.eps <= self.resolution
        return asked if holds else torch.float64
