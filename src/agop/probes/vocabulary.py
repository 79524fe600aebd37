"""Neural collapse with more classes than dimensions, and of unequal counts: GNC2, UNC3, equal lengths of the classifier, NC4 by class."""

from __future__ import annotations

from typing import Any

from agop.collapse.agreement import CentreAgreement
from agop.collapse.duality import unc3, weight_norm_spread
from agop.collapse.uniformity import gnc2
from agop.evidence import Evidence
from agop.measurement import Measurement
from agop.probe import Probe

_WU = "Wu, Papyan 2024 (arXiv 2405.17767)"
_SHAPE = ("order", "labels", "shift", "rotation", "scale", "batches")


def _reads(e: Evidence) -> bool:
    return e.weight is not None


def _balanced(e: Evidence) -> Measurement:
    decided = e.logits.argmax(1) if e.logits is not None else e.get("decisions")
    return CentreAgreement.of(e.moments, e.rows, decided, e.labels).measurement("class")


GNC2 = Probe(
    name="gnc2",
    label="GNC2 hyperspherical uniformity",
    short="GNC2",
    measure=lambda e, **options: gnc2(e.moments, **options),
    needs=("moments",),
    meaning="how unevenly the directions of the class means are spread (option kernel: log, distance, riesz); 0 is evenly",
    scale="log",
    towards="lower",
    range="[0, ∞)",
    formula="std / |mean| over c ≠ c' of −ln ‖u_c − u_c'‖, u_c = (μ_c − μ)/‖μ_c − μ‖",
    source=f"{_WU}, GNC2",
    options={"kernel": "log", "statistic": "variation", "weighting": "class"},
    invariant=_SHAPE,
)

UNC3 = Probe(
    name="unc3",
    label="UNC3 uniform duality",
    short="UNC3",
    measure=lambda e, **options: unc3(e.moments, e.weight, **options),
    needs=("moments", "weight"),
    meaning="how differently the classifier's rows lean towards their class means; 0 is all alike",
    scale="log",
    towards="lower",
    range="[0, 1]",
    formula="std_c cos(w_c, μ_c − μ)",
    source=f"{_WU}, UNC3",
    options={"weighting": "class"},
    invariant=_SHAPE,
    applies=_reads,
)


def _norm_spread(e: Evidence, **_options: Any) -> Measurement:
    return weight_norm_spread(e.moments, e.weight)


WEIGHT_NORM_SPREAD = Probe(
    name="weight_norm_spread",
    label="norm spread of the classifier",
    measure=_norm_spread,
    needs=("moments", "weight"),
    meaning="how unequal the lengths of the classifier's rows are; 0 is equal",
    scale="log",
    towards="lower",
    range="[0, √(C−1)]",
    formula="std_c ‖w_c‖ / mean_c ‖w_c‖",
    source="Papyan, Han, Donoho 2020 (arXiv 2008.08186), Figure 2",
    invariant=_SHAPE,
    applies=_reads,
)

NC4_BALANCED = Probe(
    name="nc4_balanced",
    label="NC4, mean over classes",
    measure=_balanced,
    needs=("moments", "rows", "labels", "decisions"),
    meaning="the share of NC4 of each class, averaged over classes; 1 is collapse",
    scale="linear",
    towards=1.0,
    range="[0, 1]",
    formula="mean over c of the share of i in c with argmax_k logits_ik = argmin_k ‖h_i − μ_k‖",
    source=f"{_WU}, NC4 by class",
    invariant=_SHAPE,
    applies=lambda e: e.weight is not None or e.has("decisions"),
)
