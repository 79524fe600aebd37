"""Kernels: values, gradients and the closed-form AGOP of a kernel machine. Names are imported on first use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agop._lazy import on_first_use
from agop.kernels.registry import KERNELS

if TYPE_CHECKING:
    from agop.kernels.base import Kernel
    from agop.kernels.gaussian import Gaussian
    from agop.kernels.hierarchical import HierarchicalNNGP, HierarchicalNTK
    from agop.kernels.laplace import Laplace
    from agop.kernels.lpq import L1, Lpq
    from agop.kernels.relu import ReLUNNGP, ReLUNTK

__all__ = [
    "KERNELS",
    "L1",
    "Gaussian",
    "HierarchicalNNGP",
    "HierarchicalNTK",
    "Kernel",
    "Laplace",
    "Lpq",
    "ReLUNNGP",
    "ReLUNTK",
]

_HOMES = {
    "Kernel": "base",
    "Gaussian": "gaussian",
    "HierarchicalNNGP": "hierarchical",
    "HierarchicalNTK": "hierarchical",
    "L1": "lpq",
    "Laplace": "laplace",
    "Lpq": "lpq",
    "ReLUNNGP": "relu",
    "ReLUNTK": "relu",
}
__getattr__ = on_first_use(__name__, _HOMES)
