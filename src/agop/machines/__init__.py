"""Kernel machines that learn features, and polynomials: scikit-learn estimators. Names are imported on first use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agop._lazy import on_first_use

if TYPE_CHECKING:
    from agop.machines.conv_rfm import ConvRFMClassifier, ConvRFMRegressor
    from agop.machines.deep_conv_rfm import DeepConvRFMClassifier
    from agop.machines.deep_rfm import DeepRFMClassifier, DeepRFMRegressor
    from agop.machines.display import AgopDisplay
    from agop.machines.left_out import LeaveOneOut, leave_one_out
    from agop.machines.memory import MemoryEstimate, estimate_memory
    from agop.machines.polynomial import PolynomialClassifier, PolynomialRegressor
    from agop.machines.rfm import RFMClassifier, RFMRegressor
    from agop.machines.rfm_cv import RFMClassifierCV, RFMRegressorCV
    from agop.machines.search_display import SearchDisplay

__all__ = [
    "AgopDisplay",
    "ConvRFMClassifier",
    "ConvRFMRegressor",
    "DeepConvRFMClassifier",
    "DeepRFMClassifier",
    "DeepRFMRegressor",
    "LeaveOneOut",
    "MemoryEstimate",
    "PolynomialClassifier",
    "PolynomialRegressor",
    "RFMClassifier",
    "RFMClassifierCV",
    "RFMRegressor",
    "RFMRegressorCV",
    "SearchDisplay",
    "estimate_memory",
    "leave_one_out",
]

_HOMES = {
    "AgopDisplay": "display",
    "ConvRFMClassifier": "conv_rfm",
    "ConvRFMRegressor": "conv_rfm",
    "DeepConvRFMClassifier": "deep_conv_rfm",
    "DeepRFMClassifier": "deep_rfm",
    "DeepRFMRegressor": "deep_rfm",
    "MemoryEstimate": "memory",
    "estimate_memory": "memory",
    "PolynomialClassifier": "polynomial",
    "PolynomialRegressor": "polynomial",
    "RFMClassifier": "rfm",
    "RFMRegressor": "rfm",
    "RFMClassifierCV": "rfm_cv",
    "RFMRegressorCV": "rfm_cv",
    "SearchDisplay": "search_display",
    "LeaveOneOut": "left_out",
    "leave_one_out": "left_out",
}
__getattr__ = on_first_use(__name__, _HOMES)
