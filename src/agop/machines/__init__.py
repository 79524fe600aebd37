"""Kernel machines that learn features: RFM and Deep RFM as scikit-learn estimators."""

from agop.machines.deep_rfm import DeepRFMClassifier, DeepRFMRegressor
from agop.machines.memory import MemoryEstimate, estimate_memory
from agop.machines.rfm import RFMClassifier, RFMRegressor

__all__ = [
    "DeepRFMClassifier",
    "DeepRFMRegressor",
    "MemoryEstimate",
    "RFMClassifier",
    "RFMRegressor",
    "estimate_memory",
]
