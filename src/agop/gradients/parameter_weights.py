"""Which entries of which parameters a layer multiplies by, whatever module holds them: found while a few samples run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from agop.gradients import calling
from agop.gradients.choosing import Choice
from agop.gradients.interception import Interception
from agop.gradients.linear_map import LinearMap
from agop.gradients.pullback import nodes
from agop.gradients.recognising import Use
from agop.gradients.sanity import PROBE_ROWS
from agop.gradients.state import thawed
from agop.gradients.taps import Layers, call_name

MADE = "its weight is made from other numbers, on which the decay acts (a parametrisation)"
_NONE = "it has no weight matrix"
_DIGIT = 128
"""Whole numbers up to it are exact in every floating dtype."""


@dataclass(frozen=True, eq=False)
class ParameterWeight:
    """The matrix W (k, d) of a layer as a choice of entries of `parameters`.

    `take` arranges tensors of the parameters' shapes, such as their gradients, as W is arranged.
    """

    parameters: tuple[Tensor, ...]
    take: Callable[[Sequence[Tensor]], Float[Tensor, "k d"]] = field(repr=False)

    @property
    def value(self) -> Float[Tensor, "k d"]:
        """W itself, without a graph."""
        return self.take([parameter.detach() for parameter in self.parameters])


def parameter_weights(model: nn.Module, layers: Layers, x: Any) -> dict[str, ParameterWeight | str]:
    """By layer its weight, or why none of the parameters is it; from a forward pass of a few of the samples x.

    Names are those of `layer_agops`, a layer that is called several times with one weight having one.
    """
    watcher = _Watcher(model, layers)
    small = calling.some_rows(x, slice(PROBE_ROWS))
    first = calling.first_tensor(small)
    with thawed(model), torch.enable_grad(), watcher.maps.attached(), watcher.maps.active():
        watcher.maps.start(0 if first is None or not first.ndim else len(first))
        watcher.choice.start()
        with calling.refusals_named(first, model):
            calling.call(model, calling.copied(small, []))
        return watcher.found()


class _Watcher:
    """Notes the weight of each chosen use, and changes nothing."""

    def __init__(self, model: nn.Module, layers: Layers) -> None:
        self.maps = Interception(model, self)
        self.choice = Choice(model, layers, self.maps.seen.names)
        self._model = model
        self._parameters = {id(parameter) for parameter in model.parameters()}
        self._found: dict[str, list[ParameterWeight | str]] = {}

    def reads(self, uses: Sequence[Use], x: Tensor) -> Tensor:
        """Before the operation, where weights are as they will be used."""
        with self.maps.paused():
            for name, use in self.choice.among(uses):
                self._found.setdefault(name, []).append(self._weight(use))
        return x

    def gives(self, uses: Sequence[Use], x: Tensor, y: Tensor) -> Tensor:
        """What a module computed from several weights is no choice of their entries."""
        if any(use.effective for use in uses):
            for name, _ in self.choice.among(uses):
                self._found.setdefault(name, []).append(MADE)
        return y

    def found(self) -> dict[str, ParameterWeight | str]:
        """By name; the reasons of chosen modules that multiply by nothing last."""
        result: dict[str, ParameterWeight | str] = {}
        for name, weights in self._found.items():
            apart = _apart(weights)
            result |= {call_name(name, i, len(apart)): weight for i, weight in enumerate(apart)}
        unread = self.maps.seen.unread
        for name in (*self.choice.apart(self._model), *sorted(self.choice.exact)):
            if name not in self._found and not any(layer.startswith(f"{name}.") for layer in self._found):
                result.setdefault(name, unread.get(name, self._missing(name)))
        return result

    def _missing(self, name: str) -> str:
        module = self.choice.modules.get(name)
        weights = () if module is None else module.parameters(recurse=False)
        return (
            "the forward pass never calls it"
            if any(w.ndim > 1 for w in weights) and name not in self.choice.whole
            else _NONE
        )

    def _weight(self, use: Use) -> ParameterWeight | str:
        if use.map.matrix is None:
            return self._fused(use.name.module)
        return weight_of(use.map, self._parameters)

    def _fused(self, module: nn.Module) -> ParameterWeight | str:
        """What a fused recurrent kernel multiplies its input by, in each direction."""
        read = [w for name, w in module.named_parameters(recurse=False) if name.startswith("weight_ih_l0")]
        return ParameterWeight(tuple(read), lambda values: torch.cat(list(values))) if read else _NONE


def weight_of(used: LinearMap, parameters: set[int]) -> ParameterWeight | str:
    """The weight of a linear map in terms of parameters, told by their ids."""
    weight, arrange = used.weight, used.arrange
    if weight is None or arrange is None:
        return MADE
    if not weight.is_floating_point():
        return f"its weight is {weight.dtype}"
    if id(weight) in parameters:
        return ParameterWeight((weight,), lambda values: arrange(values[0]).flatten(0, 1))
    leaves = [node.variable for node in nodes(weight) if hasattr(node, "variable")]
    if not leaves or any(id(leaf) not in parameters for leaf in leaves):
        return MADE if leaves else "its weight is no parameter, or is cut off from it"
    index = _entries(arrange(weight).flatten(0, 1), leaves)
    if index is None:
        return MADE
    return ParameterWeight(tuple(leaves), lambda values: _joined(values).take(index))


def _entries(matrix: Float[Tensor, "k d"], leaves: list[Tensor]) -> Int[Tensor, "k d"] | None:
    """The place of each entry of a matrix among those of the leaves, if each is one of them and none is there twice.

    The derivative of the matrix along the numbers of the places, digit by digit, is what came from where.
    """
    sizes = [leaf.numel() for leaf in leaves]
    places = torch.arange(sum(sizes), device=matrix.device)
    index, unit = torch.zeros(matrix.shape, dtype=torch.int64, device=matrix.device), 1
    back = torch.zeros_like(matrix, requires_grad=True)
    pulled = torch.autograd.grad(matrix, leaves, back, create_graph=True)
    if not all(gradient.requires_grad for gradient in pulled):
        return None
    while unit < sum(sizes):
        digits = (places // unit % _DIGIT).split(sizes)
        along = [digit.reshape(leaf.shape).to(leaf.dtype) for digit, leaf in zip(digits, leaves)]
        (moved,) = torch.autograd.grad(pulled, back, along, retain_graph=True)
        digit = moved.round().long()
        if not torch.equal(digit.to(moved.dtype), moved) or bool(((digit < 0) | (digit >= _DIGIT)).any()):
            return None
        index, unit = index + unit * digit, unit * _DIGIT
    once = bool((index < sum(sizes)).all()) and len(index.unique()) == index.numel()
    value = matrix.detach()
    if not once or not torch.equal(
        _joined([leaf.detach() for leaf in leaves]).take(index).to(value.dtype), value
    ):
        return None
    return index


def _joined(values: Sequence[Tensor]) -> Tensor:
    return torch.cat([value.flatten() for value in values])


def _apart(weights: list[ParameterWeight | str]) -> list[ParameterWeight | str]:
    """Those of the uses of a layer that differ; one where all are the same."""
    first, *others = weights
    return weights if any(not _same(first, other) for other in others) else [first]


def _same(a: ParameterWeight | str, b: ParameterWeight | str) -> bool:
    if isinstance(a, str) or isinstance(b, str):
        return a is b
    same = len(a.parameters) == len(b.parameters) and all(p is q for p, q in zip(a.parameters, b.parameters))
    return same and torch.equal(a.value, b.value)
