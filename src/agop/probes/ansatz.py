"""The neural feature ansatz as a probe of layers."""

from __future__ import annotations

from agop.evidence import Evidence
from agop.gradients.ansatz import nfa, nfa_of_weight
from agop.probe import Probe


def _nfa(e: Evidence, power: float | int = 0.5) -> float:
    if e.weight is not None:
        return nfa_of_weight(e.weight.to(e.agop), e.agop, power=power)
    return nfa(e, power=power)


def _has_both(e: Evidence) -> bool:
    """A layer that is no linear map has no feature matrix to compare: an empty cell says so."""
    return e.agop is not None and (e.weight is not None or e.feature_matrix is not None)


NFA = Probe(
    name="nfa",
    label="NFA correlation",
    short="NFA",
    measure=_nfa,
    level="layer",
    needs=("agop",),
    applies=_has_both,
    meaning="correlation of the layer's feature matrix with a power of its AGOP; 1 is perfect",
    scale="linear",
    towards=1.0,
    range="[−1, 1]",
    formula="corr(WᵀW, AGOP^α), α = 1/2",
    source="Beaglehole et al. 2024 (arXiv 2402.13728), Section 5",
    invariant=("scale",),
)
