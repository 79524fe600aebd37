"""The singular values of a layer's weight, largest first: a curve that joins with that of a theory."""

from __future__ import annotations

import torch

from agop.evidence import Evidence
from agop.probe import Curve, Probe


def _singular_values(e: Evidence) -> Curve:
    weight = e.weight.detach().cpu() if e.weight.device.type == "mps" else e.weight.detach()
    values = torch.linalg.svdvals(weight.double()).tolist()
    return Curve(range(1, len(values) + 1), values)


WEIGHT_SINGULAR_VALUES = Probe(
    name="weight_singular_values",
    label="singular values of W",
    measure=_singular_values,
    level="layer",
    needs=("weight",),
    applies=lambda layer: layer.weight is not None,
    meaning="how strongly the layer's weight acts along each of its directions",
    scale="log",
    range="[0, ∞)",
    formula="σ_k(W), k = 1, 2, …",
    source="Horn, Johnson 2013, Matrix Analysis, Theorem 2.6.3",
    invariant=("rotation",),
)
