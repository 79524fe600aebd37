"""Checks of what the file of an estimator holds, which may be anybody's: types, shapes, kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from torch import Tensor

from agop.kernels import Kernel
from agop.kernels.registry import KERNELS

T = TypeVar("T")


class Damaged(Exception):
    """What is wrong with a file, in words."""


def of_type(header: dict[str, Any], name: str, kind: type[T]) -> T:
    """An entry of a header that must be of this type."""
    value = header.get(name)
    if type(value) is not kind:
        raise Damaged(f"{name} is {type(value).__name__}, not {kind.__name__}")
    return value


def kernel_of(value: dict[str, Any]) -> Kernel:
    """The kernel that a header describes."""
    arguments = dict(value)
    name = arguments.pop("kernel", None)
    if not isinstance(name, str) or name not in KERNELS:
        raise Damaged(f"the kernel is none of {', '.join(KERNELS)}")
    return KERNELS[name](**arguments)


def check_shapes(tensors: dict[str, Tensor], expected: dict[str, tuple[int, ...]]) -> None:
    """Exactly the expected tensors, of these shapes."""
    for name, shape in expected.items():
        if name not in tensors:
            raise Damaged(f"no tensor {name!r}")
        if tuple(tensors[name].shape) != shape:
            raise Damaged(f"tensor {name!r} of shape {tuple(tensors[name].shape)} instead of {shape}")
    extra = [name for name in tensors if name not in expected]
    if extra:
        raise Damaged(f"tensor {extra[0][:40]!r} is unknown")


def matrix_of(tensors: dict[str, Tensor], name: str) -> Tensor:
    """A tensor that must be there and have two axes."""
    if name not in tensors or tensors[name].ndim != 2:
        raise Damaged(f"no matrix {name!r}")
    return tensors[name]


def index_of(estimator: Any, name: str, count: int) -> int:
    """A fitted attribute that counts something from 0."""
    value = getattr(estimator, name, None)
    if type(value) is not int or not 0 <= value < count:
        raise Damaged(f"{name} is not a whole number from 0 to {count - 1}")
    return value


def numbered(place: int, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of one of several models in a file, under its number."""
    return {f"{place}.{name}": value for name, value in tensors.items()}


def restored_members(
    header: dict[str, Any],
    members: list[Any],
    tensors: dict[str, Tensor],
    kind: str,
    restored: Callable[[dict[str, Any], dict[str, Tensor]], Any],
) -> list[Any]:
    """The models of a file, each a `kind`, of their headers and of tensors under their numbers."""
    own: list[dict[str, Tensor]] = [{} for _ in members]
    for name, value in tensors.items():
        place, _, rest = name.partition(".")
        if not place.isdecimal() or len(place) > 4 or int(place) >= len(members):
            raise Damaged(f"tensor {name[:40]!r} is unknown")
        own[int(place)][rest] = value
    models = []
    for member, values in zip(members, own, strict=True):
        if not isinstance(member, dict) or member.get("class") != kind:
            raise Damaged(f"a model that is no {kind}")
        models.append(restored({"version": header.get("version"), **member}, values))
    return models
