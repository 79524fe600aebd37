"""What a layer is called: the path of its module and the name of its parameter, `fc` for `fc.weight`, `block.w` for `block.w`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from agop.gradients.taps import plain_name

_NORM_PARTS = ("_v", "_g", "_orig", "_mask", "_u")


@dataclass(frozen=True, eq=False)
class Holder:
    """A module that holds a tensor, under a path (a module may have several), as one of its attributes."""

    path: str
    module: nn.Module
    attribute: str

    @property
    def layer(self) -> str:
        """The name of the layer that this weight makes."""
        if self.attribute == "weight":
            return self.path
        name = self.attribute.removesuffix("_weight")
        return name if self.path == "model" else f"{self.path}.{name}"


@dataclass(frozen=True, eq=False)
class Name:
    """The name of a use of a weight, the names that it answers to (that one first), the paths of its module, and the module."""

    aliases: tuple[str, ...]
    paths: tuple[str, ...]
    module: nn.Module

    @property
    def layer(self) -> str:
        """The name of the layer."""
        return self.aliases[0]


class WeightNames:
    """The names of all tensors that the modules of a model hold."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._holders: dict[int, list[Holder]] = {}
        self._paths: dict[int, list[str]] = {}
        self._kept: list[Tensor] = []
        self._ranks: dict[int, int] = {}
        self._modules = {
            plain_name(path): module for path, module in model.named_modules(remove_duplicate=False)
        }
        for path, module in model.named_modules(remove_duplicate=False):
            self._paths.setdefault(id(module), []).append(plain_name(path))
        for module in model.modules():
            self.see(module, everything=True)

    def see(self, module: nn.Module, *, everything: bool = False) -> None:
        """Take in the tensors that a module holds now."""
        held: dict[str, Any] = {**module._parameters}
        if everything:
            held |= {**module._buffers, **vars(module)}
        for attribute, tensor in held.items():
            if not isinstance(tensor, Tensor) or any(
                holder.module is module for holder in self._holders.get(id(tensor), ())
            ):
                continue
            self._kept.append(tensor)  # so that no other tensor gets its id
            self._ranks.setdefault(id(tensor), len(self._ranks))
            for path in self._paths.get(id(module), ()):
                self._holders.setdefault(id(tensor), []).append(self._holder(path, module, attribute))

    def _holder(self, path: str, module: nn.Module, attribute: str) -> Holder:
        before, marker, parametrised = f".{path}".partition(".parametrizations.")
        if marker:
            path = before.removeprefix(".") or "model"
            return Holder(path, self._modules[path], parametrised.partition(".")[0])
        for part in _NORM_PARTS:
            plain = attribute.removesuffix(part)
            if plain != attribute and hasattr(module, plain):
                return Holder(path, module, plain)
        return Holder(path, module, attribute)

    def path(self, module: nn.Module) -> str:
        """The first path of a module."""
        return self._paths.get(id(module), ["model"])[0]

    def paths(self, module: nn.Module) -> tuple[str, ...]:
        """All paths of a module."""
        return tuple(self._paths.get(id(module), ["model"]))

    def rank(self, source: int) -> int:
        """The place of a stored tensor in the order of the model."""
        return self._ranks.get(source, len(self._ranks))

    def module_of(self, sources: Iterable[int], running: Sequence[nn.Module]) -> Name:
        """The module that holds these tensors as the name."""
        name = self.of(sources, running)
        paths = self.paths(name.module)
        return Name(paths, paths, name.module)

    def layers(self) -> set[str]:
        """Every name that a layer may have."""
        return {holder.layer for holders in self._holders.values() for holder in holders}

    def holders(self, tensor: Tensor) -> list[Holder]:
        """The modules that hold a tensor."""
        return self._holders.get(id(tensor), [])

    def of(self, sources: Iterable[int], running: Sequence[nn.Module]) -> Name:
        """The name of what was made of the stored tensors with these ids, while these modules run (the innermost last)."""
        active = {id(module): depth for depth, module in enumerate(running)}
        chosen: list[list[Holder]] = []
        for source in sources:
            holders = self._holders.get(source, [])
            if not holders:
                continue
            inside = max((active.get(id(holder.module), -1) for holder in holders), default=-1)
            chosen.append([h for h in holders if inside < 0 or active.get(id(h.module)) == inside])
        firsts = {(id(holders[0].module), holders[0].attribute): holders for holders in chosen}
        if len(firsts) == 1 and not self._is_inside_one_layer(chosen, running):
            (holders,) = firsts.values()
            return Name(tuple(h.layer for h in holders), tuple(h.path for h in holders), holders[0].module)
        modules = {id(holders[0].module): holders for holders in chosen}
        if len(modules) == 1 and id(chosen[0][0].module) in active:
            (holders,) = modules.values()
            paths = tuple(dict.fromkeys(holder.path for holder in holders))
            return Name(paths, paths, holders[0].module)
        module = self._common(chosen, running)
        paths = self.paths(module)
        return Name(paths, paths, module)

    def _is_inside_one_layer(self, chosen: list[list[Holder]], running: Sequence[nn.Module]) -> bool:
        """Whether a layer with one weight runs that it makes of parameters which a part of it holds."""
        if not running or not isinstance(running[-1], nn.Linear | nn.modules.conv._ConvNd):
            return False
        inside = tuple(f"{path}." for path in self.paths(running[-1]))
        return all(holders[0].path.startswith(inside) for holders in chosen)

    def _common(self, chosen: list[list[Holder]], running: Sequence[nn.Module]) -> nn.Module:
        """The innermost running module that has all of these weights inside; else the innermost that runs."""
        for module in reversed(running):
            for path in self._paths.get(id(module), ()):
                if path == "model" or all(f"{h[0].path}.".startswith(f"{path}.") for h in chosen):
                    return module
        return running[-1] if running else self._model


def is_matrix(tensor: Tensor) -> bool:
    """Whether a parameter could be the matrix of a linear map."""
    return tensor.ndim >= 2 and not isinstance(tensor, nn.UninitializedParameter)
