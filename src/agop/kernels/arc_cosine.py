r"""What a layer of infinitely many ReLUs does to the cosine t of its inputs, in :math:`v = (1 - t)/2`, which keeps its digits where t is 1.

:math:`\kappa_0 = 1 - \frac1\pi \arccos t` and :math:`\kappa_1 = t \kappa_0 + \frac1\pi \sqrt{1 - t^2}` are the arc-cosine kernels of degree
0 and 1 of Cho and Saul (2009), with value 1 at t = 1.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor


def arc_cosines(v: Float[Tensor, "*n"]) -> tuple[Tensor, Tensor, Tensor]:
    """κ0, (1 − κ1)/2 and half the sine: one arc sine and one more root serve all."""
    half = v.sqrt().asin_()
    sine = torch.addcmul(v, v, v, value=-1).sqrt_()
    on = torch.sub(1, half, alpha=2 / math.pi)
    gap = half.sub_(sine).mul_(1 / math.pi).addcmul_(v, on)
    return on, gap, sine
