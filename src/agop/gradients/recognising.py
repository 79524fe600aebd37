"""Is an operation the use of a weight in a linear map, of which weight, and of what kind?"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from agop.gradients.contraction import PRODUCTS, Product, product_of
from agop.gradients.convolving import CONVOLUTIONS, convolution_of
from agop.gradients.linear_map import LinearMap, contraction, plain, recurrence
from agop.gradients.provenance import CONSTANT, DATA, SPREAD, WEIGHT, Origin, Provenance, tensors_in
from agop.gradients.weight_names import Name, WeightNames, is_matrix

FUSED = frozenset({"lstm", "gru", "rnn_tanh", "rnn_relu"})
"""Recurrent kernels, which multiply by several weights at every step."""

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

    def part(self, suffix: str, first: int, count: int, *, hidden: bool = False) -> Use:
        """The use of some rows of the weight, under a longer name."""
        name = Name(tuple(alias + suffix for alias in self.name.aliases), self.name.paths, self.name.module)
        return replace(self, name=name, map=self.map.part(first, first + count), hidden=hidden)


class Recogniser:
    """What is known of a model's weights while it runs.

    Attributes
    ----------
    names, origins
        What the stored tensors are called, and what has been made of them.
    read
        The stored tensors (by id) that were seen as weights of linear maps.
    unread
        What multiplies by weights and cannot be read, with the reason, by the name of the layer.
    running
        The modules that run, the innermost last.
    attention
        Whether torch's own attention runs.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self.names, self.origins = WeightNames(model), Provenance(model)
        self.read: set[int] = set()
        self.unread: dict[str, str] = {}
        self.running: list[nn.Module] = []
        self.attention = False
        self.n_samples = 0

    def start(self, n_samples: int) -> None:
        """Begin a forward pass of so many samples."""
        self.n_samples, self.attention = n_samples, False
        self.running.clear()
        self.origins.start()

    def found(self, name: str, args: Any, kwargs: Any) -> tuple[list[Use], Tensor] | None:
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
        use = Use(self._name(origin), used, time_first=self.attention)
        self.read |= origin.sources
        return self._cuts(use, weight, origin), x

    def _name(self, origin: Origin) -> Name:
        return self.names.of(sorted(origin.sources, key=self.names.rank), self.running)

    def _product(self, name: str, args: Any, kwargs: Any) -> tuple[Origin, LinearMap, Tensor, Tensor] | None:
        product = product_of(name, args, kwargs)
        if product is None:
            origins = [self.origins.of(tensor) for tensor in tensors_in((args, kwargs))]
            if {origin.kind for origin in origins} >= {WEIGHT, DATA}:
                sources = frozenset[int]().union(*(o.sources for o in origins if o.kind == WEIGHT))
                self._refuse(
                    Origin(WEIGHT, sources),
                    f"{name} with more than two factors, or an output that it writes into",
                )
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
            self._refuse(
                origin, "it reads integers" if not x.is_floating_point() else "it writes into a given tensor"
            )
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
            return x.ndim > 1 and x.shape[0] == self.n_samples
        return other.kind == DATA

    def _bias(self, product: Product, labels: Any, weight: Tensor) -> tuple[Tensor | None, bool]:
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

    def _convolution(
        self, name: str, args: Any, kwargs: Any
    ) -> tuple[Origin, LinearMap, Tensor, Tensor] | None:
        x, weight, make = convolution_of(name, args, kwargs)
        origin = self.origins.of(weight)
        if origin.kind != WEIGHT or not origin.sources:
            if origin.kind == DATA:
                self._refuse_running("its weight depends on the samples")
            return None
        if self.origins.of(x).kind != DATA and x.shape[0] != self.n_samples:
            return None
        return origin, make(), x, weight

    def _fused(self, args: Any) -> tuple[list[Use], Tensor] | None:
        sources = frozenset[int]().union(*(self.origins.of(t).sources for t in tensors_in(list(args[1:]))))
        if not sources or not isinstance(args[0], Tensor):
            return None
        name = self.names.module_of(sources, self.running)
        return [Use(name, recurrence())], args[0]

    def _cuts(self, use: Use, weight: Tensor, origin: Origin) -> list[Use]:
        """The use as it is, or q, k and v of a packed one where they are known, with the other cut hidden."""
        if weight.ndim != 2 or use.map.matrix is None:
            return [use]
        if self.attention and use.layer.endswith("in_proj"):
            return self._of_attention(use, weight, origin)
        third = max(weight.shape) // 3
        if use.layer.rpartition(".")[2] in _PACKED and max(weight.shape) == 3 * min(weight.shape):
            return [
                use,
                *(use.part(f".{part}", i * third, third, hidden=True) for i, part in enumerate("qkv")),
            ]
        return [use]

    def _of_attention(self, use: Use, weight: Tensor, origin: Origin) -> list[Use]:
        """Those of q, k and v that a piece of torch's packed weight makes; where it makes all, the whole is hidden."""
        stored = [self.origins.stored[source] for source in origin.sources]
        third = max(tensor.shape[0] for tensor in stored if tensor.ndim == 2) // 3
        inside = (
            len(stored) == 1 and weight.untyped_storage().data_ptr() == stored[0].untyped_storage().data_ptr()
        )
        first = (weight.storage_offset() - stored[0].storage_offset()) // stored[0].stride(0) if inside else 0
        parts = [
            use.part(f".{part}", int(i * third - first), third)
            for i, part in enumerate("qkv")
            if first <= i * third < first + weight.shape[0]
        ]
        return [*parts, replace(use, hidden=True)] if len(parts) == 3 else parts

    def _refuse(self, origin: Origin, why: str) -> None:
        self.unread.setdefault(self._name(origin).layer, why)

    def _refuse_running(self, why: str) -> None:
        if self.running:
            module = self.running[-1]
            self.unread.setdefault(f"{self.names.path(module)} ({type(module).__name__})", why)

    def matrices(self) -> dict[int, tuple[str, Tensor]]:
        """The parameters that could be matrices of linear maps, with the names that their layers would have."""
        found: dict[int, tuple[str, Tensor]] = {}
        # sharded ones are whole only while the model runs
        for parameter in self.origins.parameters.values() or self._model.parameters():
            holders = self.names.holders(parameter)
            if is_matrix(parameter) and holders:
                found[id(parameter)] = holders[0].layer, parameter
        return found


def _scaled(used: LinearMap, scale: float) -> LinearMap:
    matrix = used.matrix
    assert matrix is not None
    return replace(used, matrix=lambda: matrix() * scale, weight=None, arrange=None)
