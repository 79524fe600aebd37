"""Theory as code: the linearised Deep RFM, kernel learning, deep linear networks. Import what you need from its modules."""

from agop.theory.deep_linear import DeepLinearCollapse, deep_linear_collapse

__all__ = ["DeepLinearCollapse", "deep_linear_collapse"]
