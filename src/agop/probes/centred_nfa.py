r"""The neural feature ansatz of what was learned: of the weight less the one that the network started from."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from agop.evidence import Evidence
from agop.gradients.ansatz import nfa
from agop.measurement import Measurement
from agop.probe import Probe


def centred_nfa(
    weight: Float[Tensor, "k d"],
    initial: Float[Tensor, "k d"],
    gram: Float[Tensor, "k k"],
    *,
    power: float | int = 1.0,
    centered: bool = False,
) -> Measurement:
    r""":math:`\mathrm{corr}(\bar W^T \bar W, (\bar W^T K \bar W)^\alpha)` with :math:`\bar W = W - W_0`.

    K (k, k) is the mean outer product of the gradients of the outputs at the layer's output; with W in the place of both W̄ it is the AGOP.
    The paper's α is 1 and its correlation the cosine; `centered=True` subtracts the mean entries, as `nfa` does.

    >>> W = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    >>> centred_nfa(W, torch.zeros(2, 2), torch.eye(2))
    centred_nfa[cosine, power 1] = 1
    """
    definition = f"{'correlation' if centered else 'cosine'}, power {power:g}"
    learned = weight.detach().double() - initial.detach().to(weight.device).double()
    moved, size = float(learned.norm()), float(weight.detach().double().norm())
    details = {"moved": moved / size if size > 0 else float("nan")}
    if not moved > 0:
        return Measurement.undefined("centred_nfa", definition, "the weight is the initial one", details)
    learned = learned / moved
    seen = learned.mT @ gram.detach().to(learned) @ learned
    value = nfa(learned.mT @ learned, (seen + seen.mT) / 2, power=power, centered=centered)
    reason = "a matrix of which it is the correlation is constant" if value != value else None
    return Measurement(value, "centred_nfa", definition, reason, details)


def _of_evidence(e: Evidence, power: float | int = 1.0, centered: bool = False) -> Measurement:
    return centred_nfa(
        e.weight, e.get("initial_weight"), e.get("output_gram"), power=power, centered=centered
    )


def _example() -> Evidence:
    g = torch.Generator().manual_seed(0)
    weight, initial, half = (torch.randn(4, 6, generator=g, dtype=torch.float64) for _ in range(3))
    return Evidence.of("layer", "layer", weight=weight, initial_weight=initial, output_gram=half @ half.mT)


CENTRED_NFA = Probe(
    name="centred_nfa",
    label="centred NFA",
    short="centred NFA",
    measure=_of_evidence,
    level="layer",
    needs=("weight", "initial_weight", "output_gram"),
    applies=lambda layer: layer.weight is not None,
    meaning="cosine of what was learned of the feature matrix and of the AGOP, without what was there at the start; 1 is perfect",
    scale="linear",
    towards=1.0,
    range="[−1, 1]",
    formula="cos(W̄ᵀW̄, W̄ᵀKW̄), W̄ = W − W₀",
    source="Beaglehole, Mitliagkas, Agarwala 2024 (arXiv 2402.05271)",
    invariant=("order", "labels", "rotation", "scale", "batches"),
    example=_example,
)
