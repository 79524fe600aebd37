"""The sweep behind the AGOP of a function: batches through it, the gradients of its input to whoever sums them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.graph import GradientEdge

from agop import _checks
from agop.gradients import calling
from agop.gradients.cotangents import Cotangents
from agop.gradients.entrance import Entrance
from agop.gradients.probe import Probe, probe
from agop.gradients.pullback import pull_back
from agop.gradients.samples import MASK_KEY
from agop.gradients.sanity import refuse_empty, refuse_training_mode
from agop.gradients.state import untouched

Batches = Tensor | Iterable[Any]
"""Samples (a tensor, a tuple or mapping of tensors, an array, a table), or a loader that yields batches of them."""

Passes = Iterator[tuple[int, Float[Tensor, "b d"]]]
"""The passes of one batch: `(replicate, gradient)`; use each before the next is asked for."""

Consume = Callable[[Passes, Tensor | None], None]
"""Takes the passes of a batch. With a matrix W (k, d) the gradients are δ (b, k), and those of the input `δ W`."""


def sweep_inputs(
    f: Callable[..., Any],
    X: Batches,
    cotangents: Cotangents,
    consume: Consume,
    *,
    batch_size: int | None,
    output: calling.OutputPick,
    check: bool,
    shorten: bool = False,
    mask: calling.MaskPick = None,
) -> None:
    """Hand the input gradients of `f` to `consume`, batch by batch, and leave `f` as it was.

    With `shorten` they may come as gradients at the output of a first linear layer, see
    `agop.gradients.entrance`.
    """
    if not callable(f):
        raise _checks.bad_type("f", "a function or a module", type(f).__name__)
    if batch_size is not None:
        _checks.integer("batch_size", batch_size, at_least=1)
    refuse_empty(f)
    if check:
        refuse_training_mode(f)
    X = calling.samples_of(X, f)

    def forward(batch: Any, _rooted: bool = True) -> tuple[Tensor, Sequence[Tensor]]:
        return _forward(f, batch, output, None)

    entrance = Entrance(f) if shorten else None
    first = calling.first_tensor(X) if calling.is_whole(X) else None
    with (
        untouched(f, device=None if first is None else first.device),
        entrance.watched() if entrance else nullcontext(),
    ):
        known: Probe | None = None
        if first is not None and first.ndim and len(first) and (check or batch_size is None):
            known = probe(f, calling.floating_batch(X), forward, check=check)
            batch_size = batch_size or known.rows_per_block(len(first), calling.bytes_per_row(X))
        for batch, kept in calling.masked_batches(X, batch_size, mask=mask):
            if known is None:
                known = probe(f, batch, forward, check=check)
            rows = len(first) if first is not None else calling.n_rows(batch)
            _one_batch(f, batch, cotangents, consume, output, entrance, known.reentrant, rows, kept)


def _forward(
    f: Callable[..., Any],
    batch: Any,
    output: calling.OutputPick,
    entrance: Entrance | None,
    mask: Tensor | None = None,
) -> tuple[Tensor, list[Tensor]]:
    """The outputs, and the leaves of all floating inputs."""
    leaves: list[Tensor] = []
    given = _recorded(calling.floating_batch(batch), leaves)
    with entrance.of(given) if entrance and isinstance(given, Tensor) else nullcontext():
        returned = calling.call(f, given)
    return calling.rows_of_output(returned, output, mask), leaves


def _recorded(batch: Any, leaves: list[Tensor]) -> Any:
    """A copy of the batch, which may be changed in place, with gradients recorded; a mask is no input."""
    if isinstance(batch, Mapping):
        return {k: calling.copied(v, None if k == MASK_KEY else leaves) for k, v in batch.items()}
    return calling.copied(batch, leaves)


def _one_batch(
    f: Callable[..., Any],
    batch: Any,
    cotangents: Cotangents,
    consume: Consume,
    output: calling.OutputPick,
    entrance: Entrance | None,
    reentrant: bool,
    n_rows: int,
    mask: Tensor | None,
) -> None:
    graph: list[tuple[Tensor, list[Tensor] | list[GradientEdge]]] = []
    weight = None
    if entrance is not None:
        y, leaves = _forward(f, batch, output, entrance, mask)
        found = None if reentrant or not isinstance(batch, Tensor) else entrance.found(y)
        # W costs 2kd(k + d) operations at the end, and saves about as much per row and pass as d + k more of
        # them
        if found is not None and n_rows * cotangents.count(y.shape[1]) >= sum(found[1].shape):
            weight = found[1]
        graph.append((y, leaves if found is None or weight is None else [found[0]]))
        del y, leaves, found

    def passes() -> Passes:
        if not graph:
            graph.append(_forward(f, batch, output, None, mask))
        y, at = graph.pop()
        if not y.requires_grad:
            raise _independent()
        left = cotangents.count(y.shape[1])
        for replicate, cotangent in cotangents.passes(y):
            left -= 1
            gradients = pull_back(y, cotangent, at, keep=left > 0, reentrant=reentrant)
            yield replicate, _side_by_side(gradients, at)

    consume(passes(), weight)


def _side_by_side(gradients: Sequence[Tensor | None], at: Sequence[Any]) -> Float[Tensor, "b d"]:
    """The gradients with respect to all inputs as one row a sample; an input that one output does not depend on has zeros."""
    if all(gradient is None for gradient in gradients):
        raise _independent()
    whole = [
        (leaf.new_zeros(leaf.shape) if gradient is None else gradient).flatten(1)
        for gradient, leaf in zip(gradients, at, strict=True)
    ]
    return whole[0] if len(whole) == 1 else torch.cat(whole, 1)


def _independent() -> ValueError:
    return _checks.bad_value("f", "a function that depends on X", "outputs without a gradient")
