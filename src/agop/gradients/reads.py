r"""How each kind of layer reads its input: the vectors h it multiplies, and the matrix W it multiplies them
with.

A layer is seen as `y = W h + b` applied to *rows* h. What a row is:

| layer                  | a row h (d entries)                             | W (k, d)                       |
|------------------------|-------------------------------------------------|--------------------------------|
| Linear                 | the features of a sample or token               | `weight`                       |
| Conv1d/2d/3d           | one patch: `C_in/groups · kernel size`, padded  | `weight.flatten(1)`, per group |
| attention: `.in_proj`  | a token, through query, key and value together  | `in_proj_weight`               |
| attention: `.out_proj` | the concatenated heads of a token               | `out_proj.weight`              |
| RNN, GRU, LSTM         | a token of the input sequence                   | `weight_ih_l0`, `_reverse`     |
| any other module       | a token, or the channels at a position          | –                              |

For Linear, convolutions and `.out_proj` the gradient with respect to h is `Wᵀδ`, δ the gradient at y, so only
`Σ δδᵀ` is summed over the data and W is applied once at the end. The others are differentiated with respect
to the tensor that enters the module, through this module only (not through a skip connection that leaves from
the same tensor).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from agop import _checks

_CONVOLUTIONS: dict[type[nn.Module], int] = {nn.Conv1d: 1, nn.Conv2d: 2, nn.Conv3d: 3}
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_CHANNELS_FIRST = (
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
"""The layers with a matrix that multiplies what they read."""

Emit = Callable[[Tensor, str], Tensor]
"""Takes a tensor that is read or written (and a suffix of its name), returns what the model goes on with."""


@dataclass(frozen=True, eq=False)
class Read:
    """One way a module reads rows: what to hook, how gradients become rows, W if that is at the output."""

    suffix: str
    attach: Callable[[nn.Module, Emit], Any]
    rows: Callable[[Tensor], Float[Tensor, "g m k"]]
    weight: Callable[[], Float[Tensor, "g k d"]] | None = None


def reads_of(module: nn.Module) -> list[Read]:
    """The ways `module` reads its input; one for all but attention, which projects twice."""
    if _forwards_as(module, nn.Linear):
        return [Read("", _at_output, _tokens, lambda: _floating(module.weight)[None])]
    if axes := _axes_of_patches(module):
        return [_convolution(module, axes)]
    if isinstance(module, nn.MultiheadAttention):
        out = module.out_proj
        return [
            Read(".in_proj", _at_attention_input, _tokens),
            Read(".out_proj", _at_output, _tokens, lambda: _floating(out.weight)[None]),
        ]
    return [Read("", _at_input, _channel_rows if isinstance(module, _CHANNELS_FIRST) else _generic_rows)]


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


def _convolution(module: nn.Module, axes: int) -> Read:
    groups = module.groups
    assert isinstance(groups, int)

    def rows(gradient: Tensor) -> Tensor:
        if gradient.ndim == axes + 1:
            gradient = gradient[None]
        split = gradient.reshape(gradient.shape[0], groups, gradient.shape[1] // groups, -1)
        return split.permute(1, 0, 3, 2).reshape(groups, -1, split.shape[2])

    def weight() -> Tensor:
        flat = _floating(module.weight).flatten(1)
        return flat.reshape(groups, -1, flat.shape[1])

    return Read("", _at_output, rows, weight)


def _floating(weight: Any) -> Tensor:
    return _checks.floating("weight", weight, finite=False).detach()


def _at_output(module: nn.Module, emit: Emit) -> Any:
    def after(_module: nn.Module, _args: Any, output: Any) -> Any:
        if isinstance(output, tuple):
            return (emit(output[0], ""), *output[1:])
        return emit(output, "")

    # first in line: a hook of the user's may return something else than W h + b
    return module.register_forward_hook(after, prepend=True)


class _Hooks:
    """Several hooks that are removed as one."""

    def __init__(self, *handles: Any) -> None:
        self.handles = handles

    def remove(self) -> None:
        for handle in self.handles:
            handle.remove()


def _at_input(module: nn.Module, emit: Emit) -> _Hooks:
    """Tap the first tensor that enters; a module that writes into it would be cut off."""
    tapped: list[tuple[Tensor, int] | None] = []

    def tap(value: Tensor) -> Tensor:
        if not value.is_floating_point():
            raise _unreadable(
                module, f"reading {value.dtype} indices", "choose the layer that reads its output"
            )
        new = emit(value, "")
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


def _at_attention_input(module: nn.Module, emit: Emit) -> Any:
    """Tap query, key and value; the same tensor given twice stays one tensor, as attention itself checks."""

    def before(_module: nn.Module, args: Any, kwargs: Any) -> Any:
        names = ("query", "key", "value")
        given = dict(zip(names, args)) | {name: kwargs[name] for name in names if name in kwargs}
        roles: dict[int, list[str]] = {}
        for name in names:
            roles.setdefault(id(given[name]), []).append(name)
        tapped = {
            name: emit(given[together[0]], "" if len(together) == 3 else "." + "_".join(together))
            for together in roles.values()
            for name in together[:1]
        }
        for together in roles.values():
            for name in together[1:]:
                tapped[name] = tapped[together[0]]
        args = tuple(tapped[name] for name in names[: len(args)]) + tuple(args[3:])
        return args, {name: tapped.get(name, value) for name, value in kwargs.items()}

    return module.register_forward_pre_hook(before, with_kwargs=True)


def _tokens(gradient: Tensor) -> Float[Tensor, "1 m k"]:
    return gradient.reshape(1, -1, gradient.shape[-1])


def _channel_rows(gradient: Tensor) -> Float[Tensor, "1 m k"]:
    return gradient.movedim(1, -1).reshape(1, -1, gradient.shape[1])


def _generic_rows(gradient: Tensor) -> Float[Tensor, "1 m k"]:
    """Features last for samples and tokens, channels second for images and volumes."""
    return _channel_rows(gradient) if gradient.ndim >= 4 else _tokens(gradient)


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
