r"""Modules as readers: which are one linear map, what a module as a whole reads, and the matrix of a module.

Layers are found by what is computed (`agop.gradients.interception`). A row h (d entries) of what they read, and the matrix W (k, d):

| layer                             | a row h                                         | W                              |
|-----------------------------------|-------------------------------------------------|--------------------------------|
| Linear, any product with a weight | the features of a sample or token               | the weight, as it multiplies   |
| convolution                       | one patch: `C_in/groups · kernel size`, padded  | `weight.flatten(1)`, per group |
| transposed convolution            | the channels at a position                      | `weight.flatten(1)` transposed |
| attention: `.in_proj.q`, `.k`, `.v` | a token                                       | a third of `in_proj_weight`    |
| attention: `.out_proj`            | the concatenated heads of a token               | `out_proj.weight`              |
| RNN, GRU, LSTM                    | a token of the input sequence                   | – (inside the fused kernel)    |
| any other module, if chosen       | a token, or the channels at a position          | –                              |

For products and convolutions the gradient with respect to h is `Wᵀδ`, δ the gradient at y, so only `Σ δδᵀ` is summed over the data and
W is applied once at the end. The others are differentiated with respect to the tensor that enters, through this module only (not through
a skip connection that leaves from the same tensor).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from agop import _checks
from agop.gradients.linear_map import LinearMap, channels, tokens

_CONVOLUTIONS: dict[type[nn.Module], int] = {nn.Conv1d: 1, nn.Conv2d: 2, nn.Conv3d: 3}
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
CHANNELS_FIRST = (
    nn.modules.batchnorm._NormBase,
    nn.GroupNorm,
    nn.modules.pooling._MaxPoolNd,
    nn.modules.pooling._AvgPoolNd,
    nn.modules.pooling._AdaptiveAvgPoolNd,
    nn.modules.pooling._AdaptiveMaxPoolNd,
    nn.modules.conv._ConvNd,
)

CONVOLUTIONS: tuple[type[nn.Module], ...] = tuple(_CONVOLUTIONS)
"""The layers that read patches."""

DEFAULT_LAYERS: tuple[type[nn.Module], ...] = (nn.Linear, *CONVOLUTIONS, nn.MultiheadAttention, nn.RNNBase)
"""Modules that are expected to multiply what they read by a matrix."""

Emit = Callable[[Tensor], Tensor]
"""Takes a tensor that is read, returns what the model goes on with."""


def is_one_linear_map(module: nn.Module) -> bool:
    """Whether `module` is known to do nothing but to multiply by its weights."""
    return has_one_matrix(module) or isinstance(module, (nn.MultiheadAttention, nn.RNNBase, *_TRANSPOSED))


def has_one_matrix(module: nn.Module) -> bool:
    """Whether `module` computes `y = W h + b` at every position: Linear and convolutions with their own forward."""
    return _forwards_as(module, nn.Linear) or reads_patches(module)


def map_of_input(module: nn.Module) -> LinearMap:
    """How a module that is read as a whole reads: through the tensor that enters it."""
    rows = channels if isinstance(module, CHANNELS_FIRST) else _generic_rows
    return LinearMap(matrix=None, rows=rows, at_input=True, projects=False)


def reads_patches(module: nn.Module) -> bool:
    """Whether `module` is a convolution that multiplies patches by `weight` and does nothing else."""
    return _axes_of_patches(module) > 0


def _axes_of_patches(module: nn.Module) -> int:
    """How many axes the patches have that a convolution reads; 0 for another module."""
    for kind, axes in _CONVOLUTIONS.items():
        if _forwards_as(module, kind) and type(module)._conv_forward is kind._conv_forward:  # type: ignore[attr-defined]
            return axes
    return 0


def _forwards_as(module: nn.Module, kind: type[nn.Module]) -> bool:
    # a subclass with its own forward (LoRA, weight standardisation) does not multiply by `weight` alone
    return isinstance(module, kind) and type(module).forward is kind.forward


def _floating(weight: Any) -> Tensor:
    return _checks.floating("weight", weight, finite=False).detach()


class _Hooks:
    """Several hooks that are removed as one."""

    def __init__(self, *handles: Any) -> None:
        self.handles = handles

    def remove(self) -> None:
        for handle in self.handles:
            handle.remove()


def at_input(module: nn.Module, emit: Emit) -> _Hooks:
    """Tap the first tensor that enters; a module that writes into it would be cut off."""
    tapped: list[tuple[Tensor, int] | None] = []

    def tap(value: Tensor) -> Tensor:
        if not value.is_floating_point():
            raise _unreadable(
                module, f"reading {value.dtype} indices", "choose the layer that reads its output"
            )
        new = emit(value)
        tapped.append(None if new is value else (new, new._version))
        return new

    def before(_module: nn.Module, args: Any, kwargs: Any) -> Any:
        args, kwargs = list(args), dict(kwargs)
        for place, key in [(args, i) for i in range(len(args))] + [(kwargs, k) for k in kwargs]:
            value = place[key]
            if isinstance(value, nn.utils.rnn.PackedSequence):
                place[key] = value._replace(data=tap(value.data))
                return tuple(args), kwargs
            if isinstance(value, Tensor):
                place[key] = tap(value)
                return tuple(args), kwargs
        raise _unreadable(module, "called without a tensor", "choose a layer inside it")

    def after(_module: nn.Module, _args: Any, _output: Any) -> None:
        last = tapped.pop() if tapped else None
        if last is not None and last[0]._version != last[1]:
            raise _unreadable(module, "writing into its input", "choose a layer before or after it")

    return _Hooks(
        module.register_forward_pre_hook(before, with_kwargs=True),
        module.register_forward_hook(after, prepend=True),
    )


def _unreadable(module: nn.Module, doing: str, remedy: str) -> ValueError:
    return _checks.bad_value("layers", "layers that read numbers", f"{type(module).__name__} {doing}", remedy)


def _generic_rows(gradient: Tensor) -> Float[Tensor, "1 m k"]:
    """Features last for samples and tokens, channels second for images and volumes."""
    return channels(gradient) if gradient.ndim >= 4 else tokens(gradient)


def read_matrix(layer: nn.Module) -> Float[Tensor, "k d"]:
    """The matrix W that `layer` multiplies the rows it reads with (the groups of a convolution stacked)."""
    if isinstance(layer, nn.MultiheadAttention):
        if layer.in_proj_weight is not None:
            return _floating(layer.in_proj_weight)
        raise _checks.bad_value(
            "layer",
            "one matrix that multiplies the tokens",
            "attention with keys or values of another width",
            "take q_proj_weight, k_proj_weight or v_proj_weight",
        )
    if isinstance(layer, nn.RNNBase):
        return torch.cat([_floating(w) for n, w in layer.named_parameters() if n.startswith("weight_ih_l0")])
    if isinstance(layer, _TRANSPOSED):
        if layer.groups != 1:
            raise _checks.bad_value(
                "layer", "a transposed convolution with groups=1", f"groups={layer.groups}"
            )
        return _floating(layer.weight).flatten(1).mT
    weight = getattr(layer, "weight", None)
    if (
        not isinstance(weight, Tensor)
        or weight.ndim < 2
        or isinstance(layer, (nn.Embedding, nn.EmbeddingBag))
    ):
        raise _checks.bad_type(
            "layer",
            "a layer with a weight matrix (Linear, convolution, attention, RNN)",
            type(layer).__name__,
        )
    return _floating(weight).flatten(1)
