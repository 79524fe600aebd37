"""Neural collapse: class moments and the measures NC1 to NC5."""

from agop.collapse.classifier import nc3, nc4
from agop.collapse.diffusion import diffusion_mutual_information, diffusion_spectral_entropy
from agop.collapse.geometry import equiangularity, equinorm, nc2, simplex_angle
from agop.collapse.measurement import Measurement
from agop.collapse.moments import ClassMoments
from agop.collapse.novelty import nc5
from agop.collapse.rank import effective_rank, means_effective_rank
from agop.collapse.registry import INPUTS, MEASURES, Measure, measures_for
from agop.collapse.report import CollapseReport, collapse_report
from agop.collapse.span import SpanScatter
from agop.collapse.variability import cdnv, cdnv_pairs, nc1, trace_between_share, trace_within_share

__all__ = [
    "INPUTS",
    "MEASURES",
    "ClassMoments",
    "CollapseReport",
    "Measure",
    "Measurement",
    "SpanScatter",
    "cdnv",
    "cdnv_pairs",
    "collapse_report",
    "diffusion_mutual_information",
    "diffusion_spectral_entropy",
    "effective_rank",
    "equiangularity",
    "equinorm",
    "means_effective_rank",
    "measures_for",
    "nc1",
    "nc2",
    "nc3",
    "nc4",
    "nc5",
    "simplex_angle",
    "trace_between_share",
    "trace_within_share",
]
