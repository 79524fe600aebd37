r"""Kernels of p-norms, :math:`k(x, z) = \exp(-\|x - z\|_p^q / L^q)`: steps along single columns cost them little.

For :math:`\delta = x - z`, coordinate by coordinate,

.. math:: \partial_j k = -\frac{q}{L^q} \|\delta\|_p^{q-p}\, k\; \mathrm{sign}(\delta_j) |\delta_j|^{p-1},

where a coordinate in which both points are equal contributes 0, and so does a point at itself. The norm is not that of any rotation of the
points unless p = 2, so a metric must be applied as the symmetric root of M. Positive definite for :math:`0 < q \le p \le 2`
(Schoenberg 1938). Source: Beaglehole, Holzmüller, Radhakrishnan, Belkin 2025, *xRFM* (arXiv 2508.10053).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from agop import _checks
from agop.kernels.base import Kernel
from agop.kernels.columns import ColumnSums
from agop.kernels.distance import Points

LEAST_P = 0.7
"""The least p for which M is learned: gradients of kernels below have no second moment at p ≤ 1/2, and next to it no useful one."""


class NormPoints(Points):
    """Rows prepared for distances in a p-norm, which are sums over differences and keep their digits without further care."""

    def __init__(self, X: Float[Tensor, "n d"], *, p: float, computed: bool = False, **options: Any) -> None:
        super().__init__(X, **options)
        self.p = p
        if computed and len(X):
            eps = torch.finfo(X.dtype).eps
            self.rounding = 8 * eps * float(torch.linalg.vector_norm(X.double(), p, dim=1).max())

    def beside(self, X: Float[Tensor, "m d"]) -> NormPoints:
        return NormPoints(X, p=self.p, center=self.center, dtype=self.values.dtype)

    def distances(
        self, rows: slice, other: Points, columns: slice = slice(None), dtype: torch.dtype | None = None
    ) -> Float[Tensor, "b k"]:
        x, z = self.values[rows].contiguous(), other.values[columns].contiguous()
        distances = torch.cdist(x, z, p=self.p)
        return distances if dtype is None else distances.to(dtype)


@dataclass(frozen=True)
class Lpq(Kernel):
    r"""The kernel :math:`k(x, z) = \exp(-\|x - z\|_p^q / L^q)`.

    Parameters
    ----------
    bandwidth
        :math:`L > 0`, in the units of the distance.
    p, q
        :math:`0 < q \le p \le 2`; p = 2 is `Laplace(L, exponent=q)`, p = q = 1 is `L1(L)`. M is learned for :math:`p \ge 0.7` only.

    Notes
    -----
    Weight of the coordinates' differences: :math:`-(q/L^q)\,r^{q-p}\,k`, 0 at r = 0 by convention.

    Examples
    --------
    >>> import torch
    >>> Lpq(bandwidth=2.0, p=1.0, q=1.0)(torch.tensor([[0.0, 0.0], [1.0, 1.0]]))
    tensor([[1.0000, 0.3679],
            [0.3679, 1.0000]])
    """

    bandwidth: float = 1.0
    p: float = 1.5
    q: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "bandwidth", _checks.real("bandwidth", self.bandwidth, above=0))
        object.__setattr__(self, "p", _checks.real("p", self.p, above=0, at_most=2))
        object.__setattr__(self, "q", _checks.real("q", self.q, above=0, at_most=self.p))

    @property
    def rotation_invariant(self) -> bool:  # type: ignore[override]
        return self.p == 2

    no_metric_because = "its gradients have no useful second moment for p < 0.7"

    @property
    def learns(self) -> bool:  # type: ignore[override]
        return self.p >= LEAST_P

    def points(
        self, X: Float[Tensor, "n d"], *, dtype: torch.dtype = torch.float64, computed: bool = False
    ) -> Points:
        if self.rotation_invariant:
            return Points(X, dtype=dtype, computed=computed)
        return NormPoints(X, p=self.p, dtype=dtype, computed=computed)

    def evaluate(
        self, distances: Float[Tensor, "m n"], *, value: bool = True, weight: bool = True
    ) -> tuple[Float[Tensor, "m n"] | None, Float[Tensor, "m n"] | None]:
        scaled = distances.div_(self.bandwidth)
        values = scaled.pow(self.q).neg_().exp_()
        if not weight:
            return values, None
        factor = -self.q / self.bandwidth**self.p
        weights = scaled.pow_(self.q - self.p).mul_(values).mul_(factor)
        return (values if value else None), weights

    def column_sums(self, right: Float[Tensor, "n d"], A: Float[Tensor, "n c"]) -> ColumnSums | None:
        return None if self.rotation_invariant else ColumnSums(right, A, self.p)


@dataclass(frozen=True)
class L1(Lpq):
    r"""The kernel :math:`k(x, z) = \exp(-\|x - z\|_1 / L)`, a product over columns.

    Parameters
    ----------
    bandwidth
        :math:`L > 0`, in the units of the distance, which is the sum of the columns' differences.

    Notes
    -----
    The metric of an RFM must be diagonal with it: a mixture of columns has no columns to sum over.

    Examples
    --------
    >>> import torch
    >>> L1(bandwidth=2.0)(torch.tensor([[0.0, 0.0], [1.0, 1.0]]))
    tensor([[1.0000, 0.3679],
            [0.3679, 1.0000]])
    """

    p: float = 1.0
    q: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("p", "q"):
            _checks.one_of(name, getattr(self, name), (1.0,))

    @property
    def mixes_columns(self) -> bool:  # type: ignore[override]
        return False
