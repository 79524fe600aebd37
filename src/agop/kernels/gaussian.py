"""The Gaussian kernel."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from agop import _checks
from agop.kernels.base import Kernel


@dataclass(frozen=True)
class Gaussian(Kernel):
    r"""The Gaussian (RBF) kernel :math:`k(x, z) = \exp(-\|x - z\|_2^2 / (2 L^2))`.

    Parameters
    ----------
    bandwidth
        :math:`L > 0`, in the units of the distance.

    Notes
    -----
    Gradient weight: :math:`\kappa'(r)/r = -k / L^2`.

    Examples
    --------
    >>> import torch
    >>> Gaussian(bandwidth=1.0)(torch.tensor([[0.0], [2.0]]))
    tensor([[1.0000, 0.1353],
            [0.1353, 1.0000]])
    """

    bandwidth: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "bandwidth", _checks.real("bandwidth", self.bandwidth, above=0))

    def evaluate(
        self, distances: Float[Tensor, "m n"], *, value: bool = True, weight: bool = True
    ) -> tuple[Float[Tensor, "m n"] | None, Float[Tensor, "m n"] | None]:
        values = distances.div_(self.bandwidth).square_().div_(-2).exp_()
        weights = values / -(self.bandwidth**2) if weight else None
        return (values if value else None), weights
