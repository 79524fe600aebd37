"""A model of the user's: found by its import path, its name in timm, or its folder."""

from __future__ import annotations

import copy
import hashlib
import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from agop._checks import bad_value
from agop.experiments import model_names


def make(reference: str, *, trained: bool = True) -> nn.Module:
    """The module that `package.module:factory` names: a function or class without arguments, or a module.

    A folder that `save_pretrained` of transformers wrote is the model in it (`trained`: with its weights), `timm:NAME` one of timm.

    Raises
    ------
    ValueError
        One sentence, if it can't be imported, can't be called without arguments, or is no torch module.
    """
    if model_names.is_folder(reference) or reference.startswith(model_names.TIMM):
        with _seeded():
            name = reference.removeprefix(model_names.TIMM)
            return (
                model_names.of_timm(name)
                if name != reference
                else model_names.of_folder(reference, trained=trained)
            )
    target = _resolve(reference)
    if isinstance(target, nn.Module):
        return target
    if not callable(target):
        raise bad_value(
            "model", "a function, class or torch module", f"{reference!r}, a {type(target).__name__}"
        )
    try:
        with _seeded():
            model = target()
    except TypeError as error:
        raise bad_value(
            "model",
            "a factory that takes no arguments",
            f"{reference!r} ({error})",
            "write a function around it",
        ) from None
    if not isinstance(model, nn.Module):
        raise bad_value("model", "a factory of a torch module", f"one that returns a {type(model).__name__}")
    return model


@contextmanager
def _seeded() -> Iterator[None]:
    """What a factory draws must not depend on what was drawn before it."""
    state = torch.random.get_rng_state()
    try:
        torch.random.default_generator.manual_seed(0)
        yield
    finally:
        torch.random.set_rng_state(state)


def _resolve(reference: str) -> Any:
    path, colon, name = reference.partition(":")
    if not (path and colon and name):
        raise bad_value(
            "model",
            "package.module:factory, timm:NAME or a folder of save_pretrained",
            repr(reference),
            "for example torchvision.models:resnet18",
        )
    here = str(Path.cwd())
    if here not in sys.path:
        # a command has the folder of its script there, not the one it was called in
        sys.path.insert(0, here)
    try:
        target: Any = importlib.import_module(path)
    except ImportError as error:
        raise bad_value(
            "model", "a module that can be imported", f"{path!r} ({error})", "run the command where it can be"
        ) from None
    for part in name.split("."):
        if not hasattr(target, part):
            raise bad_value("model", f"a name in {path}", repr(part), "check the part after the colon")
        target = getattr(target, part)
    return target


def fingerprint(model: nn.Module) -> str:
    """A hash of the model's structure, parameters and buffers."""
    digest = hashlib.blake2b(repr(model).encode(), digest_size=16)
    for name, value in model.state_dict().items():
        digest.update(f"{name}{tuple(value.shape)}{value.dtype}".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def untrained_copy(model: nn.Module, seed: int = 0) -> tuple[nn.Module, list[str]]:
    """A copy whose modules have drawn their parameters anew, and the names of parameters that kept their values.

    Every module that has `reset_parameters` (all of torch's) is reset by it; a parameter that belongs to none of them, such as a class
    token, keeps its value and is named. The global generator comes out as it went in.
    """
    twin = copy.deepcopy(model)
    before = {name: value.detach().clone() for name, value in twin.named_parameters()}
    state = torch.random.get_rng_state()
    try:
        torch.random.default_generator.manual_seed(seed)
        for part in twin.modules():
            reset = getattr(part, "reset_parameters", None) or getattr(part, "_reset_parameters", None)
            if callable(reset):
                reset()
    finally:
        torch.random.set_rng_state(state)
    owners = {
        f"{prefix}.{name}" if prefix else name
        for prefix, part in twin.named_modules()
        if callable(getattr(part, "reset_parameters", None))
        or callable(getattr(part, "_reset_parameters", None))
        for name, _ in part.named_parameters(recurse=False)
    }
    kept = [
        name
        for name, value in twin.named_parameters()
        if name not in owners and torch.equal(value, before[name])
    ]
    return twin, kept


def same_parameters(a: nn.Module, b: nn.Module) -> bool:
    """Whether all parameters are equal."""
    return all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))
