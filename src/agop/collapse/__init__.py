"""Neural collapse: class moments and the measures NC1 to NC5."""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import Any

from agop.collapse.agreement import CentreAgreement
from agop.collapse.classifier import nc3, nc4
from agop.collapse.diffusion import diffusion_mutual_information, diffusion_spectral_entropy
from agop.collapse.duality import duality_cosines, unc3, weight_norm_spread
from agop.collapse.frames import frame_distance
from agop.collapse.geometry import equiangularity, equinorm, nc2, simplex_angle
from agop.collapse.moments import ClassMoments
from agop.collapse.novelty import nc5
from agop.collapse.rank import effective_rank, means_effective_rank, means_rank
from agop.collapse.span import SpanScatter
from agop.collapse.uniformity import gnc2
from agop.collapse.variability import cdnv, cdnv_pairs, nc1, trace_between_share, trace_within_share
from agop.measurement import Measurement

__all__ = [
    "CentreAgreement",
    "ClassMoments",
    "Measurement",
    "SpanScatter",
    "cdnv",
    "cdnv_pairs",
    "diffusion_mutual_information",
    "diffusion_spectral_entropy",
    "duality_cosines",
    "effective_rank",
    "equiangularity",
    "equinorm",
    "frame_distance",
    "gnc2",
    "means_effective_rank",
    "means_rank",
    "nc1",
    "nc2",
    "nc3",
    "nc4",
    "nc5",
    "simplex_angle",
    "trace_between_share",
    "trace_within_share",
    "unc3",
    "weight_norm_spread",
]

_MOVED = {
    "collapse_report": ("agop.profiles.report", "from agop import collapse_report"),
    "CollapseReport": ("agop.profiles.report", "from agop import CollapseReport"),
    "MEASURES": ("agop.probes.before", "agop.PROBES, whose entries measure evidence"),
    "Measure": ("agop.probes.before", "agop.Probe(name=…, measure=lambda e: function(e.moments), …)"),
    "measures_for": ("agop.probes.before", "agop.probes.probes_for"),
    "INPUTS": ("agop.probes.before", "agop.evidence.NEEDS"),
}


def __getattr__(name: str) -> Any:
    """What was here in 0.1 and has a new place, for one release."""
    if name not in _MOVED:
        raise AttributeError(f"module 'agop.collapse' has no attribute {name!r}")
    module, new = _MOVED[name]
    warnings.warn(f"agop.collapse.{name} has moved: write {new}", DeprecationWarning, stacklevel=2)
    return getattr(import_module(module), name)
