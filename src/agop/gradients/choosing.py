"""Which uses of weights are layers, under which names, and which modules are read as a whole: what `layers=` means."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from torch import nn

from agop import _checks
from agop.gradients.interception import Use
from agop.gradients.reads import DEFAULT_LAYERS, is_one_linear_map
from agop.gradients.taps import Layers, as_list, matches_name, named_exactly, select_layers
from agop.gradients.weight_names import WeightNames

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
        choices = as_list(layers, ())
        self._excluded = [choice[1:] for choice in choices if isinstance(choice, str) and choice.startswith("!")]
        self._wanted = [choice for choice in choices if isinstance(choice, str) and not choice.startswith("!")]
        self.everything = layers is None or (not self._wanted and len(self._excluded) == len(choices))
        for name, module in list(self.modules.items()):
            if isinstance(module, nn.MultiheadAttention) and not self.everything:
                # it multiplies by the weight of this part without calling it
                self.modules.setdefault(f"{name}.out_proj", module.out_proj)
        self._by_id = {id(module): name for name, module in self.modules.items()}
        attention = {id(part.out_proj) for part in model.modules() if isinstance(part, nn.MultiheadAttention)}
        self.whole = {
            name: module
            for name, module in self.modules.items()
            if not is_one_linear_map(module) and id(module) not in attention
        }

    def among(self, uses: Sequence[Use], calls: dict[str, int]) -> list[tuple[str, Use]]:
        """The uses of one operation that are layers, with their names; `calls` counts the calls of each name so far."""
        visible = self._named([use for use in uses if not use.hidden], calls)
        return visible or self._named([use for use in uses if use.hidden], calls)

    def _named(self, uses: list[Use], calls: dict[str, int]) -> list[tuple[str, Use]]:
        named = ((self._name(use, calls), use) for use in uses)
        return [(name, use) for name, use in named if name is not None]

    def _name(self, use: Use, calls: dict[str, int]) -> str | None:
        for alias, path in zip(use.name.aliases, use.name.paths):
            if any(fnmatchcase(name, pattern) for name in (alias, path) for pattern in self._excluded):
                continue
            if self.everything and not use.hidden:
                return alias
            numbered = f"{alias}#{calls.get(alias, 0)}"
            if any(matches_name(name, choice) for name in (alias, numbered) for choice in self._wanted):
                return alias
            if not use.hidden and self._by_id.get(id(use.name.module)) == path:
                return alias
        return None

    def require(self, called: set[str]) -> list[str]:
        """What was never called of what was chosen: refused if it was chosen by its plain name, else told."""
        notes = []
        missing = {
            name: f"layer {name!r} ({type(module).__name__}), which was never called"
            for name, module in self.modules.items()
        } | {name: f"layer {name!r}, which was never called" for name in self.exact - set(self.modules)}
        for name, told in missing.items():
            if any(layer == name or layer.startswith(name + ".") for layer in called):
                continue
            if name.partition("#")[0] in called:
                continue
            if name in self.exact or not called:
                remedy = "leave it out, or call the module instead of using its weight"
                raise _checks.bad_value("layers", "layers that the forward pass calls", told, remedy)
            notes.append(f"left out: {told}")
        return notes
