"""From what an estimator was asked for, a name and a bandwidth, to a kernel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from agop import _checks
from agop.kernels.base import Kernel
from agop.kernels.distance import Points
from agop.kernels.registry import KERNELS


def make_kernels(
    kernel: Any,
    bandwidth: Any,
    X: Float[Tensor, "n d"],
    weight: Float[Tensor, " n"] | None = None,
    *,
    factor: Any = 1.0,
) -> dict[Kernel, Any]:
    """The kernel an estimator was asked for, with its bandwidth as asked for; with a list, one kernel for each that is different."""
    bandwidth = _checks.plain(bandwidth)
    if not isinstance(bandwidth, list | tuple | np.ndarray):
        return {make_kernel(kernel, bandwidth, X, weight, factor=factor): bandwidth}
    if isinstance(kernel, Kernel):
        expected = "a number beside a kernel object, which has its own"
        raise _checks.bad_value("bandwidth", expected, f"{len(bandwidth)} of them", "pass the kernel's name")
    if not KERNELS[_checks.one_of("kernel", kernel, KERNELS)].has_bandwidth:
        expected = f"no choice for kernel={kernel!r}, which has no bandwidth"
        raise _checks.bad_value("bandwidth", expected, f"{len(bandwidth)} candidates", "leave bandwidth out")
    if len(bandwidth) == 0:
        raise _checks.bad_value("bandwidth", "at least one candidate", "none", "pass a number")
    kernels: dict[Kernel, Any] = {}
    for candidate in bandwidth:
        kernels.setdefault(make_kernel(kernel, candidate, X, weight, factor=factor), candidate)
    return kernels


def make_kernel(
    kernel: Any,
    bandwidth: Any,
    X: Float[Tensor, "n d"],
    weight: Float[Tensor, " n"] | None = None,
    *,
    factor: Any = 1.0,
) -> Kernel:
    """The kernel an estimator was asked for: a name, with a bandwidth if it has one, or a kernel.

    "median" is `factor` times the median distance of the rows of `X`, weighted.
    """
    bandwidth = _checks.plain(bandwidth)
    if isinstance(kernel, Kernel):
        return kernel
    name = _checks.one_of("kernel", kernel, KERNELS)
    if not KERNELS[name].has_bandwidth:
        return KERNELS[name]()
    if isinstance(bandwidth, str):
        _checks.one_of("bandwidth", bandwidth, ["median"])
        points = KERNELS[name](bandwidth=1.0).points  # type: ignore[call-arg]
        bandwidth = _checks.real("bandwidth_factor", factor, above=0) * median_distance(X, weight, points)
    return KERNELS[name](bandwidth=_checks.real("bandwidth", bandwidth, above=0))  # type: ignore[call-arg]


def kernel_name(kernel: Kernel) -> str:
    """The name an estimator takes a kernel by; that of its class for a kernel of the user's."""
    names = (name for name, kind in KERNELS.items() if kind is type(kernel))
    return next(names, type(kernel).__name__.lower())


def median_distance(
    X: Float[Tensor, "n d"],
    weight: Float[Tensor, " n"] | None = None,
    prepared: Callable[[Tensor], Points] = Points,
    at_most: int = 1000,
) -> float:
    """The lower weighted median distance between rows of `X` that differ; 1 if none do. `prepared` rows know what a distance is.

    A pair counts with the product of both weights, so that a row with weight k is k rows. Of more than `at_most` different rows those are
    taken that stand at evenly spaced shares of the weight in the rows' lexicographic order: which ones does not depend on the order they
    came in.
    """
    rows, place = torch.unique(X, dim=0, return_inverse=True)
    counts = torch.ones(len(X), dtype=torch.float64, device=X.device) if weight is None else weight.double()
    mass = counts.new_zeros(len(rows)).index_add_(0, place, counts / counts.max())
    if len(rows) > at_most:
        steps = (torch.arange(at_most, dtype=torch.float64, device=X.device) + 0.5) / at_most
        upto = mass.cumsum(0)
        chosen = torch.searchsorted(upto / upto[-1], steps).clamp_max(len(rows) - 1)
        chosen, times = torch.unique(chosen, return_counts=True)
        rows, mass = rows[chosen], times.double()
    i, j = torch.triu_indices(len(rows), len(rows), 1, device=X.device)
    points = prepared(rows)
    distances = points.distances(slice(None), points)[i, j]
    if bool((mass == mass[0]).all()):  # nothing to weigh: no need to sort
        distances = distances[distances > 0]
        return float(distances.kthvalue((len(distances) + 1) // 2).values) if distances.numel() else 1.0
    distances, order = distances.sort()
    upto = (mass[i] * mass[j])[order].cumsum(0)
    upto, distances = upto[distances > 0], distances[distances > 0]
    if distances.numel() == 0:
        return 1.0
    # half of the weight, to rounding: sums of equal weights in another order must find the same pair
    middle = torch.searchsorted(upto, upto[-1] / 2 * (1 - 1e-12))
    return float(distances[int(middle)])
