"""The one record that Deep RFMs and networks share: a layer as three stages around a feature matrix."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

STAGES = ("input", "projected", "output")
"""The three stages of a layer, in data-flow order."""


@dataclass(frozen=True, eq=False)
class LayerView:
    r"""One layer of a subject on n samples: `input → projected → output`, with a feature matrix in the middle.

    | field            | Deep RFM layer       | network layer `h → σ(W h)`, `W = U S Vᵀ` | shape   |
    |------------------|----------------------|------------------------------------------|---------|
    | `input`          | rows `x/‖x‖`         | `h`                                      | (n, d)  |
    | `projected`      | `X M^{1/2}`          | `h V S`                                  | (n, r)  |
    | `output`         | `Φ(X M^{1/2})`       | `σ(h Wᵀ)`                                | (n, k)  |
    | `feature_matrix` | `M`                  | `WᵀW` (the NFM)                          | (d, d)  |
    | `agop`           | AGOP of the layer's kernel machine | AGOP of the network with respect to `h` | (d, d) |

    A stage or matrix that a subject does not have is None. Source: Beaglehole et al. 2024 (arXiv 2402.13728), Sections 4, 5.
    """

    name: str
    input: Float[Tensor, "n d"]
    projected: Float[Tensor, "n r"] | None
    output: Float[Tensor, "n k"]
    feature_matrix: Float[Tensor, "d d"] | None = None
    agop: Float[Tensor, "d d"] | None = None

    def stages(self) -> dict[str, Float[Tensor, "n _"]]:
        """The stages that exist, in data-flow order."""
        stages = {"input": self.input, "projected": self.projected, "output": self.output}
        return {name: value for name, value in stages.items() if value is not None}
