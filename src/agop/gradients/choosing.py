"""Which uses of weights are layers, under which names, and which modules are read as a whole: what `layers=` means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from torch import nn

from agop import _checks
from agop.gradients.reads import DEFAULT_LAYERS, is_one_linear_map
from agop.gradients.recognising import Use
from agop.gradients.taps import Layers, as_list, matches_name, named_exactly, select_layers
from agop.gradients.weight_names import WeightNames
from agop.gradients.wrapped import SCRIPTED, is_scripted

_PARTS = (".q", ".k", ".v")


class Choice:
    """What `layers=` chooses of a model.

    Attributes
    ----------
    modules
        The chosen modules by name (None: all of the types that multiply by a weight).
    whole
        Those among them that are read at their input, as long as nothing in them is found to multiply by their weights.
    exact
        What was chosen by its plain name, and has to be there.
    """

    def __init__(self, model: nn.Module, layers: Layers, names: WeightNames) -> None:
        known = names.layers()
        known |= {name + part for name in known for part in _PARTS}
        self.exact = named_exactly(layers)
        self.modules = select_layers(model, layers, default=DEFAULT_LAYERS, weights=known)
        scripted = [name for name, module in self.modules.items() if is_scripted(module)]
        if scripted:
            raise _checks.bad_value("layers", "layers that can be read", f"{scripted[0]!r}, {SCRIPTED}")
        choices = as_list(layers, ())
        self._excluded = [
            choice[1:] for choice in choices if isinstance(choice, str) and choice.startswith("!")
        ]
        self._wanted = [
            choice for choice in choices if isinstance(choice, str) and not choice.startswith("!")
        ]
        self.everything = layers is None or (not self._wanted and len(self._excluded) == len(choices))
        # one call of a layer is not the layer
        numbered = {choice.partition("#")[0] for choice in self._wanted if "#" in choice} - set(self._wanted)
        self.modules = {name: module for name, module in self.modules.items() if name not in numbered}
        for name, module in list(self.modules.items()):
            if isinstance(module, nn.MultiheadAttention) and not self.everything:
                # it multiplies by the weight of this part without calling it
                self.modules.setdefault(f"{name}.out_proj", module.out_proj)
        self._counts: dict[tuple[str, bool], int] = {}
        self._by_id = {id(module): name for name, module in self.modules.items()}
        attention = {id(part.out_proj) for part in model.modules() if isinstance(part, nn.MultiheadAttention)}
        self.whole = {
            name: module
            for name, module in self.modules.items()
            if not is_one_linear_map(module) and id(module) not in attention
        }

    def apart(self, model: nn.Module) -> dict[str, nn.Module]:
        """The chosen modules without those whose weight another one of them uses: the projection of attention, unless it was named."""
        hidden = {id(part.out_proj) for part in model.modules() if isinstance(part, nn.MultiheadAttention)}
        return {n: part for n, part in self.modules.items() if id(part) not in hidden or n in self.exact}

    def start(self) -> None:
        """Begin a forward pass: calls are counted anew."""
        self._counts.clear()

    def among(self, uses: Sequence[Use]) -> list[tuple[str, Use]]:
        """The uses of one operation that are layers, with their names."""
        visible = self._named([use for use in uses if not use.hidden])
        hidden = self._named([use for use in uses if use.hidden])
        for use in uses:
            key = use.layer, use.effective
            self._counts[key] = self._counts.get(key, 0) + 1
        return visible or hidden

    def _named(self, uses: list[Use]) -> list[tuple[str, Use]]:
        named = ((self._name(use), use) for use in uses)
        return [(name, use) for name, use in named if name is not None]

    def _name(self, use: Use) -> str | None:
        index = self._counts.get((use.layer, use.effective), 0)
        for alias, path in zip(use.name.aliases, use.name.paths):
            if any(fnmatchcase(name, pattern) for name in (alias, path) for pattern in self._excluded):
                continue
            if self.everything and not use.hidden:
                return alias
            if any(matches_name(alias, choice) for choice in self._wanted):
                return alias
            if any(matches_name(f"{alias}#{index}", choice) for choice in self._wanted if "#" in choice):
                return f"{alias}#{index}"
            if not use.hidden and self._by_id.get(id(use.name.module)) == path:
                return alias
        return None

    def require(self, called: set[str], unread: Mapping[str, str]) -> list[str]:
        """What was not read of what was chosen: refused if it was chosen by its plain name, else told.

        `called` are the names of what was read, `unread` those of what was seen and could not be, with the reasons.
        """
        notes = []
        kinds = {name: f" ({type(module).__name__})" for name, module in self.modules.items()}
        for name in [*kinds, *(name for name in sorted(self.exact) if name not in kinds)]:
            if name in called or any(layer.startswith(name + ".") for layer in called):
                continue
            why = unread.get(name, "which was never called")
            told = f"layer {name!r}{kinds.get(name, '')}, {why}"
            if name in self.exact or not called:
                raise _checks.bad_value("layers", "layers that the forward pass calls", told, "leave it out")
            if name not in unread or not self.everything:
                notes.append(f"left out: {told}")
        return notes
