"""One layer of a Deep RFM: a function of rows that no longer needs the points it was fitted on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from agop._blocks import row_blocks, rows_per_block
from agop.kernels.distance import working_dtype
from agop.machines.feature_maps import CallableFeatures, FeatureMap


@dataclass(frozen=True, eq=False)
class DeepRFMLayer:
    r"""One fitted layer :math:`x \mapsto \Phi(M^p x/\|x\|)`, with the coefficients of its kernel machine.

    The machine's centres are not kept: they are the training points carried through the earlier layers, and are formed
    again when they are needed.

    In "mixed" precision both maps are applied in float64 and their values rounded once: a product of many terms in float32 has
    an error of several units in the last place of the rows, and nearly coincident rows differ by few.
    """

    agop: Float[Tensor, "d d"]
    root: Float[Tensor, "d d"]
    coefficients: Float[Tensor, "n c"]
    feature_map: FeatureMap
    precision: str = "mixed"

    def project(self, X: Float[Tensor, "m d"]) -> Float[Tensor, "m d"]:
        """The projected stage of rows that were normalised."""
        wide = working_dtype(X.dtype, self.precision)
        return _in_blocks(lambda rows: rows.to(wide) @ self.root.to(wide), X, wide)

    def features(self, Z: Float[Tensor, "m d"]) -> Float[Tensor, "m k"]:
        """The output stage of projected rows."""
        if isinstance(self.feature_map, CallableFeatures):
            return self.feature_map(Z)
        wide = working_dtype(Z.dtype, self.precision)
        return _in_blocks(lambda rows: self.feature_map(rows.to(wide)), Z, wide)

    def __call__(self, X: Float[Tensor, "m d"]) -> Float[Tensor, "m k"]:
        """The layer's output for its raw input."""
        return self.features(self.project(unit_rows(X)))


def _in_blocks(function: Callable[[Tensor], Tensor], X: Float[Tensor, "m d"], wide: torch.dtype) -> Tensor:
    """A function of rows whose values are rounded to the dtype of `X`, without all of them in the wider one."""
    if wide == X.dtype:
        return function(X)
    blocks = row_blocks(len(X), rows_per_block(len(X), 4 * X.shape[1] * wide.itemsize))
    parts = [function(X[rows]).to(X.dtype) for rows in blocks]
    return torch.cat(parts) if parts else function(X).to(X.dtype)


def unit_rows(X: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """Rows divided by their Euclidean norm; a zero row stays zero."""
    norms = X.norm(dim=1, keepdim=True)
    return X / torch.where(norms > 0, norms, torch.ones_like(norms))


def placed(feature_map: FeatureMap, like: Tensor) -> FeatureMap:
    """A feature map with its tensors in the dtype and on the device of `like`."""
    if not hasattr(feature_map, "__dataclass_fields__") or hasattr(feature_map, "function"):
        return feature_map
    return type(feature_map)(**{name: value.to(like) for name, value in feature_map.tensors().items()})
