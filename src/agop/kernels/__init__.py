"""Kernels: values, gradients and the closed-form AGOP of a kernel machine."""

from agop.kernels.base import Kernel
from agop.kernels.gaussian import Gaussian
from agop.kernels.laplace import Laplace
from agop.kernels.relu import ReLUNNGP, ReLUNTK

__all__ = ["Gaussian", "Kernel", "Laplace", "ReLUNNGP", "ReLUNTK"]
