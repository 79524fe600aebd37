"""The measures of neural collapse as probes: class moments of a stage, and for some the rows, the classifier, or other data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agop.collapse._undefined import no_spread_of_means
from agop.collapse.classifier import nc3, nc4, nearest_centre_agreement
from agop.collapse.geometry import equiangularity, equinorm, nc2, simplex_angle
from agop.collapse.novelty import nc5
from agop.collapse.rank import effective_rank, means_effective_rank, means_rank
from agop.collapse.span import SpanScatter
from agop.collapse.variability import cdnv, nc1, trace_between_share, trace_within_share
from agop.evidence import Evidence, Need
from agop.measurement import Measurement
from agop.probe import Probe

_PAPYAN = "Papyan, Han, Donoho 2020 (arXiv 2008.08186)"
_BEAGLEHOLE = "Beaglehole et al. 2024 (arXiv 2402.13728)"
_ZHU = "Zhu et al. 2021 (arXiv 2105.02375)"
_ROY = "Roy, Vetterli 2007, Definition 1"
_SHAPE = ("order", "labels", "shift", "rotation", "scale", "batches")
_ABOUT_ZERO = ("order", "labels", "rotation", "scale", "batches")


def _of_moments(function: Callable[..., Measurement], **fixed: Any) -> Callable[..., Measurement]:
    """A measure of class moments as a function of evidence."""
    return lambda e, **options: function(e.moments, **fixed, **options)


def _of_classifier(definition: str) -> Callable[..., Measurement]:
    return lambda e, **options: nc3(e.moments, e.weight, definition, **options)  # type: ignore[arg-type]


def _pinv(e: Evidence, **options: Any) -> Measurement:
    return nc1(e.moments, "pinv", span=SpanScatter.of(e.moments, e.rows, e.labels, **options), **options)


def _agreement(e: Evidence) -> Measurement:
    if e.logits is not None:
        return nc4(e.rows, e.logits, e.moments)
    details = {
        "agree": 0,
        "samples": len(e.rows),
        "classes": len(e.moments.present),
        "bias": e.bias is not None,
    }
    reason = no_spread_of_means(e.moments)
    if reason is not None:
        return Measurement.undefined("nc4", "agreement", reason, details)
    details["agree"] = nearest_centre_agreement(e.rows, e.get("decisions"), e.moments)
    return Measurement(details["agree"] / details["samples"], "nc4", "agreement", details=details)


def _novelty(e: Evidence, **options: Any) -> Measurement:
    return nc5(e.moments, e.ood, **options)


def _has_classifier(e: Evidence) -> bool:
    """Most layers are no classifiers: an empty cell says so."""
    return e.weight is not None or e.has("decisions")


NC1 = Probe(
    name="nc1",
    label="NC1 tr Σ_W / tr Σ_B",
    short="NC1",
    measure=_of_moments(nc1),
    needs=("moments",),
    meaning="spread within classes over spread between classes; 0 is full collapse",
    scale="log",
    towards="lower",
    range="[0, ∞)",
    formula="tr Σ_W / tr Σ_B",
    source=f"{_BEAGLEHOLE}, DNC1",
    options={"weighting": "class"},
    invariant=_SHAPE,
)

NC1_RELEASED = Probe(
    name="nc1_released",
    label="NC1 / C",
    short="NC1 / C",
    measure=_of_moments(nc1, definition="trace-released"),
    needs=("moments",),
    meaning="NC1 as the paper's released scripts scale it; 0 is full collapse",
    scale="log",
    towards="lower",
    range="[0, ∞)",
    formula="tr Σ_W / (C tr Σ_B)",
    source=f"{_BEAGLEHOLE}, released scripts",
    options={"weighting": "class"},
    invariant=_SHAPE,
)

NC1_PINV = Probe(
    name="nc1_pinv",
    label="NC1 tr(Σ_W Σ_B⁺)/C",
    short="NC1 pinv",
    measure=_pinv,
    needs=("moments", Need("rows", n="all"), "labels"),
    meaning="spread within classes in the directions of the class means, over the spread between them; 0 is full collapse",
    scale="log",
    towards="lower",
    range="[0, ∞)",
    formula="tr(Σ_W Σ_B⁺) / C",
    source=f"{_PAPYAN}, Figure 6",
    options={"weighting": "class"},
    invariant=_SHAPE,
)

CDNV = Probe(
    name="cdnv",
    label="CDNV",
    short="CDNV",
    measure=_of_moments(cdnv),
    needs=("moments",),
    meaning="variance of two classes over the squared distance of their means, averaged over pairs; 0 is full collapse",
    scale="log",
    towards="lower",
    range="[0, ∞)",
    formula="mean over c ≠ c' of (V_c + V_c') / (2 ‖μ_c − μ_c'‖²)",
    source="Galanti, György, Hutter 2021 (arXiv 2112.15121), Section 3",
    options={"exponent": 2.0},
    invariant=_SHAPE,
)

TRACE_WITHIN_SHARE = Probe(
    name="trace_within_share",
    label="tr Σ_W / tr Σ_T",
    short="tr Σ_W / tr Σ_T",
    measure=_of_moments(trace_within_share),
    needs=("moments",),
    meaning="share of the variance that is within classes; 0 is full collapse",
    scale="linear",
    towards="lower",
    range="[0, 1]",
    formula="tr Σ_W / tr Σ_T",
    source=f"{_BEAGLEHOLE}, Section 5",
    invariant=_SHAPE,
)

TRACE_BETWEEN_SHARE = Probe(
    name="trace_between_share",
    label="tr Σ_B / tr Σ_T",
    short="tr Σ_B / tr Σ_T",
    measure=_of_moments(trace_between_share),
    needs=("moments",),
    meaning="share of the variance that is between classes; 1 is full collapse",
    scale="linear",
    towards=1.0,
    range="[0, 1]",
    formula="tr Σ_B / tr Σ_T",
    source=f"{_BEAGLEHOLE}, Section 5",
    invariant=_SHAPE,
)

NC2 = Probe(
    name="nc2",
    label="NC2 to simplex ETF",
    short="NC2",
    measure=_of_moments(nc2),
    needs=("moments",),
    meaning="distance of the class means from a simplex ETF; 0 is an exact one",
    scale="log",
    towards="lower",
    range="[0, 4]",
    formula="mean over c, c' of (cos(μ_c − μ, μ_c' − μ) − E_cc')²",
    source=f"{_BEAGLEHOLE}, DNC2",
    options={"weighting": "class"},
    invariant=_SHAPE,
)

NC2_ORTHOGONAL = Probe(
    name="nc2_orthogonal",
    label="NC2 to orthogonal frame",
    short="NC2 orthogonal",
    measure=_of_moments(nc2, target="orthogonal"),
    needs=("moments",),
    meaning="distance of the class means from an orthogonal frame; 0 is an exact one",
    scale="log",
    towards="lower",
    range="[0, 1]",
    formula="mean over c, c' of (cos(μ_c, μ_c') − δ_cc')²",
    source=f"{_BEAGLEHOLE}, DNC2",
    options={"weighting": "class"},
    invariant=_ABOUT_ZERO,
)

NC2_FROBENIUS = Probe(
    name="nc2_frobenius",
    label="NC2 Frobenius",
    short="NC2 Frobenius",
    measure=_of_moments(nc2, target="etf", definition="frobenius"),
    needs=("moments",),
    meaning="distance of the class means from a simplex ETF, norms included; 0 is an exact one",
    scale="log",
    towards="lower",
    range="[0, 2]",
    formula="‖G/‖G‖_F − E/‖E‖_F‖_F, G the Gram matrix of μ_c − μ",
    source=_ZHU,
    options={"weighting": "class"},
    invariant=_SHAPE,
)

EQUINORM = Probe(
    name="equinorm",
    label="equinorm",
    short="equinorm",
    measure=_of_moments(equinorm),
    needs=("moments",),
    meaning="how unequal the lengths of the centred class means are; 0 is equal",
    scale="log",
    towards="lower",
    range="[0, √(C−1)]",
    formula="std_c ‖μ_c − μ‖ / mean_c ‖μ_c − μ‖",
    source=f"{_PAPYAN}, Figure 2",
    options={"weighting": "class"},
    invariant=_SHAPE,
)

EQUIANGULARITY = Probe(
    name="equiangularity",
    label="equiangularity",
    short="equiangularity",
    measure=_of_moments(equiangularity),
    needs=("moments",),
    meaning="how unequal the angles between centred class means are; 0 is equal",
    scale="log",
    towards="lower",
    range="[0, 1]",
    formula="std over c ≠ c' of cos(μ_c − μ, μ_c' − μ)",
    source=f"{_PAPYAN}, Figure 3",
    options={"weighting": "class"},
    invariant=_SHAPE,
)

SIMPLEX_ANGLE = Probe(
    name="simplex_angle",
    label="simplex angle",
    short="simplex angle",
    measure=_of_moments(simplex_angle),
    needs=("moments",),
    meaning="how far the angles between class means are from the widest possible; 0 is there",
    scale="log",
    towards="lower",
    range="[0, 1 + 1/(C−1)]",
    formula="mean over c ≠ c' of |cos(μ_c − μ, μ_c' − μ) + 1/(C−1)|",
    source=f"{_PAPYAN}, Figure 4",
    options={"weighting": "class"},
    invariant=_SHAPE,
)

NC3 = Probe(
    name="nc3",
    label="NC3 self-duality",
    short="NC3",
    measure=_of_classifier("frobenius"),
    needs=("moments", "weight"),
    meaning="distance of the classifier's rows from the centred class means; 0 is self-duality",
    scale="log",
    towards="lower",
    range="[0, 4]",
    formula="‖W/‖W‖_F − M/‖M‖_F‖_F²",
    source=f"{_PAPYAN}, Figure 5",
    options={"weighting": "class"},
    invariant=_SHAPE,
    applies=_has_classifier,
)

NC3_COSINE = Probe(
    name="nc3_cosine",
    label="NC3 cosine",
    short="NC3 cosine",
    measure=_of_classifier("cosine"),
    needs=("moments", "weight"),
    meaning="angle between the classifier's rows and the centred class means; 0 is self-duality",
    scale="log",
    towards="lower",
    range="[0, 2]",
    formula="1 − mean_c cos(w_c, μ_c − μ)",
    source=f"{_PAPYAN}, Figure 5, per class",
    options={"weighting": "class"},
    invariant=_SHAPE,
    applies=_has_classifier,
)

NC3_PRODUCT = Probe(
    name="nc3_product",
    label="NC3 product",
    short="NC3 product",
    measure=_of_classifier("product"),
    needs=("moments", "weight"),
    meaning="distance of classifier times class means from a simplex ETF; 0 is self-duality",
    scale="log",
    towards="lower",
    range="[0, 2]",
    formula="‖WMᵀ/‖WMᵀ‖_F − (I − 11ᵀ/C)/√(C−1)‖_F",
    source=f"{_ZHU}, Section 5",
    options={"weighting": "class"},
    invariant=_SHAPE,
    applies=_has_classifier,
)

NC4 = Probe(
    name="nc4",
    label="NC4 nearest-centre agreement",
    short="NC4",
    measure=_agreement,
    needs=("moments", "rows", "decisions"),
    meaning="share of samples on which the classifier decides like the nearest class mean; 1 is collapse",
    scale="linear",
    towards=1.0,
    range="[0, 1]",
    formula="share of i with argmax_c logits_ic = argmin_c ‖h_i − μ_c‖",
    source=f"{_PAPYAN}, Figure 7 (1 − theirs)",
    invariant=_SHAPE,
    applies=_has_classifier,
)

NC5 = Probe(
    name="nc5",
    label="NC5 orthogonality to other data",
    short="NC5",
    measure=_novelty,
    needs=("moments", "ood"),
    meaning="how far class means lean towards the mean of other data; 0 is orthogonal",
    scale="log",
    towards="lower",
    range="[0, 1]",
    formula="mean_c |cos(μ_c, μ_ood)|",
    source="Ammar et al. 2024 (arXiv 2310.06823), NC5",
    options={"weighting": "class"},
    invariant=_ABOUT_ZERO,
)

EFFECTIVE_RANK = Probe(
    name="effective_rank",
    label="effective rank of features",
    short="effective rank",
    measure=_of_moments(effective_rank),
    needs=("scatter",),
    meaning="how many directions the features use; C − 1 at full collapse",
    scale="linear",
    towards="lower",
    range="[1, d]",
    formula="exp(−Σ p_k ln p_k), p_k = σ_k / Σ σ of the centred features",
    source=_ROY,
    invariant=_SHAPE,
)

MEANS_EFFECTIVE_RANK = Probe(
    name="means_effective_rank",
    label="effective rank of means",
    short="rank of means",
    measure=_of_moments(means_effective_rank),
    needs=("moments",),
    meaning="how many directions the class means use; C − 1 at full collapse",
    scale="linear",
    towards="higher",
    range="[1, C−1]",
    formula="the same with the singular values of the rows μ_c − μ",
    source=_ROY,
    invariant=_SHAPE,
)

MEANS_RANK = Probe(
    name="means_rank",
    label="rank of the class means",
    measure=_of_moments(means_rank),
    needs=("moments",),
    meaning="singular values of the class means above a tenth of the first; C − 1 is collapse, fewer is low-rank bias",
    scale="linear",
    towards=lambda e: min(len(e.moments.present) - 1, e.moments.d),
    range="[1, C−1]",
    formula="#{k : σ_k ≥ 0.1 σ_1} of the rows μ_c − μ",
    source="after Súkeník, Mondelli, Lampert 2024 (arXiv 2405.14468)",
    options={"share": 0.1},
    invariant=_SHAPE,
)
