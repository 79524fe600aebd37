"""One layer of a Deep RFM: a function of rows that no longer needs the points it was fitted on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from agop.machines.feature_maps import FeatureMap


@dataclass(frozen=True, eq=False)
class DeepRFMLayer:
    r"""One fitted layer :math:`x \mapsto \Phi(M^p x/\|x\|)`, with the coefficients of its kernel machine.

    The machine's centres are not kept: they are the training points carried through the earlier layers, and are formed
    again when they are needed.
    """

    agop: Float[Tensor, "d d"]
    root: Float[Tensor, "d d"]
    coefficients: Float[Tensor, "n c"]
    feature_map: FeatureMap

    def project(self, X: Float[Tensor, "m d"]) -> Float[Tensor, "m d"]:
        """The projected stage of rows that were normalised."""
        return X @ self.root

    def __call__(self, X: Float[Tensor, "m d"]) -> Float[Tensor, "m k"]:
        """The layer's output for its raw input."""
        return self.feature_map(self.project(unit_rows(X)))


def unit_rows(X: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """Rows divided by their Euclidean norm; a zero row stays zero."""
    norms = X.norm(dim=1, keepdim=True)
    return X / torch.where(norms > 0, norms, torch.ones_like(norms))


def placed(feature_map: FeatureMap, like: Tensor) -> FeatureMap:
    """A feature map with its tensors in the dtype and on the device of `like`."""
    if not hasattr(feature_map, "__dataclass_fields__") or hasattr(feature_map, "function"):
        return feature_map
    return type(feature_map)(**{name: value.to(like) for name, value in feature_map.tensors().items()})
