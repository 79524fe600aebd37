"""Models whose layers nobody can look into, and what to take in their place."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from agop import _checks

SCRIPTED = "inside TorchScript no operation can be seen: take the module that it was scripted or traced from"
"""Why a weight is not read."""

_WHOLE = "load its weights into the model without FSDP"

FSDP_FROM = "2.8"
"""The first release of torch that copies parameters back into an FSDP module that is not split (pytorch/pytorch#151223)."""


def is_scripted(module: nn.Module) -> bool:
    """Whether a module runs as TorchScript."""
    return isinstance(module, torch.jit.ScriptModule)


PACKED = "its weight is packed into a quantised kernel of torch, through which no gradient goes"
"""Why a weight is not read."""


def is_packed(module: nn.Module) -> bool:
    """Whether a module is one of torch's own quantised ones, which hold no tensor that multiplies."""
    quantised = type(module).__module__.startswith("torch.ao.nn.quantized")
    return quantised and (hasattr(module, "_all_weight_values") or callable(getattr(module, "weight", None)))


def refuse_packed(model: nn.Module) -> None:
    """Raise if gradients end at a quantised kernel."""
    for name, part in model.named_modules():
        if is_packed(part):
            remedy = "take the model as it was before, or one whose quantised weights are tensors"
            got = f"module {name or 'model'!r} ({type(part).__name__}): {PACKED}"
            raise _checks.bad_value("model", "a model that gradients go through", got, remedy)


def refuse_unseen(model: Any) -> None:
    """Raise unless `model` is a torch module whose operations on weights can be seen."""
    expected = "a torch module whose layers can be looked into"
    if type(model).__name__ == "ExportedProgram":
        remedy = "take program.module(), exported with a dynamic batch"
        raise _checks.bad_type("model", "a torch module", "an ExportedProgram", remedy)
    if not isinstance(model, nn.Module):
        remedy = "use agop.agop for plain functions"
        raise _checks.bad_type("model", "a torch module", type(model).__name__, remedy)
    if is_scripted(model):
        remedy = "pass the module that it was scripted or traced from, or use agop.agop for its input"
        raise _checks.bad_value("model", expected, f"TorchScript ({type(model).__name__})", remedy)
    if any(getattr(parameter, "_is_flat_param", False) for parameter in model.parameters()):
        remedy = "wrap it with use_orig_params=True"
        raise _checks.bad_value("model", expected, "FullyShardedDataParallel with flat parameters", remedy)
    if any(map(_is_split, model.modules())):
        raise _checks.bad_value("model", expected, "one whose parameters are split among processes", _WHOLE)
    if torch.__version__ < FSDP_FROM and any(map(_is_fsdp, model.modules())):
        got = f"FullyShardedDataParallel with torch {torch.__version__}"
        raise _checks.bad_value("model", expected, got, f"take torch {FSDP_FROM} or newer, or {_WHOLE}")


def refuse_sharded(model: nn.Module) -> None:
    """Raise if FSDP holds the parameters: the gradients are those of its own tensors."""
    if any(map(_is_fsdp, model.modules())):
        raise _checks.bad_value(
            "model", "a model whose parameters are its own", "one that FSDP holds", _WHOLE
        )


def _is_fsdp(part: nn.Module) -> bool:
    return hasattr(part, "_fsdp_wrapped_module")


def _is_split(part: nn.Module) -> bool:
    """Whether parameters are whole only while the module runs, or never."""
    strategy = getattr(part, "sharding_strategy", None) if _is_fsdp(part) else None
    split = getattr(strategy, "name", "NO_SHARD") != "NO_SHARD"
    return split or any(hasattr(parameter, "to_local") for parameter in part.parameters(recurse=False))
