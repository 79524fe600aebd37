"""What a function or a network looks at: average gradient outer products, of its input and of every layer."""

from agop.gradients.ansatz import PowerFit, nfa, nfa_best_power, nfm
from agop.gradients.cost import LayerCost, estimate_layer_agops
from agop.gradients.energy import patch_energy
from agop.gradients.filters import PatchFilters, patch_filters
from agop.gradients.layer_results import LayerAGOPs
from agop.gradients.layers import layer_agops
from agop.gradients.modes import mode_agops, mode_nfa
from agop.gradients.outer import AGOPMoments, agop
from agop.gradients.patches import conv_nfa, patch_agop
from agop.gradients.sketch import agop_diagonal, agop_top

__all__ = [
    "AGOPMoments",
    "LayerAGOPs",
    "LayerCost",
    "PatchFilters",
    "PowerFit",
    "agop",
    "agop_diagonal",
    "agop_top",
    "conv_nfa",
    "estimate_layer_agops",
    "layer_agops",
    "mode_agops",
    "mode_nfa",
    "nfa",
    "nfa_best_power",
    "nfm",
    "patch_agop",
    "patch_energy",
    "patch_filters",
]
