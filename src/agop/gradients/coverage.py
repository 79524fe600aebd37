"""How many of a model's weight matrices were seen as layers, and why the others were not: nothing is missed in silence."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from agop.gradients.interception import Interception
from agop.gradients.recognising import FUSED
from agop.gradients.taps import plain_name
from agop.gradients.wrapped import PACKED, SCRIPTED, is_packed, is_scripted

_NO_LINEAR_MAP = frozenset(
    {
        "addr",
        "bilinear",
        "cdist",
        "chain_matmul",
        "conv_tbc",
        "dot",
        "ger",
        "kron",
        "linalg_multi_dot",
        "outer",
        "pdist",
        "vdot",
    }
)
"""Operations that multiply by a weight in a way that is not read."""


@dataclass(frozen=True)
class Coverage:
    """`read` of the `matrices` of a model are layers; `notes` say what the others are."""

    read: int
    matrices: int
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.read} of {self.matrices} weight matrices"

    @property
    def complete(self) -> bool:
        """Whether every matrix is read."""
        return self.read >= self.matrices


def coverage(maps: Interception) -> Coverage:
    """What the forward passes under `maps` have shown.

    A matrix is a parameter with two axes or more that multiplies something: tables that are only looked up and what is only added are none.
    """
    read, unread = 0, dict[str, list[str]]()
    for source, (name, parameter) in maps.seen.matrices().items():
        uses = maps.seen.origins.uses.get(source, {})
        inside = [use for use in uses if use in FUSED]
        if inside:
            unread.setdefault(f"inside the fused {inside[0]}, whose input is read", []).append(name)
        elif source in maps.seen.read:
            read += 1
        elif name in maps.seen.unread:
            unread.setdefault(maps.seen.unread[name], []).append(name)
        elif not _NO_LINEAR_MAP.isdisjoint(uses):
            name_of = next(use for use in uses if use in _NO_LINEAR_MAP)
            unread.setdefault(f"{name_of} is no linear map of one tensor", []).append(name)
        elif any(is_scripted(holder.module) for holder in maps.seen.names.holders(parameter)):
            unread.setdefault(SCRIPTED, []).append(name)
        elif not uses and not _of_uncalled_layer(maps, parameter):
            unread.setdefault("no operation that can be seen uses it", []).append(name)
        elif not uses:
            unread.setdefault("", []).append(name)
    packed = [plain_name(name) for name, module in maps.model.named_modules() if is_packed(module)]
    if packed:
        unread[PACKED] = packed
    total = read + sum(map(len, unread.values()))
    notes = [f"left out: {_listed(names)}, {why}" for why, names in unread.items() if why]
    named = {name for names in unread.values() for name in names}
    notes += [f"left out: {name}, {why}" for name, why in maps.seen.unread.items() if name not in named]
    return Coverage(read, total, tuple(notes))


def _of_uncalled_layer(maps: Interception, parameter: Tensor) -> bool:
    """Whether a parameter is that of a layer that is told by its own name."""
    from agop.gradients.reads import DEFAULT_LAYERS

    return any(isinstance(holder.module, DEFAULT_LAYERS) for holder in maps.seen.names.holders(parameter))


def _listed(names: list[str], limit: int = 6) -> str:
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")
