"""Every use of a weight in a linear map, found while a forward pass runs: by what is computed, whatever module computes it.

A torch-function mode sees each operation before autograd does, so that compiled (run eagerly), traced, wrapped, checkpointed and plain
functional code are seen alike. A product is a layer if one of its factors was made of the model's own tensors only
(`agop.gradients.provenance`).
"""

from __future__ import annotations

import types
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache, partial
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from agop.gradients.cells import CELLS
from agop.gradients.effective import Images
from agop.gradients.linear_map import LinearMap, channels, tokens
from agop.gradients.positions import Positions
from agop.gradients.recognising import FUSED, Recogniser, Use
from agop.gradients.taps import hooked, tensor_in
from agop.gradients.weight_names import Name
from agop.gradients.wrapped import is_scripted

_ATTENTION = "multi_head_attention_forward"
_OPENED = frozenset({_ATTENTION, "grad", "backward"})
"""Functions of torch that are made of several operations, or run a checkpoint's layers again."""


@runtime_checkable
class Taker(Protocol):
    """What is done where a weight is used."""

    def reads(self, uses: Sequence[Use], x: Tensor) -> Tensor:
        """Before the operation: what it is to read."""

    def gives(self, uses: Sequence[Use], x: Tensor, y: Tensor) -> Tensor:
        """After it: what the model goes on with."""


class Interception(TorchFunctionMode):
    """Tells `taker` of every use of a weight of `model` in a linear map while the model runs inside this context.

    Attributes
    ----------
    seen
        What is known of the model's weights.
    """

    def __init__(self, model: nn.Module, taker: Taker, positions: Positions | None = None) -> None:
        super().__init__()
        self.model, self._taker, self._positions = model, taker, positions
        self.seen = Recogniser(model)
        self._images = Images(self.seen.origins)
        self._read: list[Tensor | None] = []
        self._padded: dict[int, tuple[weakref.ref[Tensor], weakref.ref[Tensor]]] = {}
        self._paused = self._active = False

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Know which modules run during this block."""
        attach: list[Callable[[], Any]] = []
        for module in self.model.modules():
            if is_scripted(module):
                continue
            attach.append(partial(module.register_forward_pre_hook, self._enter, with_kwargs=True))
            attach.append(partial(module.register_forward_hook, self._leave, prepend=True))
        with hooked(attach):
            yield

    @contextmanager
    def active(self) -> Iterator[None]:
        """See operations during this block, once even where such blocks are nested."""
        if self._active:
            yield
            return
        self._active = True
        try:
            with self:
                yield
        finally:
            self._active = False

    def start(self, n_samples: int) -> None:
        """Begin a forward pass of so many samples."""
        self.seen.start(n_samples)
        self._read.clear()
        self._padded.clear()
        self._images.forget()
        if self._positions is not None:
            self._positions.start(n_samples)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """What happens inside is not the model's doing."""
        before, self._paused = self._paused, True
        try:
            # no mode is asked at all, this one or another
            with torch._C.DisableTorchFunction():
                yield
        finally:
            self._paused = before

    def _enter(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        with self.paused():
            self.seen.origins.see(module)
            self.seen.names.see(module)
            self.seen.running.append(module)
            self._read.append(tensor_in([*args, *kwargs.values()]))

    def _leave(self, module: nn.Module, _args: Any, output: Any) -> Any:
        with self.paused():
            x = None
            while self.seen.running:
                last, x = self.seen.running.pop(), self._read.pop()
                if last is module:
                    break
            image = None if x is None or not isinstance(output, Tensor) else self._images.adapted(x, output)
            if x is None or image is None:
                return None
            bias = image.bias()
            rows, axis = (tokens, -1) if image.geometry is None else (channels, 1)
            used = LinearMap(image.matrix, rows, bias=bias, geometry=image.geometry, channels=axis)
            paths = self.seen.names.paths(module)
            use = Use(Name(paths, paths, module), used, effective=True)
            new = self._taker.gives([use], x, output)
            if new is output:
                return None
            return new

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation, and tell of it if it multiplies data by a weight."""
        kwargs = kwargs or {}
        if self._paused:
            return func(*args, **kwargs)
        name = getattr(func, "__name__", "").partition(".")[0]
        if name in _OPENED and isinstance(func, _FunctionType):
            return self._opened(func, args, kwargs)
        if name in CELLS:
            with self:
                return CELLS[name](*args, **kwargs)
        found = self.seen.found(name, args, kwargs)
        if found is None:
            result = func(*args, **kwargs)
            self.seen.origins.follow(name, args, kwargs, result)
            self._images.follow(name, args, kwargs, result)
            self._placed(name, args, kwargs, result)
            if name == "pad" and isinstance(result, Tensor) and isinstance(args[0], Tensor):
                self._padded[id(result)] = weakref.ref(result), weakref.ref(args[0])
            return result
        uses, x = found
        if name in FUSED:
            self.seen.origins.follow(name, args, kwargs, None)
        new = self._taker.reads(uses, x)
        if new is not x:
            args = tuple(new if value is x else value for value in args)
            kwargs = {key: new if value is x else value for key, value in kwargs.items()}
        result = func(*args, **kwargs)
        self._placed(name, args, kwargs, result)
        if isinstance(result, Tensor):
            result = self._taker.gives(uses, x, result)
            self._images.map(uses[0].map, x, result)
        else:
            self._taker.gives(uses, x, result[0])
        return result

    def unpadded(self, tensor: Tensor) -> Tensor:
        """What a tensor was before it was padded, or the tensor."""
        found = self._padded.get(id(tensor))
        before = found[1]() if found is not None and found[0]() is tensor else None
        return tensor if before is None else before

    def _placed(self, name: str, args: Any, kwargs: Any, result: Any) -> None:
        if self._positions is not None:
            self._positions.follow(name, args, kwargs, result)

    def _opened(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Run a function of torch that is made of several operations, and see these."""
        before, self.seen.attention = self.seen.attention, func.__name__ == _ATTENTION
        try:
            with self:
                return _opened(func)(*args, **kwargs)
        finally:
            self.seen.attention = before


_FunctionType = types.FunctionType


@lru_cache(maxsize=8)
def _opened(func: Any) -> Any:
    """The same function without its question whether somebody overrides it."""
    names = dict(func.__globals__)
    names.update(
        dict.fromkeys(
            ("has_torch_function", "has_torch_function_unary", "has_torch_function_variadic"), _nobody
        )
    )
    copy = types.FunctionType(func.__code__, names, func.__name__, func.__defaults__, func.__closure__)
    copy.__kwdefaults__ = func.__kwdefaults__
    return copy


def _nobody(*_args: Any) -> bool:
    return False
