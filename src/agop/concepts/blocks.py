"""The blocks of a model, whose outputs are its hidden states."""

from __future__ import annotations

from torch import nn

from agop import _checks
from agop.gradients.taps import Layers, plain_name, select_layers

_DEFAULT = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def blocks_of(model: nn.Module, layers: Layers = None) -> dict[str, nn.Module]:
    """The chosen modules of `model` by name, in the order in which it names them.

    None: the members of its largest list of blocks (`ModuleList` or `Sequential`, two modules or more, all of one class and with parts of
    their own; largest by number of parameters), which in a transformer are its blocks. A model without such a list: its linear maps
    and convolutions. Otherwise names, globs, types or modules, as everywhere.

    Raises
    ------
    TypeError
        If `model` is no module.
    ValueError
        If a choice matches no module, or there is nothing to choose.
    """
    if not isinstance(model, nn.Module):
        raise _checks.bad_type("model", "a torch module", type(model).__name__)
    if layers is None:
        layers = _largest_list(model) or None
    return select_layers(model, layers, default=_DEFAULT)


def _largest_list(model: nn.Module) -> list[str]:
    """The names of the members of the largest list of blocks; empty if there is none."""
    largest, names = 0, []
    for name, module in model.named_modules():
        if not isinstance(module, nn.ModuleList | nn.Sequential):
            continue
        parts = dict(module.named_children())
        kinds = {type(part) for part in parts.values()}
        composed = all(next(part.children(), None) is not None for part in parts.values())
        if len(parts) < 2 or len(kinds) > 1 or not composed:
            continue
        size = sum(parameter.numel() for parameter in module.parameters())
        if size > largest:
            largest, names = size, [plain_name(f"{name}.{own}" if name else own) for own in parts]
    return names
