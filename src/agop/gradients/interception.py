"""Every use of a weight in a linear map, found while a forward pass runs: by what is computed, whatever module computes it.

A torch-function mode sees each operation before autograd, so that compiled (run eagerly), traced, wrapped, checkpointed and plain functional
code are seen alike. A product is a layer if one of its factors was made of the model's own tensors only (`agop.gradients.provenance`).
"""

from __future__ import annotations

import types
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from agop.gradients.cells import CELLS
from agop.gradients.contraction import PRODUCTS, product_of
from agop.gradients.convolving import CONVOLUTIONS, convolution_of
from agop.gradients.effective import Images
from agop.gradients.linear_map import LinearMap, channels, contraction, plain, recurrence, tokens
from agop.gradients.positions import Positions
from agop.gradients.provenance import CONSTANT, DATA, SPREAD, WEIGHT, Origin, Provenance, tensors_in
from agop.gradients.taps import hooked, tensor_in
from agop.gradients.weight_names import Name, WeightNames, is_matrix

FUSED = frozenset({"lstm", "gru", "rnn_tanh", "rnn_relu"})
"""Recurrent kernels, which multiply by several weights at every step."""

_ATTENTION = "multi_head_attention_forward"
_OPENED = frozenset({_ATTENTION, "grad", "backward"})
"""Functions of torch that are made of several operations, or run a checkpoint's layers again."""

_PACKED = frozenset({"qkv", "c_attn", "Wqkv"})
"""Layers whose outputs are queries, keys and values, a third each."""


@dataclass(frozen=True, eq=False)
class Use:
    """One use of a weight in a linear map.

    `hidden` uses are another cut of the same operation (q, k and v of a packed one, or the whole): they are layers only if somebody
    asks for them. An `effective` use is that of a module which computes one map from several. Where the time is known to be the first
    axis and samples the second, maybe merged, as inside attention, it says `time_first`.
    """

    name: Name
    map: LinearMap
    hidden: bool = False
    effective: bool = False
    time_first: bool = False

    @property
    def layer(self) -> str:
        """The name of the layer."""
        return self.name.layer

    def renamed(self, suffix: str, used: LinearMap, hidden: bool) -> Use:
        """The same use under a longer name, as another map."""
        name = Name(tuple(alias + suffix for alias in self.name.aliases), self.name.paths, self.name.module)
        return replace(self, name=name, map=used, hidden=hidden)


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
    unread
        What multiplies by weights and cannot be read, with the reason, by the name of the layer.
    """

    def __init__(self, model: nn.Module, taker: Taker, positions: Positions | None = None) -> None:
        super().__init__()
        self.model, self._taker, self._positions = model, taker, positions
        self.names = WeightNames(model)
        self.origins = Provenance(model)
        self.unread: dict[str, str] = {}
        self.read: set[int] = set()
        self._images = Images(self.origins)
        self._running: list[tuple[nn.Module, Tensor | None]] = []
        self._padded: dict[int, tuple[weakref.ref[Tensor], weakref.ref[Tensor]]] = {}
        self._paused = self._active = self._attention = False
        self._n_samples = 0

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Know which modules run during this block."""
        attach: list[Callable[[], Any]] = []
        for module in self.model.modules():
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
        self._n_samples = n_samples
        self._running.clear()
        self._padded.clear()
        self._images.forget()
        self.origins.start()
        if self._positions is not None:
            self._positions.start(n_samples)
        self._attention = False

    @contextmanager
    def paused(self) -> Iterator[None]:
        """What happens inside is not the model's doing."""
        before, self._paused = self._paused, True
        try:
            yield
        finally:
            self._paused = before

    def _enter(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        with self.paused():
            self.origins.see(module)
            self.names.see(module)
            self._running.append((module, tensor_in([*args, *kwargs.values()])))

    def _leave(self, module: nn.Module, _args: Any, output: Any) -> Any:
        with self.paused():
            x = None
            while self._running:
                last, x = self._running.pop()
                if last is module:
                    break
            image = None if x is None or not isinstance(output, Tensor) else self._images.adapted(x, output)
            if x is None or image is None:
                return None
            bias = image.bias()
            rows, axis = (tokens, -1) if image.geometry is None else (channels, 1)
            used = LinearMap(image.matrix, rows, bias=bias, geometry=image.geometry, channels=axis)
            paths = self.names.paths(module)
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
        found = self._found(name, args, kwargs)
        if found is None:
            result = func(*args, **kwargs)
            self.origins.follow(name, args, kwargs, result)
            self._images.follow(name, args, kwargs, result)
            self._placed(name, args, kwargs, result)
            if name == "pad" and isinstance(result, Tensor) and isinstance(args[0], Tensor):
                self._padded[id(result)] = weakref.ref(result), weakref.ref(args[0])
            return result
        uses, x = found
        if name in FUSED:
            self.origins.follow(name, args, kwargs, None)
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
        before, self._attention = self._attention, func.__name__ == _ATTENTION
        try:
            with self:
                return _opened(func)(*args, **kwargs)
        finally:
            self._attention = before

    def _found(self, name: str, args: Any, kwargs: Any) -> tuple[list[Use], Tensor] | None:
        """The uses of a weight in this operation, and what it reads."""
        if name in PRODUCTS:
            found = self._product(name, args, kwargs)
        elif name in CONVOLUTIONS:
            found = self._convolution(name, args, kwargs)
        elif name in FUSED:
            return self._fused(args)
        else:
            return None
        if found is None:
            return None
        origin, used, x, weight = found
        use = Use(self._name(origin), used, time_first=self._attention)
        self.read |= origin.sources
        return self._cuts(use, weight, origin), x

    def _name(self, origin: Origin) -> Name:
        return self.names.of(sorted(origin.sources, key=self.names.rank), [module for module, _ in self._running])

    def _product(self, name: str, args: Any, kwargs: Any) -> tuple[Origin, LinearMap, Tensor, Tensor] | None:
        product = product_of(name, args, kwargs)
        if product is None:
            origins = [self.origins.of(tensor) for tensor in tensors_in((args, kwargs))]
            if {origin.kind for origin in origins} >= {WEIGHT, DATA}:
                sources = frozenset[int]().union(*(o.sources for o in origins if o.kind == WEIGHT))
                self._refuse(Origin(WEIGHT, sources), f"{name} with more than two factors, or an output that it writes into")
            return None
        a, b = product.a, product.b
        if not (isinstance(a, Tensor) and isinstance(b, Tensor)):
            return None
        of_a, of_b = self.origins.of(a), self.origins.of(b)
        if self._is_weight(of_a, of_b, b):
            origin, weight, x = of_a, a, b
            labels = product.labels[1], product.labels[0], product.labels[2]
        elif self._is_weight(of_b, of_a, a):
            origin, weight, x, labels = of_b, b, a, product.labels
        else:
            if name == "linear" and of_b.kind == DATA == of_a.kind:
                self._refuse_running("its weight depends on the samples")
            elif name == "linear" and of_b.kind == WEIGHT >= of_a.kind and of_b.sources:
                self._refuse(of_b, "what it reads is the same for all samples")
            return None
        if not x.is_floating_point() or kwargs.get("out") is not None:
            self._refuse(origin, "it reads integers" if not x.is_floating_point() else "it writes into a given tensor")
            return None
        bias, projects = self._bias(product, labels, weight)
        used = contraction(*labels, weight, bias, projects)
        if isinstance(used, str):
            self._refuse(origin, used)
            return None
        if product.scale != 1:
            used = _scaled(used, product.scale)
        return origin, used, x, weight

    def _is_weight(self, origin: Origin, other: Origin, x: Tensor) -> bool:
        """Whether a factor of this origin is the weight of what the other factor, x, holds."""
        if not origin.sources or not any(
            self.origins.stored[source].is_floating_point() or self.origins.stored[source].ndim > 1
            for source in origin.sources
            if source in self.origins.stored
        ):
            return False
        if origin.kind == SPREAD:
            return other.kind == DATA
        if origin.kind != WEIGHT:
            return False
        if other.kind in (CONSTANT, SPREAD):
            return x.ndim > 1 and x.shape[0] == self._n_samples
        return other.kind == DATA

    def _bias(self, product: Any, labels: Any, weight: Tensor) -> tuple[Tensor | None, bool]:
        added = product.added
        if added is None or product.added_scale == 0:
            return None, True
        last = labels[2][-1] if labels[2] else ""
        given = last in labels[1] and last not in labels[0]
        if isinstance(added, Tensor) and added.ndim == 1 and given and self.origins.of(added).kind == WEIGHT:
            size = weight.shape[labels[1].index(last)]
            n_given = sum(label in labels[1] and label not in labels[0] for label in labels[2])
            if len(added) == size and n_given == 1:
                value = plain(added)
                return (value if product.added_scale == 1 else value * product.added_scale), True
        return None, False

    def _convolution(self, name: str, args: Any, kwargs: Any) -> tuple[Origin, LinearMap, Tensor, Tensor] | None:
        x, weight, make = convolution_of(name, args, kwargs)
        origin = self.origins.of(weight)
        if origin.kind != WEIGHT or not origin.sources:
            if origin.kind == DATA:
                self._refuse_running("its weight depends on the samples")
            return None
        if self.origins.of(x).kind != DATA and x.shape[0] != self._n_samples:
            return None
        return origin, make(), x, weight

    def _fused(self, args: Any) -> tuple[list[Use], Tensor] | None:
        sources = frozenset[int]().union(*(self.origins.of(t).sources for t in tensors_in(list(args[1:]))))
        if not sources or not isinstance(args[0], Tensor):
            return None
        name = self.names.module_of(sources, [module for module, _ in self._running])
        return [Use(name, recurrence())], args[0]

    def _cuts(self, use: Use, weight: Tensor, origin: Origin) -> list[Use]:
        """The use as it is, or q, k and v of a packed one where they are known, with the other cut hidden."""
        whole, used = use.layer, use.map
        if used.matrix is None or used.geometry is not None or weight.ndim != 2 or weight.shape[0] == weight.shape[1]:
            attention = self._attention and whole.endswith("in_proj") and weight.ndim == 2
        else:
            attention = self._attention and whole.endswith("in_proj")
        if attention:
            stored = [self.origins.stored[source] for source in origin.sources]
            third = max(tensor.shape[0] for tensor in stored if tensor.ndim == 2) // 3
            inside = len(stored) == 1 and weight.untyped_storage().data_ptr() == stored[0].untyped_storage().data_ptr()
            first = (weight.storage_offset() - stored[0].storage_offset()) // stored[0].stride(0) if inside else 0
            parts = [
                use.renamed(suffix, used.part(start - first, start - first + third), False)
                for suffix, start in ((".q", 0), (".k", third), (".v", 2 * third))
                if first <= start < first + weight.shape[0]
            ]
            packed = len(parts) == 3
            return [*parts, *([replace(use, hidden=True)] if packed else [])]
        n_given = 0 if used.matrix is None or weight.ndim != 2 else max(weight.shape)
        if whole.rpartition(".")[2] in _PACKED and n_given == 3 * min(weight.shape if weight.ndim == 2 else (0,)):
            third = n_given // 3
            parts = [
                use.renamed(suffix, used.part(i * third, (i + 1) * third), True)
                for i, suffix in enumerate((".q", ".k", ".v"))
            ]
            return [use, *parts]
        return [use]

    def _refuse(self, origin: Origin, why: str) -> None:
        self.unread.setdefault(self._name(origin).layer, why)

    def _refuse_running(self, why: str) -> None:
        if self._running:
            module = self._running[-1][0]
            self.unread.setdefault(f"{self.names.path(module)} ({type(module).__name__})", why)

    def matrices(self) -> dict[int, tuple[str, Tensor]]:
        """The parameters that could be matrices of linear maps, with the names that their layers would have."""
        found: dict[int, tuple[str, Tensor]] = {}
        for parameter in self.model.parameters():
            holders = self.names.holders(parameter)
            if is_matrix(parameter) and holders:
                found[id(parameter)] = holders[0].layer, parameter
        return found


def _scaled(used: LinearMap, scale: float) -> LinearMap:
    matrix = used.matrix
    assert matrix is not None
    return replace(used, matrix=lambda: matrix() * scale)


_FunctionType = types.FunctionType


@lru_cache(maxsize=8)
def _opened(func: Any) -> Any:
    """The same function without its question whether somebody overrides it."""
    names = dict(func.__globals__)
    names.update(dict.fromkeys(("has_torch_function", "has_torch_function_unary", "has_torch_function_variadic"), _nobody))
    copy = types.FunctionType(func.__code__, names, func.__name__, func.__defaults__, func.__closure__)
    copy.__kwdefaults__ = func.__kwdefaults__
    return copy


def _nobody(*_args: Any) -> bool:
    return False
