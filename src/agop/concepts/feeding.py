"""Samples for a model in batches, each with the mask of the positions that count."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from agop import _checks
from agop._blocks import row_blocks
from agop.gradients import calling
from agop.profiles.batches import batches

MASK = "attention_mask"
"""The entry of a mapping that says which positions count."""

_POSITIONS = 1024
"""Tokens a forward pass, where no batch size is given."""

_TOKENISE = 'tokenise first: tokenizer(texts, padding=True, return_tensors="pt")'


@dataclass(frozen=True, eq=False)
class Batch:
    """What the model is called with, how many samples that is, and which of their positions count (None: all)."""

    input: Any
    samples: int
    mask: Bool[Tensor, "n t"] | None

    def on(self, device: torch.device | None) -> Batch:
        """A copy on `device`, which the model may change in place."""
        return replace(self, input=calling.copied(calling.on_device(self.input, device)))


def batches_of(inputs: Any, batch_size: int | None) -> tuple[Iterator[Batch], int | None]:
    """The batches, and the number of samples (None: a loader doesn't say).

    Raises
    ------
    ValueError, TypeError
        If the input is none, or what it holds has no samples.
    """
    if batch_size is not None:
        batch_size = _checks.integer("batch_size", batch_size, at_least=1)
    if isinstance(inputs, str) or (
        isinstance(inputs, list | tuple) and any(isinstance(t, str) for t in inputs)
    ):
        raise _checks.bad_type("inputs", "tensors", "texts", _TOKENISE)
    if isinstance(inputs, Mapping):
        whole = _tensors(inputs)
        n = len(next(iter(whole.values())))
        return _blocks(whole, n, batch_size), n
    if isinstance(inputs, np.ndarray) and inputs.dtype.kind not in "biuf":
        raise _checks.bad_type("inputs", "an array of numbers", f"dtype {inputs.dtype}")
    if isinstance(inputs, np.ndarray):
        inputs = torch.from_numpy(np.ascontiguousarray(inputs))
    if isinstance(inputs, Tensor):
        return _loaded(inputs, batch_size), len(inputs) if inputs.ndim else None
    if not isinstance(inputs, Iterable):
        expected = "a tensor, a mapping of tensors, or a loader of these"
        raise _checks.bad_type("inputs", expected, type(inputs).__name__)
    return _loaded(inputs, batch_size), None


def _tensors(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """A mapping without labels, whose tensors all have as many samples."""
    kept = {str(key): value for key, value in inputs.items() if key not in calling.LABEL_KEYS}
    kept = {key: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for key, v in kept.items()}
    listed = [key for key, value in kept.items() if isinstance(value, list | tuple)]
    if listed:
        raise _checks.bad_type("inputs", "a mapping of tensors", f"a list as {listed[0]!r}", _TOKENISE)
    lengths = {key: len(value) for key, value in kept.items() if isinstance(value, Tensor) and value.ndim}
    if not lengths or min(lengths.values()) == 0:
        raise _checks.bad_value("inputs", "a mapping with tensors of samples", f"{list(inputs)}", _TOKENISE)
    if len(set(lengths.values())) > 1:
        raise _checks.bad_value("inputs", "tensors of as many samples each", f"{lengths}")
    return kept


def _blocks(whole: dict[str, Any], n: int, batch_size: int | None) -> Iterator[Batch]:
    widest = max((v.shape[1] for v in whole.values() if isinstance(v, Tensor) and v.ndim > 1), default=1)
    for rows in row_blocks(n, batch_size or max(1, _POSITIONS // max(1, widest))):
        part = {
            key: value[rows] if isinstance(value, Tensor) and value.ndim else value
            for key, value in whole.items()
        }
        yield _batch(part)


def _loaded(inputs: Any, batch_size: int | None) -> Iterator[Batch]:
    for item, *_ in batches(inputs, None, batch_size, None, None, labelled=False):
        yield _batch(_tensors(item) if isinstance(item, Mapping) else item)


def _batch(item: Any) -> Batch:
    first = calling.first_tensor(item)
    if first is None or first.ndim == 0:
        raise _checks.bad_type("inputs", "batches of tensors", type(item).__name__, _TOKENISE)
    mask = item.get(MASK) if isinstance(item, Mapping) else None
    if mask is not None:
        if not isinstance(mask, Tensor) or mask.ndim != 2:
            got = f"shape {tuple(mask.shape)}" if isinstance(mask, Tensor) else type(mask).__name__
            raise _checks.bad_value(MASK, "a tensor (samples, positions)", got)
        mask = mask.bool()
    return Batch(item, len(first), mask)
