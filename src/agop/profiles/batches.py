"""Batches for a network: inputs as its forward takes them, and labels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from torch import Tensor

from agop import _blocks, _checks
from agop.gradients import calling

MAX_BLOCK = 2048
"""Rows per forward pass beyond which nothing gets faster."""

_ACTIVATIONS_PER_INPUT = 8
"""How much larger than a sample the largest activations are taken to be, where nothing is known."""


def batches(
    X: Any,
    y: Any,
    batch_size: int | None,
    inputs: Callable[[Any], Any] | None,
    targets: Callable[[Any], Any] | None,
    mask: calling.MaskPick = None,
    *,
    labelled: bool = True,
) -> Iterator[tuple[Any, Any, Tensor | None]]:
    """(input, labels, positions that count): row blocks of samples with labels `y`, or what a loader yields.

    A loader yields (x, y, …) tuples or lists, or mappings with an entry named labels, label, y, target or
    targets, unless `inputs` and `targets` say how to take them apart. With `y` given, it may yield inputs only. Where nothing needs labels
    (`labelled=False`), they are None.
    """
    whole = calling.is_whole(X)
    if isinstance(X, (str, bytes)) or not isinstance(X, (Iterable, Tensor)):
        raise _checks.bad_type("X", "a tensor, an array or a loader that yields batches", type(X).__name__)
    if whole:
        _check_labels(X, y, labelled)
    done = 0
    for item in calling.items(X, batch_size or (_block_size(X) if whole else None)):
        x = calling.input_of(item, inputs, whole=whole)
        kept = calling.mask_in(item, x, mask, done)
        rows = calling.n_rows(item if whole else x)
        if y is None:
            yield x, _labels(item, targets) if labelled else None, kept
            done += rows
            continue
        labels, done = y[done : done + rows], done + rows
        _checks.same_length("X", done, "y", done - rows + len(labels))
        yield x, labels, kept
    if y is not None:
        _checks.same_length("X", done, "y", len(y))


def labels_in(X: Any, targets: Callable[[Any], Any] | None) -> Any:
    """The labels that come inside a mapping of all samples, or None."""
    if not isinstance(X, Mapping):
        return None
    if targets is not None:
        return targets(X)
    return next((X[key] for key in calling.LABEL_KEYS if X.get(key) is not None), None)


def _check_labels(X: Any, y: Any, labelled: bool) -> None:
    if y is None and labelled:
        raise _checks.bad_value("y", "one label per sample", "None", "pass y, or a loader of (x, y) batches")
    if y is not None and (not hasattr(y, "__len__") or (hasattr(y, "ndim") and y.ndim == 0)):
        raise _checks.bad_type("y", "one label per sample", type(y).__name__)
    if y is not None and (n := calling.n_rows(X)):
        _checks.same_length("X", n, "y", len(y))


def _block_size(X: Any) -> int | None:
    n = calling.n_rows(X)
    return (
        min(MAX_BLOCK, _blocks.rows_per_block(n, _ACTIVATIONS_PER_INPUT * calling.bytes_per_row(X)))
        if n
        else None
    )


def _labels(item: Any, targets: Callable[[Any], Any] | None) -> Any:
    if targets is not None:
        return targets(item)
    if isinstance(item, (tuple, list)) and len(item) > 1:
        return item[1]
    if isinstance(item, Mapping):
        for key in calling.LABEL_KEYS:
            if key in item:
                return item[key]
    raise _checks.bad_value(
        "X",
        "a loader that yields (x, y) pairs",
        f"a {type(item).__name__} without labels",
        "pass y= or targets=",
    )
