"""`W = U S Vᵀ`: what a layer's weight does to its input, apart from the rotation at the end."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def split(weight: Float[Tensor, "k d"]) -> tuple[Float[Tensor, "k r"], Float[Tensor, "r d"]]:
    """`U` and `S Vᵀ` of `W = U S Vᵀ`, r = min(k, d), singular values descending; computed in float64.

    For k < d from the eigenvectors of `W Wᵀ` would be faster and lose half of the digits; this does not.
    """
    work = weight.detach().cpu() if weight.device.type == "mps" else weight.detach()
    u, s, vt = torch.linalg.svd(work.double(), full_matrices=False)
    return u.to(weight), (s[:, None] * vt).to(weight)
