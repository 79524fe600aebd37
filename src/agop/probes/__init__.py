"""Every probe by name; a new one is a file in this folder and a line here. Modules are imported when their probe is first used.

Other packages add theirs through the entry-point group `agop.probes`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agop.registry import Registry

if TYPE_CHECKING:
    from agop.probe import Probe

_CLASSES = "agop.probes.classes"
_VOCABULARY = "agop.probes.vocabulary"

PROBES: Registry[Probe] = Registry(
    "agop.probes",
    {
        "nc1": f"{_CLASSES}:NC1",
        "nc1_released": f"{_CLASSES}:NC1_RELEASED",
        "nc1_pinv": f"{_CLASSES}:NC1_PINV",
        "cdnv": f"{_CLASSES}:CDNV",
        "trace_within_share": f"{_CLASSES}:TRACE_WITHIN_SHARE",
        "trace_between_share": f"{_CLASSES}:TRACE_BETWEEN_SHARE",
        "nc2": f"{_CLASSES}:NC2",
        "nc2_orthogonal": f"{_CLASSES}:NC2_ORTHOGONAL",
        "nc2_frobenius": f"{_CLASSES}:NC2_FROBENIUS",
        "equinorm": f"{_CLASSES}:EQUINORM",
        "equiangularity": f"{_CLASSES}:EQUIANGULARITY",
        "simplex_angle": f"{_CLASSES}:SIMPLEX_ANGLE",
        "nc3": f"{_CLASSES}:NC3",
        "nc3_cosine": f"{_CLASSES}:NC3_COSINE",
        "nc3_product": f"{_CLASSES}:NC3_PRODUCT",
        "nc4": f"{_CLASSES}:NC4",
        "nc5": f"{_CLASSES}:NC5",
        "effective_rank": f"{_CLASSES}:EFFECTIVE_RANK",
        "means_effective_rank": f"{_CLASSES}:MEANS_EFFECTIVE_RANK",
        "means_rank": f"{_CLASSES}:MEANS_RANK",
        "nc2_frame": "agop.probes.frames:NC2_FRAME",
        "nc3_frame": "agop.probes.frames:NC3_FRAME",
        "gnc2": f"{_VOCABULARY}:GNC2",
        "unc3": f"{_VOCABULARY}:UNC3",
        "weight_norm_spread": f"{_VOCABULARY}:WEIGHT_NORM_SPREAD",
        "nc4_balanced": f"{_VOCABULARY}:NC4_BALANCED",
        "dse": "agop.probes.diffusion:DSE",
        "dsmi": "agop.probes.diffusion:DSMI",
        "redundancy": "agop.probes.redundancy_probes:REDUNDANCY",
        "redundancy_linear": "agop.probes.redundancy_probes:REDUNDANCY_LINEAR",
        "dropout_penalty": "agop.probes.dropout:DROPOUT_PENALTY",
        "ipr": "agop.probes.localisation:IPR",
        "tunnel": "agop.probes.tunnel:TUNNEL",
        "ricci": "agop.probes.ricci:RICCI",
        "lz_complexity": "agop.probes.complexity:LZ_COMPLEXITY",
        "nfa": "agop.probes.ansatz:NFA",
        "centred_nfa": "agop.probes.centred_nfa:CENTRED_NFA",
        "fact": "agop.probes.fact:FACT",
        "drops": "agop.probes.drops:DROPS",
        "weight_singular_values": "agop.probes.singular_values:WEIGHT_SINGULAR_VALUES",
    },
)
"""All probes by name, in the order in which tables show them."""

DEFAULTS: dict[str, tuple[str, ...]] = {
    "features": PROBES.own[: PROBES.own.index("means_effective_rank") + 1],
    "network": ("nc1", "nc2", "nc3", "nfa"),
    "views": ("nc1", "nc2"),
    "theory": ("nc1", "nc2"),
    "function": (),
}
"""What a subject of each kind is measured with unless the caller says otherwise.

A Deep RFM yields views; their feature matrix is their AGOP, so they have no NFA.
"""


def probes_for(*needs: str) -> tuple[str, ...]:
    """The names of the probes of stages that these needs are enough for, in registry order.

    >>> probes_for("moments")[:3]
    ('nc1', 'nc1_released', 'cdnv')
    """
    return tuple(
        name
        for name, probe in PROBES.items()
        if probe.level == "stage" and {need.kind for need in probe.needed} <= set(needs)
    )
