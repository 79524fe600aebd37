"""Backward passes through whatever the forward pass built, old-style checkpoints included."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.graph import GradientEdge

_REENTRANT = "CheckpointFunctionBackward"


def nodes(y: Tensor) -> Iterator[Any]:
    """Every node of the graph that `y` was computed with, once."""
    seen: set[Any] = set()
    stack = [y.grad_fn]
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        yield node
        stack.extend(parent for parent, _ in node.next_functions)


def has_reentrant_checkpoint(y: Tensor) -> bool:
    """Whether a checkpoint of the reentrant kind (`use_reentrant=True`) lies between `y` and its inputs."""
    return any(node.name() == _REENTRANT for node in nodes(y))


def pull_back(
    y: Float[Tensor, "b c"],
    cotangent: Float[Tensor, "b c"],
    leaves: Sequence[Tensor | GradientEdge],
    *,
    keep: bool,
    reentrant: bool = False,
) -> list[Tensor | None]:
    """Gradients of `⟨cotangent, y⟩` with respect to `leaves`; `keep` the graph for another pass.

    Only the paths from `y` to `leaves` are run. A reentrant checkpoint cannot be asked for some leaves only,
    so there all of the graph is run and the `.grad` of every leaf is put back.
    """
    if not reentrant:
        at: Any = list(leaves)
        return list(torch.autograd.grad(y, at, cotangent, retain_graph=keep, allow_unused=True))
    tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
    with _same_gradients(y, tensors):
        torch.autograd.backward(y, cotangent, retain_graph=keep)
        return [leaf.grad for leaf in tensors]


@contextmanager
def _same_gradients(y: Tensor, leaves: Sequence[Tensor]) -> Iterator[None]:
    reached = [node.variable for node in nodes(y) if hasattr(node, "variable")]
    before = [(leaf, leaf.grad) for leaf in [*reached, *leaves]]
    for leaf, _ in before:
        leaf.grad = None
    try:
        yield
    finally:
        for leaf, gradient in before:
            leaf.grad = gradient
