"""Names of the machines' parts, known without torch: estimators, feature maps, solvers, precisions."""

from __future__ import annotations

from typing import Any

from agop.registry import Registry

ESTIMATORS: Registry[Any] = Registry(
    None,
    {
        "RFMRegressor": "agop.machines.rfm:RFMRegressor",
        "RFMClassifier": "agop.machines.rfm:RFMClassifier",
        "RFMRegressorCV": "agop.machines.rfm_cv:RFMRegressorCV",
        "RFMClassifierCV": "agop.machines.rfm_cv:RFMClassifierCV",
        "DeepRFMRegressor": "agop.machines.deep_rfm:DeepRFMRegressor",
        "DeepRFMClassifier": "agop.machines.deep_rfm:DeepRFMClassifier",
        "ConvRFMRegressor": "agop.machines.conv_rfm:ConvRFMRegressor",
        "ConvRFMClassifier": "agop.machines.conv_rfm:ConvRFMClassifier",
        "DeepConvRFMClassifier": "agop.machines.deep_conv_rfm:DeepConvRFMClassifier",
        "PolynomialRegressor": "agop.machines.polynomial:PolynomialRegressor",
        "PolynomialClassifier": "agop.machines.polynomial:PolynomialClassifier",
    },
)
"""Every estimator that can be saved, by the name of its class."""

FEATURE_MAPS = ("relu", "fourier", "fourier-laplace", "fourier-gaussian", "fourier-laplace-l1", "identity")
"""Random features; "fourier" takes the law that belongs to the kernel of the machine."""

SOLVERS = ("auto", "cholesky", "cg")
RFM_SOLVERS = (*SOLVERS, "nystrom")
CENTERS = ("kmeans++", "leverage", "random")
"""Rules for the centres of "nystrom", the default first (what was measured: benchmarks/nystrom_centers.py)."""

PRECISIONS = ("mixed", "native")

SCALES = ("max", "trace", "none")
"""Units that RFM may give the matrix M: see `agop.machines.chain.rescaled`."""
