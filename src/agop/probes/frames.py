"""Distance of the classifier, and of classifier times class means, to a frame: NC2 and NC3 for class counts of any kind."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from agop.collapse.frames import FRAMES, frame_distance
from agop.collapse.pairs import TILE, product_distance
from agop.evidence import Evidence
from agop.measurement import Measurement
from agop.probe import Probe

_DANG = "Dang et al. 2023 (arXiv 2301.00437), NC2 and NC3 of their experiments"


def _reads(e: Evidence) -> bool:
    return e.weight is not None


def _weights(e: Evidence, target: Any = "etf") -> Measurement:
    weight = e.weight.detach().double()[e.moments.present.to(e.weight.device)]
    return _distance(weight, weight, target, e)


def _products(e: Evidence, target: Any = "etf", centre: str = "none") -> Measurement:
    m = e.moments
    if len(m.present) == 0:
        return Measurement.undefined("nc3_frame", "frame distance", "there are no samples")
    weight = e.weight.detach().to(m.means.device).double()[m.present]
    means = m.means[m.present] if centre == "none" else m.centred_means(centre)
    return _distance(weight, means, target, e)


def _distance(left: Tensor, right: Tensor, target: Any, e: Evidence) -> Measurement:
    """Of the product over classes; beyond a tile it is never formed whole."""
    if not isinstance(target, str) or target not in FRAMES or len(left) <= TILE:
        return frame_distance(left @ right.T, _kept(target, e))
    value = product_distance(left, right, target)
    if value is None:
        return Measurement.undefined("frame_distance", target, "the Gram matrix is zero")
    return Measurement(value, "frame_distance", target)


def _kept(target: Any, e: Evidence) -> Any:
    """A given target without the rows and columns of absent classes."""
    if isinstance(target, str):
        return target
    present = e.moments.present.to(target.device)
    whole = tuple(target.shape) == (e.moments.n_classes,) * 2
    return target[present[:, None], present] if whole else target


NC2_FRAME = Probe(
    name="nc2_frame",
    label="NC2 of WWᵀ to a frame",
    measure=_weights,
    needs=("moments", "weight"),
    meaning="distance of the classifier's Gram matrix from that of a frame (option target: etf, orthogonal, or a matrix); 0 is the frame",
    scale="log",
    towards="lower",
    range="[0, 2]",
    formula="‖WWᵀ/‖WWᵀ‖_F − T/‖T‖_F‖_F",
    source=_DANG,
    options={"target": "etf"},
    invariant=("order", "labels", "shift", "rotation", "scale", "batches"),
    applies=_reads,
)

NC3_FRAME = Probe(
    name="nc3_frame",
    label="NC3 of WH̄ᵀ to a frame",
    measure=_products,
    needs=("moments", "weight"),
    meaning="distance of classifier times class means from a frame (options target, centre: none, class or sample mean); 0 is the frame",
    scale="log",
    towards="lower",
    range="[0, 2]",
    formula="‖WH̄ᵀ/‖WH̄ᵀ‖_F − T/‖T‖_F‖_F",
    source=_DANG,
    options={"target": "etf", "centre": "none"},
    invariant=("order", "labels", "rotation", "scale", "batches"),
    applies=_reads,
)
