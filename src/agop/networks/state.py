"""Weights and optimiser state as one safetensors file; nothing is ever unpickled to read them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from agop import _checks, _store

_MODEL, _OPTIMISER = "model.", "optimiser."


def save_weights(model: nn.Module, path: str | Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write parameters and buffers by name; a tensor with several names is written once for each."""
    tensors = {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}
    Path(path).write_bytes(save(tensors, metadata=dict(metadata or {"format": "agop.weights"})))


def save_state(
    model: nn.Module, optimiser: torch.optim.Optimizer, path: str | Path, metadata: Mapping[str, str]
) -> None:
    """Write all that training needs to go on: weights, the optimiser's buffers, and text."""
    tensors = {_MODEL + name: value.detach().cpu().clone() for name, value in model.state_dict().items()}
    for index, entries in optimiser.state_dict()["state"].items():
        for key, value in entries.items():
            if value is not None:
                tensors[f"{_OPTIMISER}{index}.{key}"] = torch.as_tensor(value).detach().cpu().clone()
    texts = dict(metadata)
    Path(path).write_bytes(save(tensors, metadata=texts | {_store.DIGEST: _store.digest(texts, tensors)}))


def load_state(model: nn.Module, optimiser: torch.optim.Optimizer, path: str | Path) -> dict[str, str]:
    """Read what `save_state` wrote into a model and an optimiser of the same kind; returns the text."""
    tensors, metadata = _read(path)
    if metadata.pop(_store.DIGEST, None) != _store.digest(metadata, tensors):
        raise _checks.bad_value(
            "weights", "a file as it was written", f"{str(path)!r}, which was changed or damaged since"
        )
    fill_with(model, {n.removeprefix(_MODEL): t for n, t in tensors.items() if n.startswith(_MODEL)}, path)
    state: dict[int, dict[str, Any]] = {}
    for name, value in tensors.items():
        if name.startswith(_OPTIMISER):
            index, key = name.removeprefix(_OPTIMISER).split(".", 1)
            state.setdefault(int(index), {})[key] = value
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
    return metadata


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """The tensors of any safetensors file; `ValueError` if it is none."""
    return _read(path)[0]


def _read(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(str(path), framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        reason = " ".join(str(error).split())
        raise _checks.bad_value(
            "weights", "a readable safetensors file", f"{str(path)!r} ({reason})"
        ) from None


def fill_with(model: nn.Module, tensors: Mapping[str, Tensor], path: str | Path) -> None:
    """Take over these tensors, one for each parameter and buffer; `ValueError` if others are missing, too many or of another shape."""
    own = model.state_dict()
    missing = [name for name in own if name not in tensors]
    unknown = [name for name in tensors if name not in own]
    other = [name for name in own if name in tensors and own[name].shape != tensors[name].shape]
    if missing or unknown or other:
        got = (
            f"none for {_some(missing)}"
            if missing
            else f"one for {_some(unknown)}"
            if unknown
            else f"{other[0]} of shape {tuple(tensors[other[0]].shape)} instead of {tuple(own[other[0]].shape)}"
        )
        raise _checks.bad_value(
            "weights",
            f"a tensor for each of the {len(own)} of the model",
            f"{got} in {str(path)!r}",
            "take the file of this model",
        )
    model.load_state_dict(dict(tensors))


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
