"""Concepts in a model: directions of its hidden states, a detector made of them, steering along them."""

from agop.concepts.blocks import blocks_of
from agop.concepts.detector import Detector
from agop.concepts.finding import concept_directions, directions_from
from agop.concepts.options import ConceptSearch
from agop.concepts.result import ConceptDirections
from agop.concepts.states import HiddenStates, hidden_states
from agop.concepts.steering import steer
