"""Kernels: hostile points, centres and coefficients."""

from __future__ import annotations

import torch

from agop import Gaussian, Laplace
from agop.kernels import ReLUNNGP, ReLUNTK
from tests.hostile.table import Subject, table_tests

GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(6, 3, generator=GENERATOR, dtype=torch.float64)
Z = torch.randn(5, 3, generator=GENERATOR, dtype=torch.float64)
A = torch.randn(5, 2, generator=GENERATOR, dtype=torch.float64)

SUBJECTS = []
for name, kernel in {
    "Laplace": Laplace(2.0),
    "Gaussian": Gaussian(2.0),
    "ReLUNNGP": ReLUNNGP(2),
    "ReLUNTK": ReLUNTK(2),
}.items():
    SUBJECTS += [
        Subject(name, "X", lambda v, kernel=kernel: kernel(v), X),
        Subject(name, "X with Z", lambda v, kernel=kernel: kernel(v, Z), X),
        Subject(name, "Z", lambda v, kernel=kernel: kernel(X, v), Z),
        Subject(f"{name}.gradient", "X", lambda v, kernel=kernel: kernel.gradient(v, Z, A), X),
        Subject(f"{name}.gradient", "Z", lambda v, kernel=kernel: kernel.gradient(X, v, A), Z),
        Subject(f"{name}.gradient", "A", lambda v, kernel=kernel: kernel.gradient(X, Z, v), A),
    ]

test_rows = table_tests("kernels", SUBJECTS)
