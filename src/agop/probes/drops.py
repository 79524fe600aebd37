"""Where in a layer NC1 falls: at the projection, or behind it."""

from __future__ import annotations

import math

import numpy as np

from agop.evidence import Evidence
from agop.measurement import Measurement
from agop.probe import Probe
from agop.probes.classes import NC1

LEAST_FALL = 0.02
"""Decades of NC1 (5 %) below which a fall has no halves to speak of."""

LEAST_PART = 0.1
"""The fall must be this part of what both halves move NC1 by, up and down: a share of a difference that nearly cancels says nothing."""


def share_of_fall(projection: float, rest: float) -> Measurement:
    r"""The share of a fall of NC1, in decades, that happens at the projection: :math:`p / (p + r)`.

    Above 1 where the rest undoes some of it. Undefined where NC1 rises, falls by less than `LEAST_FALL`, or by less than `LEAST_PART` of
    :math:`|p| + |r|`; so it lies in [−4.5, 5.5].

    >>> share_of_fall(0.3, 0.1)
    share_projection[share of the fall of log10 NC1] = 0.75
    >>> share_of_fall(-0.816, 0.826)
    share_projection[share of the fall of log10 NC1] undefined: NC1 hardly falls: by 0.01 decades
    """
    definition, fall = "share of the fall of log10 NC1", projection + rest
    reason = None
    if not math.isfinite(fall):
        reason = "NC1 is zero or undefined before or behind it"
    elif fall <= 0:
        reason = "NC1 does not fall"
    elif fall < LEAST_FALL:
        reason = f"NC1 hardly falls: by {fall:.2g} decades"
    elif fall < LEAST_PART * (abs(projection) + abs(rest)):
        reason = f"NC1 falls by {fall:.2g} decades only, and by {max(projection, rest):.2g} in one half of it"
    value = math.nan if reason else projection / fall
    return Measurement(value, "share_projection", definition, reason, {"fall": fall})


def _log(layer: Evidence, stage: str) -> float:
    part = layer.part(stage)
    value = math.nan if part is None else float(NC1(part))
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.log10(value))


def _drops(layer: Evidence) -> dict[str, float]:
    before, between, after = (_log(layer, stage) for stage in ("input", "projected", "output"))
    projection, rest = (_finite(before - between), _finite(between - after))
    share = share_of_fall(projection, rest)
    return {"drop_projection": projection, "drop_nonlinearity": rest, "share_projection": share}


def _finite(value: float) -> float:
    return value if math.isfinite(value) else math.nan


DROPS = Probe(
    name="drops",
    label="drop of log10 NC1",
    measure=_drops,
    level="layer",
    needs=("moments",),
    columns=("drop_projection", "drop_nonlinearity", "share_projection"),
    applies=lambda layer: layer.part("projected") is not None,
    meaning="decades of NC1 lost from input to projected, from projected to output, and the first as a share of both",
    range="(−∞, ∞)",
    formula="log₁₀ NC1(input) − log₁₀ NC1(projected), log₁₀ NC1(projected) − log₁₀ NC1(output), their share",
    source="Beaglehole et al. 2024 (arXiv 2402.13728), Section 5",
    invariant=("order", "labels", "shift", "rotation", "scale", "batches"),
)
