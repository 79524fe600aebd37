"""The second pass: within-class scatter in the span of the class means, for Σ_B⁺ without a d × d matrix."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Integer
from torch import Tensor

from agop._checks import bad_value, floating, same_length
from agop.collapse._accumulate import deviation_blocks
from agop.collapse.moments import ClassMoments, Weighting, check_labels


@dataclass(frozen=True, eq=False)
class SpanScatter:
    r"""`Σ_i (h_i − μ_{y_i})ᵀ Σ_B⁺ (h_i − μ_{y_i})` over the samples seen, a sum; `a + b` is that of both
    sets.

    The moments must be those of *all* the samples (a first pass); the second pass may come in any batches:

    >>> import torch
    >>> features, labels = torch.eye(4).repeat(3, 1) + torch.eye(12, 4), torch.arange(12) % 4
    >>> moments = ClassMoments.of(features, labels)
    >>> first = SpanScatter.of(moments, features[:5], labels[:5])
    >>> span = first + SpanScatter.of(moments, features[5:], labels[5:])
    >>> span.n
    12
    """

    moments: ClassMoments
    weighting: Weighting
    total: float
    n: int

    @classmethod
    @torch.no_grad()
    def of(
        cls,
        moments: ClassMoments,
        features: Float[Tensor, "n d"],
        labels: Integer[Tensor, " n"],
        *,
        weighting: Weighting = "class",
    ) -> SpanScatter:
        """The sum over one batch: O(n d C) operations, a few MB of working memory.

        Raises
        ------
        ValueError, TypeError
            As `ClassMoments.of`, and for a label whose class the moments have not seen.

        """
        floating("features", features, ndim=2, finite=False)
        check_labels(labels, moments.n_classes)
        same_length("features", features.shape[0], "labels", labels.shape[0])
        if features.shape[1] != moments.d:
            raise bad_value(
                "features",
                f"{moments.d} columns, as the moments",
                str(features.shape[1]),
                "use the same layer",
            )
        device = moments.means.device
        index = labels.to(device, torch.int64)
        if bool((moments.counts[index] == 0).any()):
            raise bad_value(
                "labels",
                "classes that the moments have seen",
                "an unseen class",
                "take the moments of all samples first",
            )
        spectrum = moments.between(weighting)
        scaled = spectrum.vectors / spectrum.eigenvalues.sqrt()
        total = 0.0
        for _, deviation in deviation_blocks(features, moments.means, index, device):
            total += float(torch.linalg.vector_norm(deviation @ scaled).square())
        if not math.isfinite(total):
            floating("features", features, ndim=2)
            raise bad_value(
                "features", "squares within the float64 range", "an overflow", "rescale the features"
            )
        return cls(moments, weighting, total, len(index))

    def __add__(self, other: SpanScatter) -> SpanScatter:
        """The sum over both sets of samples; they must refer to the same moments."""
        if not isinstance(other, SpanScatter):
            return NotImplemented
        if other.moments is not self.moments or other.weighting != self.weighting:
            raise bad_value(
                "other", "a sum about the same moments", "one about others", "pass the same moments object"
            )
        return SpanScatter(self.moments, self.weighting, self.total + other.total, self.n + other.n)
