"""`network_views` of 0.1, which is now a method of `Network`."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping

from jaxtyping import Float
from torch import Tensor, nn

from agop.gradients.taps import Layers
from agop.profiles.network import Network
from agop.profiles.read_call import Nonlinearity
from agop.view import LayerView


def network_views(
    model: nn.Module,
    X: Float[Tensor, "n *d"],
    *,
    layers: Layers = None,
    pool: str = "mean",
    nonlinearity: Mapping[str, Nonlinearity] | None = None,
    agops: bool = True,
    batch_size: int = 256,
) -> Iterator[LayerView]:
    """The layers of `model` on the samples `X`; write `agop.Network(model, pool=…).views(X)` instead.

    Warns
    -----
    DeprecationWarning
        With the new line; this name goes with the next release.
    """
    warnings.warn(
        "network_views is now a method: write agop.Network(model, pool=…, nonlinearity=…).views(X, layers=…)",
        DeprecationWarning,
        stacklevel=2,
    )
    subject = Network(model, pool=pool, nonlinearity=nonlinearity)
    return subject.views(X, layers=layers, agops=agops, batch_size=batch_size)
