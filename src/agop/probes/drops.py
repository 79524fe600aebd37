"""Where in a layer NC1 falls: at the projection, or behind it."""

from __future__ import annotations

import math

import numpy as np

from agop.evidence import Evidence
from agop.probe import Probe
from agop.probes.classes import NC1


def _log(layer: Evidence, stage: str) -> float:
    part = layer.part(stage)
    value = math.nan if part is None else float(NC1(part))
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.log10(value))


def _drops(layer: Evidence) -> dict[str, float]:
    before, between, after = (_log(layer, stage) for stage in ("input", "projected", "output"))
    projection, rest = (_finite(before - between), _finite(between - after))
    share = projection / (projection + rest) if projection + rest > 0 else math.nan
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
