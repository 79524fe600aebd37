"""How data become batches, batches become calls of the model, and what it returns becomes a (b, c) matrix."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from agop import _checks
from agop._blocks import row_blocks

_OURS_OR_TORCH = (os.path.dirname(torch.__file__), os.path.dirname(_checks.__file__))
OutputPick = str | int | Callable[[Any], Any] | None
"""What picks a tensor from what a model returns: a key, an index, an attribute name, or a function."""

LABEL_KEYS = ("labels", "label", "y", "target", "targets")
"""Entries of a loader's mapping that are labels, not input."""


def batches(X: Any, batch_size: int | None, inputs: Callable[[Any], Any] | None = None) -> Iterator[Any]:
    """Model inputs, batch by batch: row blocks of a tensor, or what `input_of` finds in the items of a loader."""
    return (input_of(item, inputs) for item in items(X, batch_size))


def items(X: Any, batch_size: int | None) -> Iterator[Any]:
    """Row blocks of a tensor (one of all rows where no size is given), or the items of a loader, of which there must be one."""
    if isinstance(X, Tensor):
        if X.ndim == 0 or X.shape[0] == 0:
            raise _checks.bad_value(
                "X", "a tensor with samples along its first axis", f"shape {tuple(X.shape)}"
            )
        for block in row_blocks(X.shape[0], batch_size or X.shape[0]):
            yield X[block]
        return
    if isinstance(X, Mapping) or not isinstance(X, Iterable):
        raise _checks.bad_type("X", "a tensor or a loader that yields batches", type(X).__name__)
    empty = True
    for item in X:
        empty = False
        yield item
    if empty:
        raise _checks.bad_value(
            "X", "a loader with at least one batch", "none", "a used-up iterator cannot be read again"
        )


def input_of(item: Any, inputs: Callable[[Any], Any] | None) -> Any:
    """The model's input in what a loader yields: what `inputs` makes of it, the first of a tuple or list (of the usual
    (x, y) pairs), a mapping without its labels, or the item.
    """
    if inputs is not None:
        return inputs(item)
    if isinstance(item, (tuple, list)) and item:
        return item[0]
    if isinstance(item, Mapping):
        return {key: value for key, value in item.items() if key not in LABEL_KEYS}
    return item


def floating_batch(batch: Any) -> Tensor:
    """The batch, if gradients with respect to it exist, else an error."""
    return _checks.floating("X", batch)


def call(f: Callable[..., Any], batch: Any) -> Any:
    """`f(batch)`, with a tuple spread over positions and a mapping over keywords."""
    if isinstance(batch, tuple):
        return f(*batch)
    if isinstance(batch, Mapping):
        return f(**batch)
    return f(batch)


@contextmanager
def refusals_named(samples: Tensor | None) -> Iterator[None]:
    """Say in a sentence that a torch layer does not take samples of this shape or dtype; the model's own errors pass."""
    try:
        yield
    except RuntimeError as error:
        *_, (frame, _) = traceback.walk_tb(error.__traceback__)
        if not frame.f_code.co_filename.startswith(_OURS_OR_TORCH):
            raise
        described = (
            "others" if samples is None else f"shape {tuple(samples.shape[1:])} each and {samples.dtype}"
        )
        reason = " ".join(str(error).split())[:200]
        raise _checks.bad_value(
            "X",
            "samples that the model takes",
            f"{described} ({reason})",
            "pass them as the model was trained, or convert it with .float() or .double()",
        ) from error


def rows_of_output(returned: Any, output: OutputPick) -> Float[Tensor, "b c"]:
    """The (b, c) outputs in what a model returned; (b,) becomes one column."""
    y = _picked(returned, output)
    if not isinstance(y, Tensor):
        kind = type(y).__name__
        keys = f" with keys {list(y)}" if isinstance(y, Mapping) else ""
        raise _checks.bad_type(
            "output", "a tensor from the model", f"a {kind}{keys}", "pick one with output="
        )
    if not y.is_floating_point():
        raise _checks.bad_type("output", "a floating-point tensor from the model", f"dtype {y.dtype}")
    if y.ndim == 1:
        y = y[:, None]
    if y.ndim == 2 and y.shape[1] == 0:
        raise _checks.bad_value("output", "at least one output of the model", "none")
    if y.ndim != 2:
        raise _checks.bad_value(
            "output",
            "one row of outputs per sample, (b, c) or (b,)",
            f"shape {tuple(y.shape)}",
            "reduce it, for instance with output=lambda y: y.flatten(1)",
        )
    return y


def _picked(returned: Any, output: OutputPick) -> Any:
    if output is None:
        return returned
    if isinstance(output, str) and not isinstance(returned, Mapping) and hasattr(returned, output):
        return getattr(returned, output)
    if isinstance(output, (str, int)):
        try:
            return returned[output]
        except (KeyError, IndexError, TypeError):
            keys = list(returned) if isinstance(returned, Mapping) else f"a {type(returned).__name__}"
            raise _checks.bad_value(
                "output", f"a key of what the model returned, {keys}", repr(output)
            ) from None
    return output(returned)


def first_tensor(batch: Any) -> Tensor | None:
    """The first tensor in a batch, to read a device, a dtype and a number of samples from."""
    if isinstance(batch, Tensor):
        return batch
    if not isinstance(batch, Iterable):
        return None
    values: Iterable[Any] = batch.values() if isinstance(batch, Mapping) else batch
    return next((value for value in values if isinstance(value, Tensor)), None)


def some_rows(batch: Any, rows: slice) -> Any:
    """The same rows of every tensor in a batch."""
    if isinstance(batch, Tensor):
        return batch[rows]
    if isinstance(batch, Mapping):
        return {key: value[rows] if isinstance(value, Tensor) else value for key, value in batch.items()}
    return tuple(value[rows] if isinstance(value, Tensor) else value for value in batch)


def leaf_of(tensor: Tensor) -> Tensor:
    """A leaf with the values of `tensor`, which gradients are taken with respect to."""
    return (tensor.clone() if tensor.is_inference() else tensor.detach()).requires_grad_()


def copied(batch: Any, leaves: list[Tensor] | None = None) -> Any:
    """A copy of a batch that a model may change in place.

    With `leaves`, gradients with respect to the floating tensors are recorded, and their leaves are added to
    that list.
    """
    if isinstance(batch, Tensor):
        if leaves is None or not batch.is_floating_point():
            return batch.detach().clone()
        leaves.append(leaf_of(batch))
        return leaves[-1].clone()
    if isinstance(batch, Mapping):
        return {key: copied(value, leaves) for key, value in batch.items()}
    return tuple(copied(value, leaves) for value in batch) if isinstance(batch, tuple) else batch


def on_device(batch: Any, device: torch.device | None) -> Any:
    """The batch on `device` (None leaves it where it is)."""
    if device is None:
        return batch
    if isinstance(batch, Tensor):
        return batch.to(device)
    if isinstance(batch, Mapping):
        return {key: on_device(value, device) for key, value in batch.items()}
    if isinstance(batch, tuple):
        return tuple(on_device(value, device) for value in batch)
    return batch
