"""The linear layer through which alone a function sees its input, if there is one.

Where x enters `y = W x + b` and nothing else, the gradient with respect to x is `Wᵀδ`, δ the gradient at y.
For k = len(y) < d the sums can be taken over the shorter δ, and W applied once at the end: neither the last
step of every backward pass nor the (d, d) products are needed. That nothing else reads x is checked in the
graph of every batch, not assumed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.nn.utils.parametrize import is_parametrized

from agop.gradients.pullback import nodes
from agop.gradients.state import modules_in
from agop.gradients.taps import hooked

_SAME_NUMBERS = ("ViewBackward0", "UnsafeViewBackward0", "ReshapeAliasBackward0", "AliasBackward0")


class Entrance:
    """Watches the linear layers inside `f` for one that reads the whole input."""

    def __init__(self, f: Callable[..., Any]) -> None:
        parts = {id(part): part for module in modules_in(f) for part in module.modules()}
        self._linear = [
            part
            for part in parts.values()
            if isinstance(part, nn.Linear)
            and type(part).forward is nn.Linear.forward
            and not is_parametrized(part)
            and part.out_features < part.in_features
        ]
        self._x: Tensor | None = None
        self._root: Any = None
        self._seen: tuple[nn.Linear, Tensor, GradientEdge] | None = None

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Have the hooks on the layers during this block."""
        with hooked([partial(part.register_forward_hook, self._look, prepend=True) for part in self._linear]):
            yield

    @contextmanager
    def of(self, x: Tensor) -> Iterator[None]:
        """The block in which `x` goes into the function."""
        # taken now: a function that works on x in place gives it another one
        self._x, self._root, self._seen = x, x.grad_fn, None
        try:
            yield
        finally:
            self._x = None

    def _look(self, part: nn.Linear, args: Any, y: Any) -> None:
        if self._x is None or self._seen is not None or not args or not y.requires_grad:
            return
        h = args[0]
        flat = (self._x.shape[0], self._x[0].numel())
        if tuple(h.shape) == flat and h.data_ptr() == self._x.data_ptr() and h.is_contiguous():
            self._seen = part, h, get_gradient_edge(y)

    def found(self, y: Tensor) -> tuple[GradientEdge, Tensor] | None:
        """Where δ is to be taken and W, if the outputs `y` depend on the last input through that layer only."""
        if self._seen is None:
            return None
        part, h, edge = self._seen
        reached = list(nodes(y))
        readers = Counter(id(parent) for node in reached for parent, _ in node.next_functions)
        node = h.grad_fn
        while node is not self._root:
            if node is None or node.name() not in _SAME_NUMBERS or readers[id(node)] != 1:
                return None
            node = node.next_functions[0][0]
        return (edge, part.weight.detach()) if readers[id(node)] == 1 else None
