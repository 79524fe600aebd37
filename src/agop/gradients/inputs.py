"""The sweep behind the AGOP of a function: batches through it, the gradients of its input to whoever sums them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from typing import Any

from jaxtyping import Float
from torch import Tensor
from torch.autograd.graph import GradientEdge

from agop import _checks
from agop.gradients import calling
from agop.gradients.cotangents import Cotangents
from agop.gradients.entrance import Entrance
from agop.gradients.probe import Probe, probe
from agop.gradients.pullback import pull_back
from agop.gradients.sanity import refuse_training_mode
from agop.gradients.state import untouched

Batches = Tensor | Iterable[Any]
"""A tensor of samples, or a loader that yields batches of them."""

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
) -> None:
    """Hand the input gradients of `f` to `consume`, batch by batch, and leave `f` as it was.

    With `shorten` they may come as gradients at the output of a first linear layer, see
    `agop.gradients.entrance`.
    """
    if not callable(f):
        raise _checks.bad_type("f", "a function or a module", type(f).__name__)
    if batch_size is not None:
        _checks.integer("batch_size", batch_size, at_least=1)
    if check:
        refuse_training_mode(f)

    def forward(batch: Any, _rooted: bool = True) -> tuple[Tensor, Sequence[Tensor]]:
        y, leaf = _forward(f, batch, output, None)
        return y, [leaf]

    entrance = Entrance(f) if shorten else None
    with (
        untouched(f, device=X.device if isinstance(X, Tensor) else None),
        entrance.watched() if entrance else nullcontext(),
    ):
        known: Probe | None = None
        if isinstance(X, Tensor) and X.ndim and X.shape[0] and (check or batch_size is None):
            known = probe(f, calling.floating_batch(X), forward, check=check)
            batch_size = batch_size or known.rows_per_block(X.shape[0], X[0].numel() * X.element_size())
        for batch in calling.batches(X, batch_size):
            if known is None:
                known = probe(f, batch, forward, check=check)
            n_rows = len(X) if isinstance(X, Tensor) else len(batch)
            _one_batch(f, batch, cotangents, consume, output, entrance, known.reentrant, n_rows)


def _forward(
    f: Callable[..., Any], batch: Any, output: calling.OutputPick, entrance: Entrance | None
) -> tuple[Tensor, Tensor]:
    leaf = calling.leaf_of(calling.floating_batch(batch))
    # the clone may be changed in place, which neither a leaf nor the caller's data would forgive
    x = leaf.clone()
    with entrance.of(x) if entrance else nullcontext():
        returned = calling.call(f, x)
    return calling.rows_of_output(returned, output), leaf


def _one_batch(
    f: Callable[..., Any],
    batch: Tensor,
    cotangents: Cotangents,
    consume: Consume,
    output: calling.OutputPick,
    entrance: Entrance | None,
    reentrant: bool,
    n_rows: int,
) -> None:
    graph: list[tuple[Tensor, Tensor | GradientEdge]] = []
    weight = None
    if entrance is not None:
        y, leaf = _forward(f, batch, output, entrance)
        found = None if reentrant else entrance.found(y)
        # W costs 2kd(k + d) operations at the end, and saves about as much per row and pass as d + k more of
        # them
        if found is not None and n_rows * cotangents.count(y.shape[1]) >= sum(found[1].shape):
            weight = found[1]
        graph.append((y, leaf if found is None or weight is None else found[0]))
        del y, leaf, found

    def passes() -> Passes:
        if not graph:
            graph.append(_forward(f, batch, output, None))
        y, at = graph.pop()
        if not y.requires_grad:
            raise _independent()
        left = cotangents.count(y.shape[1])
        for replicate, cotangent in cotangents.passes(y):
            left -= 1
            (gradient,) = pull_back(y, cotangent, [at], keep=left > 0, reentrant=reentrant)
            if gradient is None:
                raise _independent()
            yield replicate, gradient.flatten(1)

    consume(passes(), weight)


def _independent() -> ValueError:
    return _checks.bad_value("f", "a function that depends on X", "outputs without a gradient")
