"""Kernels: values, gradients and the closed-form AGOP of a kernel machine."""
