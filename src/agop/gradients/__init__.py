"""What a function or a network looks at: average gradient outer products, of its input and of every layer."""

from agop.gradients.ansatz import PowerFit, nfa, nfa_best_power, nfm
from agop.gradients.layers import LayerAGOPs, layer_agops
from agop.gradients.outer import AGOPMoments, agop
from agop.gradients.sketch import agop_diagonal, agop_top

__all__ = [
    "AGOPMoments",
    "LayerAGOPs",
    "PowerFit",
    "agop",
    "agop_diagonal",
    "agop_top",
    "layer_agops",
    "nfa",
    "nfa_best_power",
    "nfm",
]
