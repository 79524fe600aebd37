"""How far the recursion `fit → AGOP → fit …` got with one kernel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor

from agop.kernels import Kernel, named


@dataclass(frozen=True, eq=False)
class Chain:
    """The recursion with one kernel as far as it got: `matrix` is the M of `iteration`, the next fit.

    The fit with the last M forms no AGOP, so its iteration stays: it is done again if more iterations are wanted later.
    `coefficients` are those of the last fit, for an iterative solver to start from. A kernel that `moves` is that of the first fit: its
    bandwidth is taken anew in each.
    """

    kernel: Kernel
    matrix: Float[Tensor, "d d"]
    iteration: int = 0
    history: tuple[dict[str, Any], ...] = ()
    coefficients: Float[Tensor, "n c"] | None = None
    moves: bool = False

    def kernel_at(
        self,
        name: str | Kernel,
        X: Float[Tensor, "n r"],
        weight: Float[Tensor, " n"] | None,
        *,
        factor: float,
    ) -> Kernel:
        """The kernel of the next fit; one that moves has `factor` times the median distance of the points as the metric now has them."""
        if not (self.moves and self.iteration):
            return self.kernel
        return named.make_kernel(name, "median", X, weight, factor=factor)


def rescaled(M: Float[Tensor, "d _"], scale: str) -> Float[Tensor, "d _"]:
    """M over its largest diagonal entry ("max"), over its Frobenius norm ("frobenius"), with trace d ("trace"), or as it is ("none")."""
    if scale == "max":
        return M / M.diagonal().max()
    if scale == "frobenius":
        return M / M.norm()
    if scale == "trace":
        return M * (len(M) / M.trace())
    return M
