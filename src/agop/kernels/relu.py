r"""Kernels of infinitely wide ReLU networks: of their outputs at random weights (NNGP), and of their training (NTK).

Weights have variance 2 over the fan-in and there are no biases; inputs are not divided by their dimension. With
:math:`\kappa_1(u) = \frac1\pi (u (\pi - \arccos u) + \sqrt{1 - u^2})`, :math:`\kappa_0(u) = \kappa_1'(u) = 1 - \frac1\pi \arccos u` and
:math:`\rho_0 = \cos\theta`, :math:`\rho_l = \kappa_1(\rho_{l-1})`, the kernels of a network with L hidden layers are

.. math:: k_\mathrm{NNGP} = \|x\| \|z\|\, \rho_L, \qquad k_\mathrm{NTK} = \|x\| \|z\|\, \tau_L, \quad \tau_0 = \rho_0, \quad
          \tau_l = \rho_l + \tau_{l-1}\, \kappa_0(\rho_{l-1}).

Sources: Cho and Saul 2009 (arc-cosine kernels of degree 1 and 0); Lee et al. 2018 (arXiv 1711.00165); Jacot, Gabriel and Hongler 2018
(arXiv 1806.07572).

The recursion is carried out for :math:`1 - \rho_l`, which keeps its digits where two points nearly coincide.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from agop import _checks
from agop.kernels.angular import AngularKernel

_DEEPEST = 1000


@dataclass(frozen=True)
class _ReLUNetwork(AngularKernel):
    depth: int = 1

    def __post_init__(self) -> None:
        if _checks.integer("depth", self.depth, at_least=1) > _DEEPEST:
            raise _checks.bad_value(
                "depth", f"at most {_DEEPEST}, by which the kernel is flat", f"{self.depth}"
            )


@dataclass(frozen=True)
class ReLUNNGP(_ReLUNetwork):
    r"""The covariance of the outputs of a wide ReLU network with random weights.

    Parameters
    ----------
    depth
        Number of hidden layers L, at least 1; with 1 it is the arc-cosine kernel of degree 1 (Cho and Saul 2009), the kernel that
        `ReLUFeatures` approximate.

    Notes
    -----
    :math:`k(x, x) = \|x\|^2`. Differentiable everywhere but at 0, also where points coincide.

    Examples
    --------
    >>> import torch
    >>> ReLUNNGP(depth=1)(torch.tensor([[1.0, 0.0], [0.0, 2.0]]))
    tensor([[1.0000, 0.6366],
            [0.6366, 4.0000]])
    """

    def evaluate(
        self, distances: Float[Tensor, "m n"], *, value: bool = True, weight: bool = True
    ) -> tuple[Float[Tensor, "m n"] | None, Float[Tensor, "m n"] | None]:
        short = distances.square().div_(2)
        slope = torch.ones_like(short) if weight else None
        for _ in range(self.depth):
            angle, _ = _angle(short)
            if slope is not None:
                slope.mul_(angle.div(-math.pi).add_(1))
            short = _shortened(short, angle)
        return (1 - short if value else None), (slope.neg_() if slope is not None else None)


@dataclass(frozen=True)
class ReLUNTK(_ReLUNetwork):
    r"""The neural tangent kernel of a wide ReLU network: all layers are trained.

    Parameters
    ----------
    depth
        Number of hidden layers L, at least 1.

    Notes
    -----
    :math:`k(x, x) = (L + 1) \|x\|^2`. It has a cusp where directions coincide or are opposite, as the Laplace kernel has at 0: the
    derivative along the sphere has a limit from each side, of opposite signs, and is taken as 0.

    Examples
    --------
    >>> import torch
    >>> ReLUNTK(depth=1)(torch.tensor([[1.0, 0.0], [0.0, 2.0]]))
    tensor([[2.0000, 0.6366],
            [0.6366, 8.0000]])
    """

    def evaluate(
        self, distances: Float[Tensor, "m n"], *, value: bool = True, weight: bool = True
    ) -> tuple[Float[Tensor, "m n"] | None, Float[Tensor, "m n"] | None]:
        short = distances.square().div_(2)
        tangent = 1 - short
        slope, tangent_slope = torch.ones_like(short), torch.ones_like(short)
        for _ in range(self.depth):
            angle, sine = _angle(short)
            on = angle.div(-math.pi).add_(1)
            if weight:
                bend = (slope / sine.mul_(math.pi)).masked_fill_(sine == 0, 0)
                slope = slope.mul_(on)
                tangent_slope = tangent_slope.mul_(on).add_(slope).addcmul_(tangent, bend)
            short = _shortened(short, angle)
            tangent = tangent.mul_(on).add_(1).sub_(short)
        return (tangent if value else None), (tangent_slope.neg_() if weight else None)


def _angle(short: Float[Tensor, "m n"]) -> tuple[Float[Tensor, "m n"], Float[Tensor, "m n"]]:
    """The angle θ with 1 − cos θ = `short`, and its sine."""
    half = (short / 2).clamp_(0, 1).sqrt_()
    return 2 * half.asin(), 2 * half * (1 - half.square()).clamp_min_(0).sqrt_()


def _shortened(short: Float[Tensor, "m n"], angle: Float[Tensor, "m n"]) -> Float[Tensor, "m n"]:
    r""":math:`1 - \kappa_1(\cos\theta) = (1 - \cos\theta) - (\sin\theta - \theta\cos\theta)/\pi`, by its series at small angles."""
    squared = angle.square()
    series = torch.zeros_like(squared)
    for k in range(6, 0, -1):
        series = series.mul_(squared).add_((-1) ** (k + 1) * 2 * k / math.factorial(2 * k + 1))
    series = series.mul_(squared).mul_(angle)
    closed = angle.sin().sub_(angle * angle.cos())
    return short - torch.where(angle < 0.5, series, closed) / math.pi
