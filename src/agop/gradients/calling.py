"""How data become batches, and batches become calls of the model; what is fed is in `samples`, what comes back in `outputs`."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from agop import _checks
from agop.gradients.outputs import OutputPick, default_output, rows_of_output
from agop.gradients.samples import (
    LABEL_KEYS,
    MaskPick,
    Samples,
    blocks,
    bytes_per_row,
    first_tensor,
    is_whole,
    mask_in,
    n_rows,
    samples_of,
    some_rows,
    tensors_in,
)

_OURS_OR_TORCH = (os.path.dirname(torch.__file__), os.path.dirname(_checks.__file__))
_OF_INTEGERS = "convert it with .float() or .double(); of token ids there is no gradient: take agop.layer_agops, or pass their embeddings"
_FIXED_SIZES = ("Guard failed: ", "Expected input at *args")
"""How a module says that it was exported for other sizes, in newer and in older releases of torch."""


def batches(X: Any, batch_size: int | None, inputs: Callable[[Any], Any] | None = None) -> Iterator[Any]:
    """Model inputs, batch by batch: row blocks of samples, or what `input_of` finds in the items of a loader."""
    return (x for x, _ in masked_batches(X, batch_size, inputs))


def masked_batches(
    X: Any, batch_size: int | None, inputs: Callable[[Any], Any] | None = None, mask: MaskPick = None
) -> Iterator[tuple[Any, Tensor | None]]:
    """Model inputs, batch by batch, each with the positions that count (see `mask_in`)."""
    whole, first = is_whole(X), 0
    for item in items(X, batch_size):
        x = input_of(item, inputs, whole=whole)
        yield x, mask_in(item, x, mask, first)
        first += n_rows(x)


def items(X: Any, batch_size: int | None) -> Iterator[Any]:
    """Row blocks of samples (one of all rows where no size is given), or the items of a loader, of which there must be one."""
    if is_whole(X):
        yield from blocks(X, batch_size)
        return
    if isinstance(X, (str, bytes)) or not isinstance(X, Iterable):
        raise _checks.bad_type("X", "a tensor or a loader that yields batches", type(X).__name__)
    empty = True
    for item in X:
        empty = False
        yield item
    if empty:
        raise _checks.bad_value(
            "X", "a loader with at least one batch", "none", "a used-up iterator cannot be read again"
        )


def input_of(item: Any, inputs: Callable[[Any], Any] | None, *, whole: bool = False) -> Any:
    """The model's input in what a loader yields: what `inputs` makes of it, the first of a tuple or list (of the usual
    (x, y) pairs), a mapping without its labels, or the item. Rows of `whole` samples are the input as they are.
    """
    if inputs is not None:
        return inputs(item)
    if whole:
        return item
    if isinstance(item, (tuple, list)) and item:
        item = item[0]
        # a collated pair of inputs comes as a list
        return tuple(item) if isinstance(item, list) and all(isinstance(x, Tensor) for x in item) else item
    if isinstance(item, Mapping):
        return {key: value for key, value in item.items() if key not in LABEL_KEYS}
    return item


def floating_batch(batch: Any) -> Any:
    """The batch, if gradients with respect to it exist, else an error."""
    if isinstance(batch, (tuple, Mapping)):
        floating = [value for value in tensors_in(batch) if value.is_floating_point()]
        if not floating:
            raise _checks.bad_type("X", "at least one floating-point input", "none", _OF_INTEGERS)
        for value in floating:
            _checks.floating("X", value)
        return batch
    if (
        isinstance(batch, Tensor)
        and batch.dtype not in (torch.bool, torch.complex64, torch.complex128)
        and not batch.is_floating_point()
    ):
        raise _checks.bad_type("X", "a floating-point tensor", f"dtype {batch.dtype}", _OF_INTEGERS)
    return _checks.floating("X", batch)


def call(f: Callable[..., Any], batch: Any) -> Any:
    """`f(batch)`, with a tuple spread over positions and a mapping over keywords."""
    if isinstance(batch, tuple):
        return f(*batch)
    if isinstance(batch, Mapping):
        return f(**batch)
    return f(batch)


def _of_fixed_sizes(samples: Tensor | None, error: Exception) -> ValueError:
    shape = "" if samples is None else f" of shape {tuple(samples.shape)}"
    return _checks.bad_value(
        "X",
        "batches of the sizes that the model was exported with",
        f"one{shape} ({error})",
        "export it with a dynamic first axis, dynamic_shapes=({0: torch.export.Dim('batch')},)",
    )


@contextmanager
def refusals_named(samples: Tensor | None, model: Any = None) -> Iterator[None]:
    """Say in a sentence that a torch layer does not take samples of this shape or dtype; the model's own errors pass."""
    try:
        yield
    except (AssertionError, RuntimeError, TypeError) as error:
        if str(error).startswith(_FIXED_SIZES):
            raise _of_fixed_sizes(samples, error) from error
        if isinstance(error, AssertionError):
            raise
        *_, (frame, _) = traceback.walk_tb(error.__traceback__)
        reason = " ".join(str(error).split())[:200]
        calls = isinstance(error, TypeError)
        if not frame.f_code.co_filename.startswith(_OURS_OR_TORCH) or (calls and "argument" not in reason):
            raise
        if calls:
            raise _checks.bad_type(
                "X",
                "as many inputs as the model takes",
                reason,
                "pass (X, Z) for positional inputs, or a dict of tensors by name",
            ) from error
        described = (
            "others" if samples is None else f"shape {tuple(samples.shape[1:])} each and {samples.dtype}"
        )
        raise _checks.bad_value(
            "X",
            "samples that the model takes",
            f"{described} ({reason})",
            f"pass them as the model was trained, or {_converted(samples, reason, model)}",
        ) from error


def _converted(samples: Tensor | None, reason: str, model: Any) -> str:
    """Which dtype to convert samples to: integers for an embedding, else that of the model."""
    if "indices" in reason or "Long, Int" in reason:
        return "as integers, such as token ids, with .long()"
    kinds = (
        {p.dtype for p in model.parameters() if p.is_floating_point()}
        if hasattr(model, "parameters")
        else set()
    )
    if len(kinds) != 1 or (samples is not None and samples.dtype in kinds):
        return "convert it with .float() or .double()"
    kind = str(kinds.pop())
    short = {"torch.float32": ".float()", "torch.float64": ".double()"}.get(kind, f".to({kind})")
    return f"convert it with {short}"


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


__all__: Sequence[str] = [
    "LABEL_KEYS", "MaskPick", "OutputPick", "Samples", "batches", "blocks", "bytes_per_row", "call", "copied", "default_output",
    "first_tensor", "floating_batch", "input_of", "is_whole", "items", "leaf_of", "mask_in", "masked_batches", "n_rows", "on_device",
    "refusals_named", "rows_of_output", "samples_of", "some_rows", "tensors_in",
]  # fmt: skip
