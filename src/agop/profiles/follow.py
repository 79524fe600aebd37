"""Which nonlinearity follows a layer? Found by watching what the forward pass does with the layer's output.

The rule: the first operation that takes the output decides. An activation (relu, gelu, tanh, …; as a module,
a function or a method, in place or not) gives the output stage. Normalisation, dropout and changes of dtype or
memory layout are looked through. Anything else (an addition, a pooling, the next layer) means that there is no
nonlinearity of this layer's own: then the output stage is what the chain has reached, for example the result of
a BatchNorm before a skip connection is added.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode

ACTIVATIONS = frozenset(
    {
        "abs", "celu", "clamp", "clamp_max", "clamp_min", "cos", "elu", "erf", "exp", "gelu", "glu", "hardshrink",
        "hardsigmoid", "hardswish", "hardtanh", "leaky_relu", "logsigmoid", "mish", "prelu", "relu", "relu6",
        "rrelu", "selu", "sigmoid", "silu", "sin", "softplus", "softshrink", "softsign", "square", "swish", "tanh",
        "tanhshrink", "threshold",
    }
)  # fmt: skip
"""Operations that are the nonlinearity of the layer before them (also with a trailing underscore)."""

LOOKED_THROUGH = frozenset(
    {
        "alpha_dropout", "batch_norm", "bfloat16", "clone", "contiguous", "detach", "double", "dropout",
        "dropout1d", "dropout2d", "dropout3d", "feature_alpha_dropout", "feature_dropout", "float", "group_norm",
        "half", "instance_norm", "layer_norm", "local_response_norm", "rms_norm", "to", "type",
    }
)  # fmt: skip
"""Operations between a layer and its nonlinearity."""

Reached = Callable[[Any, Tensor, tuple[str, ...]], None]
"""Takes the key of a layer call, its output stage, and the operations between."""

LookedThrough = Callable[[str, Any, Any, list[Any]], bool]
"""Takes an operation, its arguments and the keys of the layers whose outputs it takes: does it belong to these layers?"""


class Follower(TorchFunctionMode):
    """Watches tensors until the rule decides; then calls `reached(key, output, names of the operations)`.

    Use it as a context around the forward pass, and `finish()` when that is over.
    """

    def __init__(self, reached: Reached, looked_through: LookedThrough | None = None) -> None:
        super().__init__()
        self._reached, self._looked_through = reached, looked_through
        self._watched: dict[int, tuple[Tensor, list[Hashable], tuple[str, ...]]] = {}
        self._paused = False

    @contextmanager
    def paused(self) -> Iterator[None]:
        """What happens inside is not the model's doing."""
        before, self._paused = self._paused, True
        try:
            yield
        finally:
            self._paused = before

    def watch(self, key: Hashable, output: Tensor) -> None:
        """Follow a layer's output from here."""
        self._wait([key], output, ())

    def _wait(self, keys: list[Hashable], tensor: Tensor, path: tuple[str, ...]) -> None:
        there = self._watched.get(id(tensor))
        # strong references, so that an id cannot be reused; they go with the next operation
        self._watched[id(tensor)] = (tensor, [*(there[1] if there else []), *keys], path)

    def finish(self) -> None:
        """Settle what no operation has taken: the output of the model."""
        for tensor, keys, path in list(self._watched.values()):
            self._settle(keys, tensor, path)
        self._watched.clear()

    def forget(self) -> None:
        """Drop everything, after a forward pass that raised."""
        self._watched.clear()

    def _settle(self, keys: list[Hashable], tensor: Tensor, path: tuple[str, ...]) -> None:
        with self.paused():
            for key in keys:
                self._reached(key, tensor, path)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation and see whether it takes a watched tensor."""
        kwargs = kwargs or {}
        taken = [] if self._paused or not self._watched else self._taken(args, kwargs)
        if not taken:
            return func(*args, **kwargs)
        name = getattr(func, "__name__", "")
        plain = name.rstrip("_") if not name.startswith("__") else name
        if plain in ACTIVATIONS or plain in LOOKED_THROUGH:
            return self._follow(func, plain, taken, args, kwargs)
        if self._is_of_layer(name, args, kwargs, taken):
            return self._follow(func, name, taken, args, kwargs, through=True)
        if name.startswith("__i") or (name.endswith("_") and not name.endswith("__")) or "out" in kwargs:
            # it overwrites what the chain has reached
            self._end(taken)
            return func(*args, **kwargs)
        result = func(*args, **kwargs)
        if _is_data(result):
            self._end(taken)
        return result

    def _is_of_layer(self, name: str, args: Any, kwargs: Any, taken: list[int]) -> bool:
        """Whether the operation still belongs to the layer itself, whose bias or shape it gives."""
        keys = [key for place in taken for key in self._watched[place][1]]
        return self._looked_through is not None and self._looked_through(name, args, kwargs, keys)

    def _follow(
        self, func: Any, name: str, taken: list[int], args: Any, kwargs: Any, *, through: bool = False
    ) -> Any:
        result = func(*args, **kwargs)
        if not isinstance(result, Tensor):
            # `type()` without arguments only asks
            return result
        for place in taken:
            _, keys, path = self._watched.pop(place)
            if through or name in LOOKED_THROUGH:
                self._wait(keys, result, (*path, name) if name.endswith("norm") else path)
            else:
                self._settle(keys, result, (*path, name))
        return result

    def _end(self, taken: list[int]) -> None:
        for place in taken:
            tensor, keys, path = self._watched.pop(place)
            self._settle(keys, tensor, path)

    def _taken(self, args: Any, kwargs: Any) -> list[int]:
        places: dict[int, None] = {}
        for value in (*args, *kwargs.values()):
            for item in value if isinstance(value, (list, tuple)) else (value,):
                if isinstance(item, Tensor) and id(item) in self._watched:
                    places[id(item)] = None
        return list(places)


def _is_data(result: Any) -> bool:
    """Whether an operation gave tensors: asking for a shape is no use of the values."""
    if isinstance(result, (tuple, list)):
        return any(isinstance(item, Tensor) for item in result)
    return isinstance(result, Tensor)
