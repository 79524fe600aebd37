"""A look at a few samples before the sweep: is the model fit for it, and what memory does a sample take."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from agop import _blocks, _checks
from agop.gradients.calling import first_tensor, refusals_named, some_rows
from agop.gradients.pullback import has_reentrant_checkpoint, pull_back
from agop.gradients.sanity import PROBE_ROWS, refuse_different_outputs, refuse_mixed_samples
from agop.gradients.state import module_of

Forward = Callable[[Any, bool], tuple[Tensor, Sequence[Tensor]]]
"""Runs the model on a batch: its (b, c) outputs, and the leaves to differentiate with respect to.

With the flag the graph starts at the input if that is possible, without it where the sweep will start it.
"""

CACHE_ROWS, CACHE_BYTES = 1024, 16 * 2**20
"""On a CPU a block of more rows, or more bytes of graph, gets nothing faster while everything leaves the cache."""


@dataclass(frozen=True)
class Probe:
    """What a few samples told: bytes of graph per sample, whether checkpoints are reentrant, and how many outputs there are."""

    bytes_per_row: int
    reentrant: bool
    n_outputs: int
    cached: bool = True

    def rows_per_block(self, n_rows: int, extra_bytes_per_row: int = 0) -> int:
        """A batch size that keeps the graph and the gradients under the default memory budget."""
        # a backward pass holds about as much again as the graph does
        rows = _blocks.rows_per_block(n_rows, 2 * self.bytes_per_row + extra_bytes_per_row)
        return min(rows, max(CACHE_ROWS, CACHE_BYTES // max(1, self.bytes_per_row))) if self.cached else rows


def probe(f: Callable[..., Any], batch: Any, forward: Forward, *, check: bool = True) -> Probe:
    """Check on the first samples of `batch` that the gradients will mean something, and measure their memory.

    Raises
    ------
    ValueError
        If the outputs are not one row per sample, differ between two runs, or mix samples.

    """
    first = first_tensor(batch)
    if first is None or first.ndim == 0:
        raise _checks.bad_type("X", "tensors with samples along their first axis", type(batch).__name__)
    rows = min(PROBE_ROWS, first.shape[0])
    small = some_rows(batch, slice(rows))
    with _saved_bytes(f) as saved, refusals_named(first, module_of(f)):
        again, _ = forward(small, False)
    if again.shape[0] != rows:
        raise _checks.bad_value(
            "model",
            "one row of outputs per sample, samples along the first axis of X",
            f"{again.shape[0]} rows for {rows} samples",
        )
    y, leaves = forward(small, True)
    reentrant = has_reentrant_checkpoint(y)
    if check:
        refuse_different_outputs(f, y.detach(), again.detach(), lambda: forward(small, True))
    if check and leaves and y.requires_grad:
        refuse_mixed_samples(
            f,
            y,
            lambda cotangent: pull_back(y, cotangent, leaves, keep=True, reentrant=reentrant),
            lambda: forward(small, True),
        )
    return Probe(-(-sum(saved.values()) // rows), reentrant, y.shape[1], first.device.type == "cpu")


def _storages(tensor: Tensor) -> Iterator[torch.UntypedStorage]:
    """What a tensor is stored in; one that is made of others (quantised, sharded) in what they are."""
    if hasattr(tensor, "__tensor_flatten__"):
        names, _ = tensor.__tensor_flatten__()
        for name in names:
            yield from _storages(getattr(tensor, name))
    elif torch._C._has_storage(tensor):
        yield tensor.untyped_storage()


@contextmanager
def _saved_bytes(f: Callable[..., Any]) -> Iterator[dict[int, int]]:
    """Count the storages that autograd keeps for the backward pass, parameters and buffers aside."""
    module, saved = module_of(f), dict[int, int]()
    own = set()
    if module is not None:
        held = [*module.parameters(), *module.buffers()]
        own = {storage.data_ptr() for tensor in held for storage in _storages(tensor)}

    def pack(tensor: Tensor) -> Tensor:
        for storage in _storages(tensor):
            if storage.data_ptr() not in own:
                saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield saved
