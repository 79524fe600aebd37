"""Every kernel that an estimator or a verb takes by name; a new one is a file in this folder and a line here.

Other packages add theirs through the entry-point group `agop.kernels`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agop.registry import Registry

if TYPE_CHECKING:
    from agop.kernels.base import Kernel

KERNELS: Registry[type[Kernel]] = Registry(
    "agop.kernels",
    {
        "laplace": "agop.kernels.laplace:Laplace",
        "gaussian": "agop.kernels.gaussian:Gaussian",
        "l1": "agop.kernels.lpq:L1",
        "lpq": "agop.kernels.lpq:Lpq",
        "relu-nngp": "agop.kernels.relu:ReLUNNGP",
        "relu-ntk": "agop.kernels.relu:ReLUNTK",
        "hierarchical-nngp": "agop.kernels.hierarchical:HierarchicalNNGP",
        "hierarchical-ntk": "agop.kernels.hierarchical:HierarchicalNTK",
    },
)
"""Classes of kernels by name."""
