"""Weights as people have them: safetensors, state dicts, checkpoints of Lightning, folders of Hugging Face. Nothing in them is run."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from agop._checks import bad_value, shown
from agop.networks.state import fill_with, read_tensors

_UNREADABLE = (
    AttributeError, EOFError, ImportError, IndexError, KeyError, OSError, RuntimeError, TypeError, ValueError,
    pickle.UnpicklingError,
)  # fmt: skip
"""What a damaged or foreign pickle raises."""

_ENTRIES = ("state_dict", "model_state_dict", "model")
"""Where checkpoints keep the weights among other things."""

_SAFE = "save it anew where it was trained: torch.save(model.state_dict(), path), or a .safetensors file"


def fill(model: nn.Module, path: str, *, trust_pickle: bool = False, prefix: str | None = None) -> list[str]:
    """Load the weights of a file or folder into `model`; returns notes on what was taken.

    Parameters
    ----------
    path
        A .safetensors file, a state dict that `torch.save` wrote (.pt, .pth, .bin), a checkpoint with one in it (Lightning's .ckpt),
        or a folder with such weights in one file or in shards.
    trust_pickle
        Read a file that runs code when it is read.
    prefix
        First part of the names in the file, which the model does not have, such as "model." in Lightning's checkpoints; None: guessed.

    Raises
    ------
    ValueError
        One sentence, if the file would run code and is not trusted, is unreadable, or of another model.
    """
    tensors, notes = _without_prefix(read_weights(path, trust_pickle=trust_pickle), model, prefix, path)
    fill_with(model, tensors, path)
    return notes


def read_weights(path: str, *, trust_pickle: bool = False) -> dict[str, Tensor]:
    """The tensors of a file or a folder, by name; see `fill`."""
    place = Path(path)
    if place.is_dir():
        return _of_folder(place, trust_pickle)
    if path.endswith(".safetensors"):
        return read_tensors(path)
    try:
        stored = torch.load(path, map_location="cpu", weights_only=not trust_pickle)
    except FileNotFoundError:
        raise bad_value("weights", "a file", repr(path)) from None
    except pickle.UnpicklingError as error:
        if trust_pickle:
            raise _unreadable(path, error) from None
        raise _refused(path, error) from None
    except _UNREADABLE as error:
        raise _unreadable(path, error) from None
    return dict(_state_dict(stored, path))


def _unreadable(path: str, error: Exception) -> ValueError:
    reason = " ".join(str(error).split())[:200]
    return bad_value(
        "weights", "a file that torch.load reads", f"{path!r} ({type(error).__name__}: {reason})"
    )


def _refused(path: str, error: Exception) -> ValueError:
    """Reading it would run code, or it is no file of torch's at all; torch says which class it met."""
    met = re.search(r"GLOBAL ([\w.]+)", str(error))
    got = f"{path!r}, which holds {met[1]}" if met else repr(path)
    remedy = f"reading any other runs code from the file; {_SAFE}; if you trust it, add --trust-pickle"
    return bad_value("weights", "a .safetensors file, or a state dict of torch.save", got, remedy)


def _of_folder(folder: Path, trust_pickle: bool) -> dict[str, Tensor]:
    """Weights of a folder as Hugging Face writes them."""
    for name in ("model.safetensors", "pytorch_model.bin"):
        index = folder / f"{name}.index.json"
        if (folder / name).is_file():
            return read_weights(str(folder / name), trust_pickle=trust_pickle)
        if index.is_file():
            try:
                parts = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
                outside = [part for part in parts if Path(part).name != part]
            except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
                raise bad_value("weights", f"a readable {index.name}", f"{str(folder)!r} ({error})") from None
            if outside:
                raise bad_value("weights", "shards that lie in the folder", shown(outside[0]))
            shards = [read_weights(str(folder / part), trust_pickle=trust_pickle) for part in parts]
            return {name: value for shard in shards for name, value in shard.items()}
    raise bad_value("weights", "a folder with model.safetensors or pytorch_model.bin", repr(str(folder)))


def _state_dict(stored: Any, path: str) -> Mapping[str, Tensor]:
    if isinstance(stored, nn.Module):
        return stored.state_dict()
    for key in _ENTRIES:
        if isinstance(stored, Mapping) and isinstance(stored.get(key), Mapping):
            stored = stored[key]
    if isinstance(stored, Mapping) and stored and all(isinstance(value, Tensor) for value in stored.values()):
        return stored
    keys = f" with {', '.join(map(str, list(stored)[:5]))}" if isinstance(stored, Mapping) and stored else ""
    raise bad_value("weights", "a state dict", f"{path!r} with a {type(stored).__name__}{keys}", _SAFE)


def _without_prefix(
    tensors: Mapping[str, Tensor], model: nn.Module, prefix: str | None, path: str
) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors under the names of the model, and what to tell: which prefix was taken off, what was left out."""
    own = list(model.state_dict())
    if prefix is None:
        if set(own) <= set(tensors) or not own:
            return dict(tensors), []
        prefix = _guessed(tensors, own)
        if not prefix:
            return dict(tensors), []
        told = f"the names in {path} begin with {prefix!r}, which was taken off; another prefix: --prefix"
    else:
        told = f"the prefix {prefix!r} of the names in {path} was taken off"
    taken = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    if not taken:
        raise bad_value("prefix", f"the first part of names such as {next(iter(tensors))!r}", repr(prefix))
    rest = [name for name in tensors if not name.startswith(prefix)]
    left = (
        f"; {len(rest)} other tensors were left out ({', '.join(rest[:3])}{', …' if len(rest) > 3 else ''})"
        if rest
        else ""
    )
    return taken, [told + left]


def _guessed(tensors: Mapping[str, Tensor], own: Sequence[str]) -> str:
    """The one prefix under which all names of the model are in the file; "" if there is none, or several."""
    first = own[0]
    ends = [name.removesuffix(first) for name in tensors if name.endswith(f".{first}")]
    fitting = [prefix for prefix in ends if all(f"{prefix}{name}" in tensors for name in own)]
    return fitting[0] if len(fitting) == 1 else ""
