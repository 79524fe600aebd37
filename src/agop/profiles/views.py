"""The layers of a network as `LayerView`s: the rows of every stage themselves, for data that fit into memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from agop import _checks
from agop.gradients.calling import refusals_named
from agop.gradients.layers import LayerAGOPs, layer_agops
from agop.gradients.sanity import refuse_training_mode
from agop.gradients.state import untouched
from agop.gradients.taps import Layers
from agop.profiles import pooling
from agop.profiles.ansatz import split
from agop.profiles.network import _chosen, evaluation_mode
from agop.profiles.reader import Call, Nonlinearity, Reader
from agop.view import LayerView


class _Rows:
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.parts: list[Tensor] = []

    def add(self, rows: Float[Tensor, "n d"], labels: Int[Tensor, " n"], n_classes: int) -> None:
        self.parts.append(rows.detach().clone())

    def result(self) -> Float[Tensor, "n d"]:
        return torch.cat(self.parts)


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
    r"""The layers of `model` on the samples `X` as records of type `LayerView`, in the order of their calls.

    The projected stage is :math:`U^T (y - b) = S V^T h`, from the singular value decomposition :math:`W = U S V^T` and what the layer
    gave, y. All stages of all layers are kept in memory at once; `agop.profile` on the model itself needs only class moments.

    Parameters
    ----------
    model, X, layers, pool, nonlinearity
        As in `agop.profile`. Labels are not needed.
    agops
        Also the AGOP of every linear map (one backward pass per output).
    batch_size
        Rows per forward pass.

    Yields
    ------
    LayerView
        `feature_matrix` and `agop` are those of a row that the layer reads; they are None where the rows of the input stage are other
        ones (`pool="flatten"` with positions, grouped convolutions), and for modules that are no linear map.

    Raises
    ------
    ValueError
        If no layer can be read.
    """
    _checks.one_of("pool", pool, pooling.POOLS)
    _checks.integer("batch_size", batch_size, at_least=1)
    if not isinstance(model, nn.Module):
        raise _checks.bad_type("model", "a torch module", type(model).__name__)
    if not isinstance(X, Tensor) or X.ndim == 0:
        raise _checks.bad_type(
            "X",
            "a tensor with samples along its first axis",
            type(X).__name__,
            "convert it with torch.as_tensor",
        )
    if X.is_floating_point():
        _checks.floating("X", X)
    model = getattr(model, "_orig_mod", model)
    reader = Reader(model, _chosen(model, layers), pool, dict(nonlinearity or {}), keep=_Rows)
    with evaluation_mode(model), untouched(model), reader.attached():
        refuse_training_mode(model)
        for start in range(0, len(X), batch_size):
            batch = X[start : start + batch_size]
            labels = torch.zeros(len(batch), dtype=torch.int64)
            with torch.no_grad(), reader.batch(labels, 1), refusals_named(batch):
                model(batch.clone())
        calls = {name: call for name, call in reader.named_calls().items() if not call.left_out}
        linear = [call.module for call in calls.values() if call.linear]
        gradients = layer_agops(model, X, linear, batch_size=batch_size) if agops and linear else None
    if not calls:
        raise _checks.bad_value("layers", "a layer that can be read", "none")
    for name, call in calls.items():
        yield _view(name, call, pool, gradients)


def _view(name: str, call: Call, pool: str, gradients: LayerAGOPs | None) -> LayerView:
    stages = {stage: kept.result() for stage, kept in call.moments.items()}
    if not call.linear:
        return LayerView(name, stages["input"], None, stages["output"])
    weights = pooling.weight_groups(call.module)
    matrices: dict[str, Any] = {}
    if len(weights) == 1 and stages["input"].shape[1] == weights.shape[2]:
        matrices["feature_matrix"] = weights[0].mT @ weights[0]
        matrices["agop"] = None if gradients is None else gradients[name]
    projected = _projected(stages["projected"], call.module, pool)
    return LayerView(name, stages["input"], projected, stages["output"], **matrices)


def _projected(y: Float[Tensor, "n k"], module: nn.Module, pool: str) -> Float[Tensor, "n r"]:
    """`S Vᵀ h` from rows of `W h + b`, positions side by side where there are several."""
    weights = pooling.weight_groups(module)
    bias = pooling.bias_of(module, y.shape[1], pooling.is_convolution(module), pool)
    centred = y if bias is None else y - bias.to(y)
    u = torch.block_diag(*[split(weight)[0] for weight in weights]).to(y)
    k = u.shape[0]
    if y.shape[1] == k:
        return centred @ u
    if pooling.is_convolution(module):
        return torch.einsum("nkp,kr->nrp", centred.reshape(len(y), k, -1), u).flatten(1)
    return (centred.reshape(len(y), -1, k) @ u).flatten(1)
