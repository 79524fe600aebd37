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

    Attributes
    ----------
    name
        Of the layer.
    input : (n, d)
        Deep RFM: rows `x/‖x‖`. Network layer `h → σ(W h)` with `W = U S Vᵀ`: `h`.
    projected : (n, r) or None
        Deep RFM: `X M^{1/2}`. Network: `S Vᵀ h`.
    output : (n, k)
        Deep RFM: `Φ(X M^{1/2})`. Network: `σ(W h)`.
    feature_matrix : (d, d) or None
        Deep RFM: `M`. Network: `WᵀW`, the NFM.
    agop : (d, d) or None
        Deep RFM: AGOP of the layer's kernel machine, which is `M`. Network: AGOP with respect to `h` as this layer reads it.
    readout : (C, k) and (C,), or None
        Weight and bias of a classifier of the layer's own that reads `output`, where a subject has one (and says `reads_out = True`).

    Notes
    -----
    A stage or matrix that a subject does not have is None. Source: Beaglehole et al. 2024 (arXiv 2402.13728), Sections 4, 5.
    """

    name: str
    input: Float[Tensor, "n d"]
    projected: Float[Tensor, "n r"] | None
    output: Float[Tensor, "n k"]
    feature_matrix: Float[Tensor, "d d"] | None = None
    agop: Float[Tensor, "d d"] | None = None
    readout: tuple[Float[Tensor, "c k"], Float[Tensor, " c"]] | None = None

    def stages(self) -> dict[str, Float[Tensor, "n _"]]:
        """The stages that exist, in data-flow order."""
        stages = {"input": self.input, "projected": self.projected, "output": self.output}
        return {name: value for name, value in stages.items() if value is not None}
