r"""How far a layer is from the features at convergence theorem: ‖WᵀW − FACT‖ / ‖WᵀW‖."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from agop.evidence import Evidence
from agop.linalg.compare import matrix_correlation
from agop.measurement import Measurement
from agop.probe import Probe


def fact_residual(weight: Float[Tensor, "k d"], critical: Float[Tensor, "k d"]) -> Measurement:
    r""":math:`\|W^T W - W^T V\| / \|W^T W\|` with :math:`V = -\frac1\lambda \partial L / \partial W`, which is W at a critical point.

    From products of the smaller size: :math:`\|W^T D\|^2 = \langle W W^T, D D^T \rangle`, D = W − V.
    """
    W, V = weight.detach().double(), critical.detach().double().to(weight.device)
    size = float(W.norm())
    if not size > 0:
        return Measurement.undefined("fact", "residual", "the weight is zero")
    # a unit of the weight's own, so that nothing overflows
    W, D = W / size, (W - V) / size
    wide = W.shape[0] < W.shape[1]
    off = _norm_of_product(W, D) if wide else float((W.mT @ D).norm())
    whole = float((W @ W.mT).norm()) if wide else float((W.mT @ W).norm())
    details = {"distance": float(D.norm())}
    if not math.isfinite(off):
        reason = "FACT leaves the range of float64: the gradient is huge beside the decay"
        return Measurement.undefined("fact", "residual", reason)
    if not wide:
        details["correlation"] = matrix_correlation(W.mT @ W, W.mT @ (W - D), centered=False)
    return Measurement(off / whole, "fact", "residual", details=details)


def _norm_of_product(W: Float[Tensor, "k d"], D: Float[Tensor, "k d"]) -> float:
    # the squared norm as a trace of products of PSD matrices: no cancellation
    return float(torch.tensordot(W @ W.mT, D @ D.mT).clamp_min(0).sqrt())


def _example() -> Evidence:
    g = torch.Generator().manual_seed(0)
    weight = torch.randn(4, 6, generator=g, dtype=torch.float64)
    return Evidence.of("layer", "layer", weight=weight, critical_weight=0.5 * weight)


FACT = Probe(
    name="fact",
    label="FACT residual",
    short="FACT residual",
    measure=lambda e: fact_residual(e.weight, e.get("critical_weight")),
    level="layer",
    needs=("weight", "critical_weight"),
    applies=lambda layer: layer.weight is not None,
    meaning="how far WᵀW is from what it is where loss and weight decay are at balance; 0 is convergence",
    scale="log",
    towards="lower",
    range="[0, ∞)",
    formula="‖WᵀW − FACT‖ / ‖WᵀW‖, FACT = −1/(nλ) Σ_i (∇_h ℓ_i) h_iᵀ",
    source="Boix-Adserà, Mallinar, Simon, Belkin 2025 (arXiv 2507.05644)",
    invariant=("order", "labels", "rotation", "batches"),
    example=_example,
)
