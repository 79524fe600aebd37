"""The Laplace kernel and its generalisation to other exponents of the Euclidean distance."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from agop import _checks
from agop.kernels.base import Kernel


@dataclass(frozen=True)
class Laplace(Kernel):
    r"""The (generalised) Laplace kernel :math:`k(x, z) = \exp(-(\|x - z\|_2 / L)^{e})`.

    Parameters
    ----------
    bandwidth
        :math:`L > 0`, in the units of the distance.
    exponent
        :math:`e \in (0, 2]`; 1 is the Laplace kernel, 2 a Gaussian with :math:`\sigma = L/\sqrt 2`. Outside this range the kernel
        is not positive definite (Schoenberg 1938).

    Notes
    -----
    Gradient weight: :math:`\kappa'(r)/r = -(e/L^2)\,(r/L)^{e-2}\,k`, 0 at r = 0 by convention (for e ≤ 1 the kernel has a cusp there).

    Examples
    --------
    >>> import torch
    >>> Laplace(bandwidth=2.0)(torch.tensor([[0.0], [2.0]]))
    tensor([[1.0000, 0.3679],
            [0.3679, 1.0000]])
    """

    bandwidth: float = 1.0
    exponent: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "bandwidth", _checks.real("bandwidth", self.bandwidth, above=0))
        object.__setattr__(self, "exponent", _checks.real("exponent", self.exponent, above=0, at_most=2))

    def evaluate(
        self, distances: Float[Tensor, "m n"], *, value: bool = True, weight: bool = True
    ) -> tuple[Float[Tensor, "m n"] | None, Float[Tensor, "m n"] | None]:
        if self.exponent == 1 and not weight:
            return distances.div_(-self.bandwidth).exp_(), None
        weights = None
        if self.exponent == 1:
            values = torch.div(distances, -self.bandwidth).exp_()
            weights = torch.div(values, distances.mul_(-self.bandwidth))
        else:
            scaled = distances.div_(self.bandwidth)
            values = scaled.pow(self.exponent).neg_().exp_()
            factor = -self.exponent / self.bandwidth**2
            weights = scaled.pow_(self.exponent - 2).mul_(values).mul_(factor) if weight else None
        return (values if value else None), weights
