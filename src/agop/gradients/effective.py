r"""Modules that are one linear map of what they read though they compute it from several: `W h + s B (A h)` of a low-rank adapter.

While a forward pass runs, tensors are known to be linear images of another tensor: the result of a linear map, its multiples, its images
under a further map, and sums of images of the same tensor. A module whose output is such a sum of its input has an effective weight.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from agop.gradients.linear_map import Geometry, LinearMap
from agop.gradients.provenance import WEIGHT, Provenance

_SAME = frozenset({"to", "contiguous", "clone", "dropout", "float", "double", "half", "bfloat16", "type"})
_SHAPED = frozenset({"view", "reshape", "flatten", "unflatten", "view_as"})
_ADDED = {
    "add": 1.0,
    "__add__": 1.0,
    "__radd__": 1.0,
    "add_": 1.0,
    "__iadd__": 1.0,
    "sub": -1.0,
    "__sub__": -1.0,
    "sub_": -1.0,
}
_SCALED = frozenset({"mul", "__mul__", "__rmul__", "mul_", "multiply"})


@dataclass(frozen=True, eq=False)
class Image:
    """A tensor that is `W root + b`, with W (1, k, d) and b (k,) made on demand."""

    root: weakref.ref[Tensor]
    matrix: Callable[[], Tensor]
    bias: Callable[[], Tensor | None]
    geometry: Geometry | None
    width: int
    factors: frozenset[object]
    adapted: bool = False


class Images:
    """The linear images of one forward pass, by identity."""

    def __init__(self, origins: Provenance) -> None:
        self._origins = origins
        self._images: dict[int, tuple[weakref.ref[Tensor], Image]] = {}
        self._roots: dict[int, tuple[weakref.ref[Tensor], weakref.ref[Tensor]]] = {}

    def forget(self) -> None:
        """Begin a forward pass."""
        self._images.clear()
        self._roots.clear()

    def of(self, tensor: Any) -> Image | None:
        """The image that a tensor is, if it is one."""
        found = self._images.get(id(tensor))
        return found[1] if found is not None and found[0]() is tensor else None

    def root_of(self, tensor: Tensor) -> Tensor:
        """The tensor itself, or what it is another shape or a copy of."""
        found = self._roots.get(id(tensor))
        root = found[1]() if found is not None and found[0]() is tensor else None
        return tensor if root is None else root

    def adapted(self, x: Tensor, y: Any) -> Image | None:
        """The image that `y` is of `x`, if several maps or scales went into it; told once."""
        image = self.of(y)
        if image is None or not image.adapted or image.root() is not self.root_of(x):
            return None
        self._note(y, replace(image, adapted=False))
        return image

    def map(self, used: LinearMap, x: Tensor, y: Tensor) -> None:
        """`y` came out of a linear map of `x`."""
        matrix = used.matrix
        if matrix is None or used.at_input or not used.projects:
            return
        before, bias = self.of(x), used.bias
        if used.geometry is not None:
            if used.geometry.groups > 1 or (before is not None and not _pointwise(used.geometry)):
                return
        elif (
            used.inputs(x) is not x
            or used.outputs(y) is not y
            or (before is not None and before.geometry is not None)
        ):
            return
        axis = 1 if used.geometry is not None else -1
        if before is None:
            root = weakref.ref(self.root_of(x))
            self._note(y, Image(root, matrix, lambda: bias, used.geometry, y.shape[axis], frozenset((used,))))
            return

        def composed_bias() -> Tensor | None:
            inner = before.bias()
            moved = None if inner is None else matrix()[0] @ inner
            return _sum(moved, bias)

        self._note(
            y,
            replace(
                before,
                matrix=lambda: matrix() @ before.matrix(),
                bias=composed_bias,
                width=y.shape[axis],
                factors=before.factors | {used},
                adapted=False,
            ),
        )

    def follow(self, name: str, args: Any, kwargs: Any, result: Any) -> None:
        """An operation took an image: is its result one, too?"""
        if not isinstance(result, Tensor) or not args or not isinstance(args[0], Tensor):
            if name in _SCALED and isinstance(result, Tensor):
                self._scaled(args, result)
            return
        if name in _SAME or name in _SHAPED:
            self._carried(name, args[0], result)
        elif name in _ADDED and len(args) > 1 and not kwargs:
            self._added(args[0], args[1], _ADDED[name], result)
        elif name in _SCALED and len(args) > 1:
            self._scaled(args, result)

    def _note(self, tensor: Tensor, image: Image) -> None:
        self._images[id(tensor)] = weakref.ref(tensor), image

    def _carried(self, name: str, tensor: Tensor, result: Tensor) -> None:
        if result is tensor:
            return
        if name in _SHAPED and (not tensor.ndim or not result.ndim or tensor.shape[-1] != result.shape[-1]):
            return
        image = self.of(tensor)
        if image is None:
            self._roots[id(result)] = weakref.ref(result), weakref.ref(self.root_of(tensor))
        elif name in _SAME or image.geometry is None:
            self._note(result, image)

    def _added(self, a: Any, b: Any, sign: float, result: Tensor) -> None:
        first, second = self.of(a), self.of(b)
        if first is not None and second is not None:
            same = first.root() is second.root() is not None and first.geometry == second.geometry
            if not same or first.width != second.width or tuple(a.shape) != tuple(b.shape):
                return
            if first.factors & second.factors:
                # a layer and a skip connection around it, which are no adapter of one another
                return
            one, two = first, second

            def bias() -> Tensor | None:
                other = two.bias()
                return _sum(one.bias(), None if other is None else sign * other)

            image = replace(
                one,
                matrix=lambda: one.matrix() + sign * two.matrix(),
                bias=bias,
                factors=one.factors | two.factors,
                adapted=True,
            )
            self._note(result, image)
            return
        image_, other = (first, b) if first is not None else (second, a)
        if image_ is not None and self._is_vector(other, image_):
            kept, factor = image_, 1.0 if first is None else sign
            if first is None and sign < 0:
                return
            vector = other.detach().flatten()
            self._note(result, replace(kept, bias=lambda: _sum(kept.bias(), factor * vector)))

    def _scaled(self, args: Any, result: Tensor) -> None:
        if len(args) < 2:
            return
        image, other = (
            (self.of(args[0]), args[1]) if self.of(args[0]) is not None else (self.of(args[1]), args[0])
        )
        if image is None:
            return
        scale: Any
        if isinstance(other, int | float) and not isinstance(other, bool):
            scale, vector = float(other), False
        elif isinstance(other, Tensor) and other.numel() == 1 and self._origins.of(other).kind <= WEIGHT:
            scale, vector = other.detach().flatten(), False
        elif self._is_vector(other, image):
            scale, vector = other.detach().flatten(), True
        else:
            return
        kept = image

        def bias() -> Tensor | None:
            before = kept.bias()
            return None if before is None else before * scale

        def matrix() -> Tensor:
            return kept.matrix() * (scale[:, None] if vector else scale)

        self._note(result, replace(kept, matrix=matrix, bias=bias, adapted=kept.adapted or vector))

    def _is_vector(self, other: Any, image: Image) -> bool:
        """Whether a tensor is one number per output, made of weights only."""
        if (
            not isinstance(other, Tensor)
            or other.numel() != image.width
            or self._origins.of(other).kind != WEIGHT
        ):
            return False
        axis = -1 if image.geometry is None else -len(image.geometry.kernel_size) - 1
        return other.ndim >= -axis and other.shape[axis] == image.width


def _pointwise(geometry: Geometry) -> bool:
    ones = (*geometry.kernel_size, *geometry.stride)
    return (
        all(size == 1 for size in ones)
        and not isinstance(geometry.padding, str)
        and not any(geometry.padding)
    )


def _sum(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    if a is None or b is None:
        return b if a is None else a
    return a + b
