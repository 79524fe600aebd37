"""What a model is fed: samples that can be cut into rows (a tensor, several of them, a mapping, a table), or a loader of batches.

Whatever comes, everything below sees one of two things: tensors that share their first axis, as a `Tensor`, a tuple (positional
arguments) or a dict (keywords); or an iterable of batches.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from agop import _checks
from agop._blocks import row_blocks

Samples = Tensor | tuple[Any, ...] | dict[str, Any]
"""Tensors with the samples along their first axis: one, or those of several positional or named inputs."""

LABEL_KEYS = ("labels", "label", "y", "target", "targets")
"""Entries of a mapping that are labels, not input."""

MASK_KEY = "attention_mask"
"""The entry of a mapping that says which positions of a sample are no padding."""

MaskPick = str | Tensor | np.ndarray | Callable[[Any], Any] | None
"""Which positions count: the name of an entry of the batch, a (n, positions) array, or a function of the batch."""


def samples_of(X: Any, f: Callable[..., Any]) -> Any:
    """`X` as `Samples` of `f`, or the loader that it is.

    Arrays and tables of numbers become tensors, floating ones in the precision of `f` if it is a module or a method of one. A tuple
    of tensors is the samples of a function with that many positional inputs, else a loader of batches.

    Raises
    ------
    ValueError, TypeError
        For arrays and columns that are no numbers, and for inputs of different lengths.
    """
    if isinstance(X, Tensor):
        return X
    owner = f if isinstance(f, nn.Module) else getattr(f, "__self__", None)
    parameter = next(owner.parameters(), None) if isinstance(owner, nn.Module) else None
    if _is_array(X):
        return _array_tensor(X, parameter)
    if isinstance(X, Mapping):
        named = {str(k): _entry(str(k), v, parameter) for k, v in X.items() if k not in LABEL_KEYS}
        return _same_lengths(named, named)
    if isinstance(X, tuple) and X and all(isinstance(x, Tensor) or _is_array(x) for x in X):
        if takes(f, len(X)):
            inputs = tuple(x if isinstance(x, Tensor) else _array_tensor(x, parameter) for x in X)
            return _same_lengths(inputs, {f"X[{i}]": value for i, value in enumerate(inputs)})
        return list(X)
    return X


def is_whole(X: Any) -> bool:
    """Whether these are samples that can be cut into rows, and read again."""
    return isinstance(X, (Tensor, tuple, dict))


def n_rows(samples: Any) -> int:
    """How many samples there are."""
    first = first_tensor(samples)
    return 0 if first is None or first.ndim == 0 else len(first)


def bytes_per_row(samples: Any) -> int:
    """What one sample takes."""
    n = max(1, n_rows(samples))
    return sum(value.numel() * value.element_size() for value in tensors_in(samples)) // n


def blocks(samples: Samples, batch_size: int | None) -> Iterator[Any]:
    """Row blocks of samples, of which there must be one; one of all rows where no size is given."""
    first = first_tensor(samples)
    if first is None or first.ndim == 0 or len(first) == 0:
        got = type(samples).__name__ if first is None else f"shape {tuple(first.shape)}"
        raise _checks.bad_value("X", "a tensor with samples along its first axis", got)
    for block in row_blocks(len(first), batch_size or len(first)):
        yield some_rows(samples, block)


def tensors_in(batch: Any) -> list[Tensor]:
    """The tensors of a batch, in their order."""
    if isinstance(batch, Tensor):
        return [batch]
    if not isinstance(batch, (Mapping, tuple, list)):
        return []
    values = batch.values() if isinstance(batch, Mapping) else batch
    return [value for value in values if isinstance(value, Tensor)]


def first_tensor(batch: Any) -> Tensor | None:
    """The first tensor in a batch, to read a device, a dtype and a number of samples from."""
    return next(iter(tensors_in(batch)), None)


def some_rows(batch: Any, rows: slice) -> Any:
    """The same rows of every tensor in a batch."""
    if isinstance(batch, Tensor):
        return batch[rows]
    if isinstance(batch, Mapping):
        return {key: value[rows] if isinstance(value, Tensor) else value for key, value in batch.items()}
    return tuple(value[rows] if isinstance(value, Tensor) else value for value in batch)


def mask_in(item: Any, x: Any, mask: MaskPick, first: int) -> Tensor | None:
    """Which positions of a batch count, (b, positions), or None where all do.

    Parameters
    ----------
    item, x
        What the loader gave, and the model's input that was made of it.
    mask
        As in `MaskPick`; None: the entry "attention_mask" of a mapping.
    first
        How many samples came before: of a whole array the rows from there on.
    """
    n = n_rows(x)
    if callable(mask):
        found = mask(item)
    elif isinstance(mask, str) or mask is None:
        key = mask or MASK_KEY
        found = next((part[key] for part in (x, item) if isinstance(part, Mapping) and key in part), None)
        if found is None and mask is not None:
            raise _checks.bad_value("mask", "the name of an entry of the batch", repr(mask))
    else:
        found = mask[first : first + n]
    if found is None:
        return None
    values = torch.as_tensor(found)
    if mask is None and (values.ndim != 2 or len(values) != n):
        return None  # an attention mask of another form, such as (b, 1, queries, keys), is the model's own business
    if values.ndim < 2 or len(values) != n or values.is_complex():
        raise _checks.bad_value(
            "mask",
            f"(n, positions) zeros and ones, a row for each of {n} samples",
            f"shape {tuple(values.shape)}",
        )
    values = values != 0
    empty = (~values.flatten(1).any(1)).nonzero()
    if len(empty):
        raise _checks.bad_value(
            "mask",
            "a position that counts in every sample",
            f"none in sample {first + int(empty[0])}",
            "leave it out",
        )
    return values


def takes(f: Callable[..., Any], count: int) -> bool:
    """Whether `f` can be called with so many positional arguments."""
    try:
        inspect.signature(getattr(f, "forward", f)).bind(*[None] * count)
    except TypeError:
        return False
    except ValueError:  # no signature to be had
        return True
    return True


def as_tensor(X: np.ndarray, parameter: Tensor | None) -> Tensor:
    """An array as a tensor, a floating one in the precision of the model."""
    if X.dtype.kind not in "biufc":
        raise _checks.bad_type("X", "an array of numbers", f"dtype {X.dtype}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # an array that can't be written to: nobody will
        tensor = torch.from_numpy(np.ascontiguousarray(X))
    floating = tensor.is_floating_point() and parameter is not None and parameter.is_floating_point()
    return tensor.to(parameter.dtype) if floating and parameter is not None else tensor


def _is_array(X: Any) -> bool:
    return isinstance(X, np.ndarray) or is_table(X)


def _array_tensor(X: Any, parameter: Tensor | None) -> Tensor:
    return table_tensor(X, parameter) if is_table(X) else as_tensor(X, parameter)


def is_table(X: Any) -> bool:
    """Whether `X` is a table of named columns (pandas, polars)."""
    return hasattr(X, "columns") and hasattr(X, "to_numpy") and hasattr(X, "shape")


def table_tensor(X: Any, parameter: Tensor | None) -> Tensor:
    """The columns of a table of numbers, side by side, in the precision of the model."""
    columns = {str(name): np.asarray(X[name]) for name in X.columns}
    texts = [
        f"{name} of dtype {column.dtype}"
        for name, column in columns.items()
        if column.dtype.kind not in "biuf"
    ]
    if texts or not columns:
        got = ", ".join(texts[:4]) or "none"
        raise _checks.bad_type(
            "X", "columns of numbers", got, "encode the others first, as agop.TableEncoder does"
        )
    return as_tensor(np.stack([column.astype(np.float64) for column in columns.values()], 1), parameter)


def _entry(name: str, value: Any, parameter: Tensor | None) -> Any:
    if _is_array(value):
        return _array_tensor(value, parameter)
    if isinstance(value, list):
        remedy = "make tensors of them (a tokenizer does with return_tensors='pt', padding=True)"
        raise _checks.bad_type("X", "tensors or arrays by name", f"a list under {name!r}", remedy)
    return value


def _same_lengths(samples: Any, named: Mapping[str, Any]) -> Any:
    """The samples, if all their tensors have as many rows."""
    lengths = {k: len(v) for k, v in named.items() if isinstance(v, Tensor) and v.ndim}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise _checks.bad_value("X", "inputs with as many samples along their first axis", f"{told}")
    if not lengths:
        raise _checks.bad_type(
            "X", "at least one tensor with samples along its first axis", type(samples).__name__
        )
    return samples
