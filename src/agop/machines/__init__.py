"""Machines as scikit-learn estimators: RFM and Deep RFM, which learn features, and polynomial ridge regression."""

from agop.machines.deep_rfm import DeepRFMClassifier, DeepRFMRegressor
from agop.machines.memory import MemoryEstimate, estimate_memory
from agop.machines.polynomial import PolynomialClassifier, PolynomialRegressor
from agop.machines.rfm import RFMClassifier, RFMRegressor

__all__ = [
    "DeepRFMClassifier",
    "DeepRFMRegressor",
    "MemoryEstimate",
    "PolynomialClassifier",
    "PolynomialRegressor",
    "RFMClassifier",
    "RFMRegressor",
    "estimate_memory",
]
