"""One-pass, mergeable class moments: all that most collapse measures need to know of the features.

Features are rows, (n, d), of any floating dtype; labels are integers 0..C-1, (n,). Flatten images or tokens
first: `features.flatten(1)`, or `features.reshape(-1, d)` with one label per token.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import torch
from jaxtyping import Bool, Float, Int, Integer
from torch import Tensor

from agop._checks import bad_type, bad_value, floating, integer, one_of, same_length
from agop._memory import available_memory
from agop.collapse._accumulate import Sums, class_sums, mean_difference, merge
from agop.collapse._across import merged
from agop.collapse.spectrum import BetweenSpectrum, between_spectrum
from agop.ranks import Ranks

Weighting = Literal["class", "sample"]
_T = TypeVar("_T")


@dataclass(frozen=True, eq=False)
class ClassMoments:
    r"""Counts, means and summed squared deviations of every class; `a + b` are those of both sets of samples.

    All in float64, on the device of the features (on the CPU for MPS, which has no float64), whatever the
    dtype that came in. The numbers do not depend on batching, order or the number of workers, nor (beyond the
    rounding of the data) on a constant added to every feature.

    Attributes
    ----------
    counts : (C,)
        Samples of each class, n_c.
    means : (C, d)
        Class means μ_c; rows of absent classes are zero.
    within : (C,)
        Σ_{i in c} ‖h_i − μ_c‖², a sum, not a mean.
    residual : (C, d)
        What the exact class mean has below the last digit of `means`; makes merging exact at deep collapse.
    scatter : (d, d) or None
        Σ_i (h_i − μ_{y_i})(h_i − μ_{y_i})ᵀ over all classes, a sum; kept with ``scatter="full"``.

    """

    counts: Float[Tensor, " c"]
    means: Float[Tensor, "c d"]
    within: Float[Tensor, " c"]
    residual: Float[Tensor, "c d"]
    scatter: Float[Tensor, "d d"] | None = None

    @classmethod
    @torch.no_grad()
    def of(
        cls,
        features: Float[Tensor, "n d"],
        labels: Integer[Tensor, " n"],
        n_classes: int | None = None,
        *,
        scatter: Literal["trace", "full"] = "trace",
    ) -> ClassMoments:
        """Moments of one batch, in one pass: O(nd) operations, a few MB of working memory.

        Parameters
        ----------
        features : (n, d)
            Any floating dtype and device, finite.
        labels : (n,)
            Integers 0..C-1.
        n_classes
            C; the largest label + 1 if None. Say it when batches may miss a class.
        scatter
            ``"full"`` also keeps the (d, d) within-class scatter (n d² operations).

        Raises
        ------
        ValueError, TypeError
            For labels that are not integers 0..C-1, features that are not a finite (n, d) floating tensor, or
            unequal lengths.

        """
        one_of("scatter", scatter, ("trace", "full"))
        floating("features", features, ndim=2, finite=False)
        n_classes = check_labels(labels, n_classes)
        same_length("features", features.shape[0], "labels", labels.shape[0])
        check_size(n_classes, features.shape[1])
        matrix = None
        if scatter == "full":
            device = "cpu" if features.device.type == "mps" else features.device
            matrix = torch.zeros(features.shape[1], features.shape[1], dtype=torch.float64, device=device)
        index = labels.to(features.device, torch.int64)
        sums = class_sums(features.detach(), index, n_classes, matrix)
        if not bool(torch.isfinite(sums.within).all()):
            # sums show it for free; only now look for the culprits
            floating("features", features, ndim=2)
            raise bad_value(
                "features", "squares within the float64 range", "an overflow", "rescale the features"
            )
        return cls(sums.counts, sums.means, sums.within, sums.residual, matrix)

    @classmethod
    def empty(
        cls,
        n_classes: int,
        d: int,
        *,
        scatter: Literal["trace", "full"] = "trace",
        device: torch.device | str | None = None,
    ) -> ClassMoments:
        """Moments of no samples, to start a loop: `m = m + ClassMoments.of(batch, labels, n_classes)`."""
        integer("n_classes", n_classes, at_least=1)
        integer("d", d, at_least=1)
        one_of("scatter", scatter, ("trace", "full"))
        place = torch.device("cpu" if device is None else device)
        place = torch.device("cpu") if place.type == "mps" else place
        sums = Sums.zeros(n_classes, d, place)
        matrix = torch.zeros(d, d, dtype=torch.float64, device=place) if scatter == "full" else None
        return cls(sums.counts, sums.means, sums.within, sums.residual, matrix)

    def __add__(self, other: ClassMoments) -> ClassMoments:
        """Moments of the union of two disjoint sets of samples (Chan, Golub and LeVeque 1979)."""
        if not isinstance(other, ClassMoments):
            return NotImplemented
        if self.means.shape != other.means.shape:
            raise bad_value(
                "other",
                f"moments of {self.n_classes} classes in {self.d} dimensions",
                f"{other.n_classes} classes in {other.d} dimensions",
                "pass the same n_classes to ClassMoments.of for every batch",
            )
        if (self.scatter is None) != (other.scatter is None):
            raise bad_value(
                "other",
                "moments with the same scatter= setting",
                "one with and one without the scatter matrix",
                'use scatter="full" for both or neither',
            )
        device = self.means.device
        a, b = self._sums(), other.to(device)._sums()
        sums = merge(a, b)
        matrix = None
        if self.scatter is not None and other.scatter is not None:
            weight = (a.counts * b.counts / sums.counts.clamp_min(1)).sqrt()
            shift = mean_difference(a, b) * weight.unsqueeze(1)
            matrix = (self.scatter + other.scatter.to(device)).addmm_(shift.T, shift)
        return ClassMoments(sums.counts, sums.means, sums.within, sums.residual, matrix)

    def all_reduce(self, group: Any = None) -> ClassMoments:
        """Moments of the samples of all processes of a `torch.distributed` group, the same on each; the processes hold disjoint samples.

        `group` is a process group or an `agop.ranks.Ranks`; None: that of `agop.launched`, else the default group. Every
        process must call it; one without samples has `ClassMoments.empty(n_classes, d)`.
        """
        ranks = Ranks.of(group)
        if ranks.alone:
            return self
        kept = "with" if self.scatter is not None else "without"
        ranks.agree("moments", f"{self.n_classes} classes in {self.d} dimensions {kept} scatter")
        sums, matrix = merged(ranks, self._sums(), self.scatter)
        return ClassMoments(sums.counts, sums.means, sums.within, sums.residual, matrix)

    def to(self, device: torch.device | str) -> ClassMoments:
        """The same moments on another device (the CPU instead of MPS)."""
        place = torch.device(device)
        place = torch.device("cpu") if place.type == "mps" else place
        matrix = None if self.scatter is None else self.scatter.to(place)
        return ClassMoments(
            self.counts.to(place),
            self.means.to(place),
            self.within.to(place),
            self.residual.to(place),
            matrix,
        )

    def with_classes(self, n_classes: int) -> ClassMoments:
        """The same moments among `n_classes` >= C classes; the new ones have no samples."""
        integer("n_classes", n_classes, at_least=self.n_classes)
        extra = n_classes - self.n_classes

        def padded(rows: Tensor) -> Tensor:
            return torch.cat([rows, rows.new_zeros(extra, *rows.shape[1:])])

        return ClassMoments(
            padded(self.counts), padded(self.means), padded(self.within), padded(self.residual), self.scatter
        )

    def with_counts(self, at_least: int = 1, at_most: int | None = None) -> ClassMoments:
        """The same moments, of the classes that have so many samples; the others count as absent: measures leave them out and say so.

        Not for moments with the scatter matrix, which is one of all classes.
        """
        integer("at_least", at_least, at_least=0)
        kept = self.counts >= at_least
        if at_most is not None:
            kept &= self.counts <= integer("at_most", at_most, at_least=at_least)
        if self.scatter is not None and bool((self.counts[~kept] > 0).any()):
            remedy = 'take the moments of these classes, or scatter="trace"'
            raise bad_value("moments", "ones without the scatter of all classes", 'scatter="full"', remedy)
        rows = kept.unsqueeze(1)
        return ClassMoments(
            self.counts * kept, self.means * rows, self.within * kept, self.residual * rows, self.scatter
        )

    def _sums(self) -> Sums:
        return Sums(self.counts, self.means, self.residual, self.within)

    @property
    def n_classes(self) -> int:
        """C, absent classes included."""
        return self.means.shape[0]

    @property
    def d(self) -> int:
        """Number of features."""
        return self.means.shape[1]

    @property
    def n(self) -> int:
        """Number of samples."""
        return int(self.counts.sum())

    @property
    def present(self) -> Int[Tensor, " k"]:
        """The classes that have samples, ascending."""
        return self.counts.nonzero().squeeze(1)

    @property
    def absent(self) -> Int[Tensor, " k"]:
        """The classes without a sample; measures leave them out and say so."""
        return (self.counts == 0).nonzero().squeeze(1)

    def weights(self, weighting: Weighting = "class") -> Float[Tensor, " k"]:
        """Weights of the present classes that sum to 1: equal (``"class"``) or n_c / n (``"sample"``)."""
        one_of("weighting", weighting, ("class", "sample"))
        counts = self.counts[self.present]
        return (
            counts / counts.sum()
            if weighting == "sample"
            else torch.full_like(counts, 1 / max(1, len(counts)))
        )

    def global_mean(self, weighting: Weighting = "class") -> Float[Tensor, " d"]:
        """μ, the mean of class means (``"class"``) or of samples (``"sample"``); zeros without samples."""
        present = self.present
        if len(present) == 0:
            return self.means.new_zeros(self.d)
        return self.means[present[0]] + self.weights(weighting) @ self._from_first()

    def centred_means(self, weighting: Weighting = "class") -> Float[Tensor, "k d"]:
        """μ_c − μ of the present classes, ascending; computed once and kept, so do not write into it."""
        return self._kept(("centred", weighting), lambda: self._centred(weighting))

    def _centred(self, weighting: Weighting) -> Float[Tensor, "k d"]:
        shifted = self._from_first()
        return shifted.sub_(self.weights(weighting) @ shifted) if len(shifted) else shifted

    def _from_first(self) -> Float[Tensor, "k d"]:
        """Means relative to that of the first present class: exactly zero when all coincide."""
        present = self.present
        means = self.means[present]
        if len(present) == 0:
            return means
        first, tail = means[0].clone(), self.residual[present]
        return means.sub_(first).add_(tail.sub_(tail[0].clone()))

    def _kept(self, key: tuple[str, ...], make: Callable[[], _T]) -> _T:
        """What several measures need of the same moments is computed once."""
        kept: dict[tuple[str, ...], _T] = self.__dict__.setdefault("_cache", {})
        if key not in kept:
            kept[key] = make()
        return kept[key]

    def __getstate__(self) -> dict[str, object]:
        return {key: value for key, value in self.__dict__.items() if key != "_cache"}

    def trace_within(self) -> float:
        """Tr Σ_W = 1/n Σ_i ‖h_i − μ_{y_i}‖²; NaN without samples."""
        n = float(self.counts.sum())
        return float(self.within.sum()) / n if n else float("nan")

    def trace_between(self, weighting: Weighting = "class") -> float:
        """Tr Σ_B = Σ_c w_c ‖μ_c − μ‖², w_c = 1/C (``"class"``) or n_c/n (``"sample"``), or NaN."""
        centred = self.centred_means(weighting)
        if len(centred) == 0:
            return float("nan")
        return float(self.weights(weighting) @ torch.linalg.vector_norm(centred, dim=1).square())

    def coincident(self, weighting: Weighting = "class") -> Bool[Tensor, " k"]:
        """Which present classes have a mean equal, to float64 rounding, to the global mean."""
        return self._kept(("coincident", weighting), lambda: self._coincident(weighting))

    def _coincident(self, weighting: Weighting) -> Bool[Tensor, " k"]:
        norms = torch.linalg.vector_norm(self.centred_means(weighting), dim=1)
        largest = self.means.abs().amax() if self.means.numel() else 0.0
        return norms <= 8 * torch.finfo(torch.float64).eps * largest * self.d**0.5

    def between(self, weighting: Weighting = "class") -> BetweenSpectrum:
        """The eigenvalues and directions of Σ_B in the span of the class means; computed once and kept."""
        make = lambda: between_spectrum(self.centred_means(weighting), self.weights(weighting))  # noqa: E731
        return self._kept(("between", weighting), make)

    def __repr__(self) -> str:
        kept = ", scatter (d, d)" if self.scatter is not None else ""
        return f"ClassMoments(n={self.n}, classes={len(self.present)} of {self.n_classes}, d={self.d}{kept})"


def check_size(n_classes: int, d: int) -> None:
    """Raise unless there are features, and means of all classes fit into memory: a label may be anything by mistake."""
    if d == 0:
        raise bad_value("features", "at least one column", "none")
    size = 2 * 8 * n_classes * d
    if size > 2**28 and size > available_memory():
        raise bad_value(
            "labels",
            "class numbers 0..C-1 whose means fit into memory",
            f"{n_classes:,} classes in {d:,} dimensions",
            "renumber them with torch.unique(labels, return_inverse=True)[1]",
        )


def check_labels(labels: Tensor, n_classes: int | None, name: str = "labels") -> int:
    """The number of classes, after checking that labels are integers 0..C-1."""
    expected = "integer labels 0..C-1 of shape (n,)"
    if not isinstance(labels, Tensor):
        raise bad_type(name, expected, type(labels).__name__, "convert them with torch.as_tensor")
    if labels.dtype == torch.bool or labels.is_floating_point() or labels.is_complex():
        raise bad_type(name, expected, f"dtype {labels.dtype}", "convert them with .long()")
    if labels.ndim != 1:
        raise bad_value(
            name,
            expected,
            f"shape {tuple(labels.shape)}",
            "take .argmax(1) of one-hot targets, or flatten them",
        )
    if n_classes is not None:
        integer("n_classes", n_classes, at_least=1)
    if labels.numel() == 0:
        if n_classes is None:
            raise bad_value(
                name, "at least one label", "none", "pass n_classes for a batch that may be empty"
            )
        return n_classes
    low, high = (int(value) for value in labels.aminmax())
    if low < 0 or (n_classes is not None and high >= n_classes):
        top = "C-1" if n_classes is None else str(n_classes - 1)
        raise bad_value(
            name,
            f"integers 0..{top}",
            f"values from {low} to {high}",
            "drop ignored samples (such as -100) and renumber",
        )
    return high + 1 if n_classes is None else n_classes
