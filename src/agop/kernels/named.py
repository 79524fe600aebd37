"""From what an estimator was asked for, a name and a bandwidth, to a kernel."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from agop import _checks
from agop.kernels.angular import AngularKernel
from agop.kernels.base import Kernel
from agop.kernels.distance import squared_distances
from agop.kernels.registry import KERNELS


def make_kernels(kernel: Any, bandwidth: Any, X: Float[Tensor, "n d"]) -> list[Kernel]:
    """The kernel an estimator was asked for; with a list of bandwidths, one kernel for each that is different."""
    if not isinstance(bandwidth, list | tuple | np.ndarray):
        return [make_kernel(kernel, bandwidth, X)]
    if isinstance(kernel, Kernel):
        expected = "a number beside a kernel object, which has its own"
        raise _checks.bad_value("bandwidth", expected, f"{len(bandwidth)} of them", "pass the kernel's name")
    if issubclass(KERNELS[_checks.one_of("kernel", kernel, KERNELS)], AngularKernel):
        expected = f"no choice for kernel={kernel!r}, which has no bandwidth"
        raise _checks.bad_value("bandwidth", expected, f"{len(bandwidth)} candidates", "leave bandwidth out")
    if len(bandwidth) == 0:
        raise _checks.bad_value("bandwidth", "at least one candidate", "none", "pass a number")
    return list(dict.fromkeys(make_kernel(kernel, candidate, X) for candidate in bandwidth))


def make_kernel(kernel: Any, bandwidth: Any, X: Float[Tensor, "n d"]) -> Kernel:
    """The kernel an estimator was asked for: a name, with a bandwidth if it has one ("median" is taken from `X`), or a kernel."""
    if isinstance(kernel, Kernel):
        return kernel
    name = _checks.one_of("kernel", kernel, KERNELS)
    if issubclass(KERNELS[name], AngularKernel):
        return KERNELS[name]()
    if isinstance(bandwidth, str):
        _checks.one_of("bandwidth", bandwidth, ["median"])
        bandwidth = median_distance(X)
    return KERNELS[name](bandwidth=_checks.real("bandwidth", bandwidth, above=0))  # type: ignore[call-arg]


def kernel_name(kernel: Kernel) -> str:
    """The name an estimator takes a kernel by; that of its class for a kernel of the user's."""
    names = (name for name, kind in KERNELS.items() if kind is type(kernel))
    return next(names, type(kernel).__name__.lower())


def median_distance(X: Float[Tensor, "n d"], at_most: int = 1000) -> float:
    """Median distance between rows of `X` that differ: of all rows, or of every k-th if there are more than `at_most`."""
    rows = X[:: max(1, -(-len(X) // at_most))]
    i, j = torch.triu_indices(len(rows), len(rows), 1, device=X.device)
    positive = squared_distances(rows)[i, j].sqrt()
    positive = positive[positive > 0]
    if positive.numel() == 0:
        raise _checks.bad_value(
            "X", "rows that differ, for bandwidth='median'", "equal rows", "give a number"
        )
    return float(positive.quantile(0.5))
