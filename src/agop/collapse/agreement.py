"""NC4 class by class, batch by batch: a second pass that counts where the classifier decides like the nearest class centre."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float, Int, Integer
from torch import Tensor

from agop._checks import bad_value, floating, one_of, same_length
from agop.collapse._undefined import class_details, no_spread_of_means
from agop.collapse.classifier import agreements
from agop.collapse.moments import ClassMoments, check_labels
from agop.collapse.variability import check_moments
from agop.measurement import Measurement
from agop.ranks import Ranks

Average = Literal["sample", "class"]


@dataclass(frozen=True, eq=False)
class CentreAgreement:
    r"""Counts, for each class, of the samples on which a decision equals the nearest class centre; `a + b` are those of both sets.

    The moments must be those of *all* the samples (a first pass); the second pass may come in any batches and processes:

    >>> import torch
    >>> features, labels = torch.eye(4).repeat(3, 1), torch.arange(12) % 4
    >>> moments = ClassMoments.of(features, labels)
    >>> first = CentreAgreement.of(moments, features[:5], features[:5].argmax(1), labels[:5])
    >>> both = first + CentreAgreement.of(moments, features[5:], features[5:].argmax(1), labels[5:])
    >>> float(both.measurement()), float(both.measurement("class"))
    (1.0, 1.0)

    Attributes
    ----------
    moments
        Whose class means are the centres.
    agree, counts : (C,)
        Samples of each class on which the two agree, and all of them.
    """

    moments: ClassMoments
    agree: Int[Tensor, " c"]
    counts: Int[Tensor, " c"]

    @classmethod
    @torch.no_grad()
    def of(
        cls,
        moments: ClassMoments,
        features: Float[Tensor, "n d"],
        decisions: Integer[Tensor, " n"],
        labels: Integer[Tensor, " n"],
    ) -> CentreAgreement:
        """The counts of one batch: O(n d C) operations in blocks.

        Parameters
        ----------
        features : (n, d), labels : (n,)
            As for `ClassMoments.of`.
        decisions : (n,)
            The class that the classifier decides for: ``logits.argmax(1)``, with the bias.

        Raises
        ------
        ValueError, TypeError
            For inputs that do not fit the moments or each other.
        """
        check_moments("moments", moments)
        floating("features", features, ndim=2, finite=False)
        check_labels(decisions, moments.n_classes, "decisions")
        check_labels(labels, moments.n_classes)
        same_length("features", len(features), "labels", len(labels))
        index = labels.to(moments.means.device, torch.int64)
        agree = agreements(features, decisions, moments)
        C = moments.n_classes
        return cls(moments, torch.bincount(index[agree], minlength=C), torch.bincount(index, minlength=C))

    def __add__(self, other: CentreAgreement) -> CentreAgreement:
        """The counts of both sets of samples; they must refer to the same moments."""
        if not isinstance(other, CentreAgreement):
            return NotImplemented
        if other.moments is not self.moments:
            raise bad_value(
                "other", "counts about the same moments", "others", "pass the same moments object"
            )
        return CentreAgreement(self.moments, self.agree + other.agree, self.counts + other.counts)

    def all_reduce(self, group: Any = None) -> CentreAgreement:
        """The counts of the samples of all processes of a `torch.distributed` group (see `Ranks.of`); each must have the moments of all."""
        ranks = Ranks.of(group)
        if ranks.alone:
            return self
        both = ranks.sum_(torch.stack([self.agree, self.counts]).double()).long()
        return CentreAgreement(self.moments, both[0], both[1])

    @property
    def per_class(self) -> Float[Tensor, " c"]:
        """The share of each class's samples on which the two agree, (C,) float64; NaN for classes without samples."""
        return self.agree.double() / self.counts.double()

    def measurement(self, average: Average = "sample") -> Measurement:
        """NC4 of these samples: the share of all of them (``"sample"``), or the mean over classes of each one's share (``"class"``).

        In [0, 1]; 1 is collapse. The second is blind to how many samples a class has.
        """
        one_of("average", average, ("sample", "class"))
        label = "agreement" if average == "sample" else "agreement, mean over classes"
        n = int(self.counts.sum())
        details = {**class_details(self.moments), "agree": int(self.agree.sum()), "samples": n}
        reason = no_spread_of_means(self.moments)
        if reason is None and n == 0:
            reason = "there are no samples"
        if reason is not None:
            return Measurement.undefined("nc4", label, reason, details)
        shares = self.per_class[self.counts > 0]
        value = details["agree"] / n if average == "sample" else float(shares.mean())
        return Measurement(value, "nc4", label, details={**details, "smallest": float(shares.min())})


__all__ = ["Average", "CentreAgreement"]
