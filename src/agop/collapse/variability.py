"""NC1, variability collapse: how small the spread within classes is against the spread between them."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from agop._checks import bad_type, bad_value, one_of, real
from agop.collapse._undefined import class_details, no_spread_of_means, too_few_classes
from agop.collapse.moments import ClassMoments, Weighting
from agop.collapse.pairs import squared_distances, tiles
from agop.collapse.span import SpanScatter
from agop.measurement import Measurement

NC1Definition = Literal["trace", "trace-released", "pinv", "cdnv"]


def nc1(
    m: ClassMoments,
    definition: NC1Definition = "trace",
    *,
    weighting: Weighting = "class",
    span: SpanScatter | None = None,
) -> Measurement:
    r"""Variability collapse; 0 is collapse, and it is undefined (NaN with the reason) when all class means
    are equal.

    With `Σ_W = 1/n Σ_i (h_i − μ_{y_i})(h_i − μ_{y_i})ᵀ` (mean over samples) and `Σ_B = Σ_c w_c (μ_c − μ)(μ_c
    − μ)ᵀ`, `μ = Σ_c w_c μ_c`, over the C classes that have samples:

    - ``"trace"``: `tr Σ_W / tr Σ_B` (Beaglehole et al. 2024, arXiv 2402.13728, DNC1). In [0, ∞).
    - ``"trace-released"``: the same divided by C, which is what that paper's released scripts plot.
    - ``"pinv"``: `tr(Σ_W Σ_B⁺) / C` (Papyan, Han and Donoho 2020, arXiv 2008.08186, Figure 6). Needs `span`
      (a second pass) or moments with ``scatter="full"``. The numeric rank of Σ_B is in ``details``.
    - ``"cdnv"``: mean over pairs of classes, see `cdnv`.

    Parameters
    ----------
    weighting
        ``"class"``: w_c = 1/C; ``"sample"``: w_c = n_c/n. They agree for balanced classes. Σ_W is a mean over
        samples in both.

    Raises
    ------
    ValueError
        For ``definition="pinv"`` without `span` and without the scatter matrix.

    """
    check_moments("m", m)
    one_of("definition", definition, ("trace", "trace-released", "pinv", "cdnv"))
    one_of("weighting", weighting, ("class", "sample"))
    if definition == "cdnv":
        return cdnv(m)
    details = {**class_details(m), "weighting": weighting}
    reason = no_spread_of_means(m)
    if definition == "pinv":
        _check_second_pass(m, span, weighting)
    if reason is not None:
        return Measurement.undefined("nc1", definition, reason, details)
    if definition == "pinv":
        return _pseudo_inverse(m, span, weighting, details)
    ratio = m.trace_within() / m.trace_between(weighting)
    if definition == "trace-released":
        ratio /= len(m.present)
    return Measurement(ratio, "nc1", definition, details=details)


def _check_second_pass(m: ClassMoments, span: SpanScatter | None, weighting: Weighting) -> None:
    if span is None and m.scatter is None:
        raise bad_value(
            "span",
            'a SpanScatter, or moments with scatter="full", for definition="pinv"',
            "neither",
            "pass span=SpanScatter.of(m, features, labels), a second pass over the data",
        )
    if span is None:
        return
    if span.moments is not m or span.weighting != weighting:
        raise bad_value(
            "span", f"one about these moments with weighting={weighting!r}", "another", "build it from them"
        )
    if span.n != m.n:
        raise bad_value(
            "span", f"a pass over all {m.n} samples", f"{span.n} samples", "add the missing batches"
        )


def _pseudo_inverse(
    m: ClassMoments, span: SpanScatter | None, weighting: Weighting, details: dict[str, object]
) -> Measurement:
    spectrum = m.between(weighting)
    details = {**details, "rank": spectrum.rank, "tolerance": spectrum.tolerance}
    if span is not None:
        total = span.total
    else:
        assert m.scatter is not None
        along = (m.scatter @ spectrum.vectors).mul_(spectrum.vectors).sum(0)
        total = float((along / spectrum.eigenvalues).sum())
    return Measurement(total / m.n / len(m.present), "nc1", "pinv", details=details)


def cdnv(m: ClassMoments, *, exponent: float = 2.0) -> Measurement:
    r"""Class-distance normalised variance, the mean over pairs c ≠ c' of `(V_c + V_c') / (2 ‖μ_c − μ_c'‖^p)`.

    p = `exponent`, 2 in the paper; a larger one counts pairs that are far apart less, and with another than 2 the value has a unit.
    `V_c = 1/n_c Σ_{i in c} ‖h_i − μ_c‖²`. In [0, ∞); 0 is collapse; undefined when two class means are equal.
    ``details`` holds the largest pair. O(C² d) operations in tiles: no (C, C) matrix.
    Galanti, György and Hutter 2021 (arXiv 2112.15121), Section 3.
    """
    check_moments("m", m)
    exponent = real("exponent", exponent, above=0.0)
    label = "cdnv" if exponent == 2 else f"cdnv, exponent {exponent:g}"
    details = class_details(m)
    reason = too_few_classes(m)
    if reason is not None:
        return Measurement.undefined("cdnv", label, reason, details)
    variance, centred = _variances(m), m.centred_means()
    k = len(variance)
    equal = _equal_distance(m)
    total, largest, coincide = 0.0, -1.0, 0
    pair = torch.zeros(2, dtype=torch.int64)
    for rows, columns, _ in tiles(k):
        distances = squared_distances(centred, rows, columns)
        if rows == columns:
            distances.diagonal().fill_(torch.inf)
        coincide += int((distances <= equal).sum()) // (2 if rows == columns else 1)
        inverse = distances.reciprocal_() if exponent == 2 else distances.pow_(-exponent / 2)
        # Σ_ab (V_a + V_b) / (2 D_ab) over unordered pairs needs only row and column sums
        share = 0.5 if rows == columns else 1.0
        total += share * float(variance[rows] @ inverse.sum(1) + variance[columns] @ inverse.sum(0)) / 2
        values = inverse.mul_((variance[rows].unsqueeze(1) + variance[columns]).div_(2))
        top = int(values.argmax())
        if float(values.view(-1)[top]) > largest:
            largest = float(values.view(-1)[top])
            pair = torch.tensor([rows.start + top // values.shape[1], columns.start + top % values.shape[1]])
    if coincide:
        because = (
            f"{coincide} pairs of classes have equal means"
            if coincide > 1
            else "one pair of classes has equal means"
        )
        return Measurement.undefined("cdnv", label, because, details)
    worst = m.present[pair.to(m.present.device)]
    details |= {"largest": largest, "largest_pair": (int(worst[0]), int(worst[1]))}
    return Measurement(total / (k * (k - 1) / 2), "cdnv", label, details=details)


def cdnv_pairs(m: ClassMoments) -> Float[Tensor, "c c"]:
    """CDNV of every pair of classes, (C, C) float64; NaN on the diagonal, for absent classes, equal means."""
    check_moments("m", m)
    full = m.means.new_full((m.n_classes, m.n_classes), torch.nan)
    present = m.present
    if len(present) < 2:
        return full
    variance, whole = _variances(m), slice(0, len(present))
    distances = squared_distances(m.centred_means(), whole, whole)
    distances = torch.where(distances <= _equal_distance(m), torch.nan, distances)
    distances.diagonal().fill_(torch.nan)
    full[present.unsqueeze(1), present] = (variance.unsqueeze(1) + variance).div_(2).div_(distances)
    return full


def trace_within_share(m: ClassMoments) -> Measurement:
    """`tr Σ_W / tr Σ_T`, the share of the total variance that lies within classes: in [0, 1], 0 is collapse.

    `Σ_T = Σ_W + Σ_B` is the covariance of all samples, so Σ_B weighs classes by n_c/n (Beaglehole et al.
    2024, Section 5).
    """
    return _trace_share(m, "trace_within_share")


def trace_between_share(m: ClassMoments) -> Measurement:
    """`tr Σ_B / tr Σ_T`, the share of the total variance between class means: in [0, 1], 1 is collapse."""
    return _trace_share(m, "trace_between_share")


def _trace_share(m: ClassMoments, name: str) -> Measurement:
    check_moments("m", m)
    details = class_details(m)
    reason = too_few_classes(m)
    within, between = m.trace_within(), m.trace_between("sample")
    if reason is None and bool(m.coincident("sample").all()):
        between = 0.0
        reason = None if within > 0 else "all features are equal, so there is no variance to share"
    if reason is not None:
        return Measurement.undefined(name, "total", reason, details)
    part = within if name == "trace_within_share" else between
    return Measurement(part / (within + between), name, "total", details=details)


def _variances(m: ClassMoments) -> Float[Tensor, " k"]:
    present = m.present
    return m.within[present] / m.counts[present]


def _equal_distance(m: ClassMoments) -> float:
    """The squared distance below which two means are equal to float64 rounding."""
    largest = float(m.means.abs().amax())
    return (8 * torch.finfo(torch.float64).eps * largest) ** 2 * m.d


def check_moments(name: str, m: object) -> None:
    """Raise unless a measure was given `ClassMoments`."""
    if not isinstance(m, ClassMoments):
        raise bad_type(
            name, "ClassMoments", type(m).__name__, "build them with ClassMoments.of(features, labels)"
        )
