"""What a recursion has learned before it was cut off, in a file: its finished iterations, with the metric that the next one begins with."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from agop import _checks, _store
from agop.machines import persistence

if TYPE_CHECKING:
    from agop.machines.rfm import _RFM

KIND, VERSION = "learned", 1
LEARNED = "learned.safetensors"


def keep_learned(estimator: _RFM, folder: Path) -> None:
    """Write the finished iterations of an unfinished fit."""
    header, tensors = persistence.described(estimator)
    exact = {f"exact.{k}": chain.matrix for k, chain in enumerate(estimator._chains_)}  # not rounded
    exact |= {
        f"begun.{k}": chain.coefficients
        for k, chain in enumerate(estimator._chains_)
        if chain.coefficients is not None
    }
    _store.write(folder / LEARNED, KIND, VERSION, {"estimator": header}, tensors | exact)


def learned(estimator: _RFM, folder: Path, digest: str) -> bool:
    """Take over what an unfinished fit of this estimator to the same data has left in the folder; False if there is nothing like it."""
    path = folder / LEARNED
    if not path.exists():
        return False
    place = torch.device("cpu") if estimator.device is None else torch.device(estimator.device)
    try:
        header, tensors = _store.read(path, KIND, VERSION, "it is made anew")
        apart = {name: tensors.pop(name) for name in list(tensors) if name.startswith(("exact.", "begun."))}
        found = persistence.restored(header["estimator"], tensors, place)
        found._chains_ = tuple(
            replace(chain, matrix=apart[f"exact.{k}"].to(place), coefficients=apart.get(f"begun.{k}"))
            for k, chain in enumerate(found._chains_)
        )
    except persistence.WRONG as error:
        message = f"What {path} holds can't be read, and is learned anew: {error}"
        warnings.warn(message, UserWarning, stacklevel=2)
        return False
    if type(found) is not type(estimator) or found.data_digest_ != digest:
        return False
    if found.settings_ != estimator._settings():
        return False
    asked = _checks.plain(estimator.random_state)
    if isinstance(asked, int) and found.seed_ != asked:  # without a number, the seed that was drawn stays
        return False
    fitted = {name: value for name, value in vars(found).items() if name not in found.get_params(deep=False)}
    estimator.__dict__.update(fitted)
    return True
