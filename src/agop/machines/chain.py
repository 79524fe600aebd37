"""How far the recursion `fit → AGOP → fit …` got with one kernel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor

from agop.kernels import Kernel


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
