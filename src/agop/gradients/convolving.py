"""Convolutions of torch as linear maps, with their arguments brought into one form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from agop.gradients.linear_map import Geometry, LinearMap, convolution, transposed_convolution

_FORWARD = {"conv1d": 1, "conv2d": 2, "conv3d": 3}
_TRANSPOSED = {"conv_transpose1d": 1, "conv_transpose2d": 2, "conv_transpose3d": 3}

CONVOLUTIONS = frozenset({*_FORWARD, *_TRANSPOSED})
"""The names of the operations that are read as convolutions."""


def convolution_of(name: str, args: Any, kwargs: Any) -> tuple[Tensor, Tensor, Callable[[], LinearMap]]:
    """What the operation reads, its weight, and what makes the linear map that it is."""
    forward = name in _FORWARD
    axes = _FORWARD[name] if forward else _TRANSPOSED[name]
    order = ("input", "weight", "bias", "stride", "padding")
    given = dict(
        zip(
            (*order, "dilation", "groups") if forward else (*order, "output_padding", "groups", "dilation"),
            args,
        )
    )
    given |= kwargs
    groups = int(given.get("groups", 1))

    def make() -> LinearMap:
        if not forward:
            return transposed_convolution(given["weight"], axes, groups)
        padding = given.get("padding", 0)
        geometry = Geometry(
            tuple(given["weight"].shape[2:]),
            _each(given.get("stride", 1), axes),
            padding if isinstance(padding, str) else _each(padding, axes),
            _each(given.get("dilation", 1), axes),
            groups,
        )
        return convolution(given["weight"], given.get("bias"), geometry)

    return given["input"], given["weight"], make


def _each(value: Any, axes: int) -> tuple[int, ...]:
    numbers = (value,) if isinstance(value, int) else tuple(value)
    return tuple(int(number) for number in (numbers * axes if len(numbers) == 1 else numbers))
