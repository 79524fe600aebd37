"""Operations of torch that multiply two tensors, told by the labels of their axes, as einsum writes them."""

from __future__ import annotations

import string
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Product:
    """`y = a · b (+ added)`: the factors, and the labels of the axes of a, b and y."""

    a: Tensor
    b: Tensor
    labels: tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]
    added: Tensor | None = None
    scale: float = 1.0
    added_scale: float = 1.0


def product_of(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Product | None:
    """The product that the operation `name` computes with these arguments; None if that is none of two tensors."""
    parse = _PRODUCTS.get(name)
    return None if parse is None else parse(args, kwargs)


def _argument(args: tuple[Any, ...], kwargs: dict[str, Any], place: int, *names: str) -> Any:
    if place < len(args):
        return args[place]
    return next((kwargs[name] for name in names if name in kwargs), None)


def _linear(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Product:
    x, w = _argument(args, kwargs, 0, "input"), _argument(args, kwargs, 1, "weight")
    rows = tuple(f"m{i}" for i in range(x.ndim - 1))
    given = ("k",) if w.ndim == 2 else ()
    return Product(x, w, ((*rows, "d"), (*given, "d"), (*rows, *given)), _argument(args, kwargs, 2, "bias"))


def _matmul_labels(a: Tensor, b: Tensor) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    first = ("d",) if a.ndim == 1 else ("i", "d")
    second = ("d",) if b.ndim == 1 else ("d", "j")
    batch = max(a.ndim, b.ndim, 2) - 2
    own: list[list[str]] = [[], []]
    for side, tensor in enumerate((a, b)):
        other = (b, a)[side]
        for axis in range(max(0, tensor.ndim - 2)):
            place = batch - (tensor.ndim - 2) + axis
            beside = place - (batch - (other.ndim - 2))
            # an axis of length 1 is spread over the other's: a label that nothing shares
            alone = tensor.shape[axis] == 1 and 0 <= beside < other.ndim - 2 and other.shape[beside] != 1
            own[side].append(f"{'uv'[side]}{place}" if alone else f"b{place}")
    ends = (*(("i",) if a.ndim > 1 else ()), *(("j",) if b.ndim > 1 else ()))
    return (*own[0], *first), (*own[1], *second), (*(f"b{i}" for i in range(batch)), *ends)


def _matmul(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Product:
    a = _argument(args, kwargs, 0, "input", "self")
    b = _argument(args, kwargs, 1, "other", "mat2", "tensor", "vec")
    return Product(a, b, _matmul_labels(a, b))


def _reversed(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Product:
    return _matmul((args[1], args[0]), kwargs)


def _added(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Product | None:
    added = _argument(args, kwargs, 0, "input", "self")
    a = _argument(args, kwargs, 1, "mat1", "batch1", "mat")
    b = _argument(args, kwargs, 2, "mat2", "batch2", "vec")
    scales = [kwargs.get(name, 1) for name in ("alpha", "beta")]
    if len(args) > 3 or not all(isinstance(scale, int | float) for scale in scales):
        return None
    return Product(a, b, _matmul_labels(a, b), added, float(scales[0]), float(scales[1]))


def _addbmm(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Product | None:
    found = _added(args, kwargs)
    if found is None:
        return None
    a, b, y = found.labels
    return Product(found.a, found.b, (a, b, y[1:]), found.added, found.scale, found.added_scale)


def _inner(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Product:
    a, b = _argument(args, kwargs, 0, "input"), _argument(args, kwargs, 1, "other")
    first, second = tuple(f"a{i}" for i in range(a.ndim - 1)), tuple(f"b{i}" for i in range(b.ndim - 1))
    return Product(a, b, ((*first, "d"), (*second, "d"), (*first, *second)))


def _tensordot(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Product | None:
    a, b, dims = (
        _argument(args, kwargs, 0, "a"),
        _argument(args, kwargs, 1, "b"),
        _argument(args, kwargs, 2, "dims"),
    )
    dims = 2 if dims is None else dims
    if isinstance(dims, Tensor):
        dims = dims.tolist()
    if isinstance(dims, int):
        dims = list(range(a.ndim - dims, a.ndim)), list(range(dims))
    left, right = ([dims[side]] if isinstance(dims[side], int) else list(dims[side]) for side in (0, 1))
    first, second = [f"a{i}" for i in range(a.ndim)], [f"b{i}" for i in range(b.ndim)]
    for number, (i, j) in enumerate(zip(left, right)):
        first[i % a.ndim] = second[j % b.ndim] = f"d{number}"
    kept = tuple(label for label in (*first, *second) if label[0] in "ab")
    return Product(a, b, (tuple(first), tuple(second), kept))


def _einsum(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Product | None:
    equation, *operands = args
    if len(operands) == 1 and isinstance(operands[0], (list, tuple)):
        operands = list(operands[0])
    if not isinstance(equation, str) or len(operands) != 2:
        return None
    labels = einsum_labels(equation, [tensor.ndim for tensor in operands])
    a, b = operands
    # an axis of length 1 under an ellipsis is spread over the other's
    spread = []
    for side, tensor in enumerate(operands):
        other = operands[1 - side]
        spread.append(
            tuple(
                f"{label}{'uv'[side]}"
                if label[0] == "."
                and label in labels[1 - side]
                and size == 1 != other.shape[labels[1 - side].index(label)]
                else label
                for label, size in zip(labels[side], tensor.shape)
            )
        )
    return Product(a, b, (spread[0], spread[1], labels[2]))


def einsum_labels(equation: str, ndims: list[int]) -> tuple[tuple[str, ...], ...]:
    """The labels of each operand and of the result; the axes of an ellipsis are counted from the right.

    >>> einsum_labels("...i,ij->...j", [3, 2])
    (('.1', '.0', 'i'), ('i', 'j'), ('.1', '.0', 'j'))
    """
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    widest = 0
    operands = []
    for term, ndim in zip(terms, ndims, strict=True):
        before, dots, after = term.partition("...")
        count = ndim - len(before) - len(after) if dots else 0
        widest = max(widest, count)
        operands.append((*before, *(f".{i}" for i in reversed(range(count))), *after))
    ellipsis = tuple(f".{i}" for i in reversed(range(widest)))
    if arrow:
        before, dots, after = right.partition("...")
        result = (*before, *(ellipsis if dots else ()), *after)
    else:
        letters = [letter for letter in string.ascii_letters if left.count(letter) == 1]
        result = (*ellipsis, *sorted(letters))
    return (*operands, result)


_PRODUCTS: dict[str, Callable[[tuple[Any, ...], dict[str, Any]], Product | None]] = {
    "linear": _linear,
    **dict.fromkeys(("matmul", "__matmul__", "mm", "bmm", "mv", "linalg_matmul"), _matmul),
    "__rmatmul__": _reversed,
    **dict.fromkeys(("addmm", "baddbmm", "addmv"), _added),
    "addbmm": _addbmm,
    "inner": _inner,
    "tensordot": _tensordot,
    "einsum": _einsum,
}

PRODUCTS = frozenset(_PRODUCTS)
"""The names of the operations that are read as products of two tensors."""
