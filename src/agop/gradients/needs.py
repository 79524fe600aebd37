"""What a sweep over layers will hold in memory and multiply, known from one forward pass of a few samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from agop._memory import available_memory, human
from agop.gradients.accumulate import accumulator_dtype, outer_operations
from agop.gradients.layer_sum import applied_early
from agop.gradients.linear_map import LinearMap
from agop.gradients.recorder import Place, View


@dataclass(frozen=True)
class LayerNeeds:
    """What one call of a layer needs: `groups` of `rows` rows a sample, k outputs (side of the gradients) and d inputs.

    `size` is that of a number of the sums in bytes, `linear` whether W is applied, and `copied` whether in a copy of another dtype.
    """

    groups: int
    rows: int
    k: int
    d: int
    size: int
    linear: bool
    copied: bool

    @property
    def early(self) -> bool:
        """Whether W is applied to every row."""
        return self.linear and applied_early(self.k, self.d)

    @property
    def sums(self) -> int:
        """Bytes of what is summed, with a copy of W where there is one."""
        side = self.d if self.early else self.k
        return self.size * self.groups * (side**2 + self.copied * self.k * self.d)

    @property
    def agop(self) -> int:
        """Bytes of the AGOP."""
        return self.size * self.d**2

    @property
    def working(self) -> int:
        """Bytes of the gradients at one sample as rows, and with W applied."""
        return self.size * self.groups * self.rows * (self.k + self.early * self.d)

    @property
    def product(self) -> float:
        """Operations of the layer at one sample, forward or backward."""
        return 2.0 * self.groups * self.rows * self.k * self.d if self.linear else 0.0

    @property
    def outer(self) -> float:
        """Operations of the outer products at one sample, for one output."""
        side = self.d if self.early else self.k
        return outer_operations(self.groups, self.rows, side) + self.early * self.product

    @property
    def reading(self) -> float:
        """Operations that make the AGOP of the sum."""
        return (
            2.0 * self.groups * self.k * self.d * (self.k + self.d) if self.linear and not self.early else 0.0
        )


@dataclass(frozen=True)
class Needs:
    """What a sweep holds, in bytes: all sums, the AGOPs that become of them, and one batch with its graph."""

    sums: int
    agops: int
    batch: int
    layers: Mapping[View, LayerNeeds]

    @property
    def total(self) -> int:
        """All of it."""
        return self.sums + self.agops + self.batch

    def __str__(self) -> str:
        parts = f"sums {human(self.sums)}, AGOPs {human(self.agops)}, a batch {human(self.batch)}"
        return f"{human(self.total)} ({parts})"

    def require(self, max_memory: int | None, device: torch.device | None) -> None:
        """Raise if there is less memory."""
        limit = available_memory(device) if max_memory is None else max_memory
        if self.total > limit:
            source = "what is free" if max_memory is None else "max_memory"
            raise MemoryError(
                f"layers: expected AGOPs that fit into {human(limit)} ({source}), got {len(self.layers)} that take about {self}; "
                "choose fewer layers, a smaller batch_size, or raise max_memory."
            )


def needs_of(
    places: Mapping[View, Place],
    maps: Mapping[View, LinearMap],
    *,
    dtype: torch.dtype | None,
    replicates: int,
    with_weights: bool,
    batch_rows: int,
    bytes_per_row: int,
) -> Needs:
    """From where the gradients will be taken in a batch: shapes only, nothing of their size is made."""
    layers = {view: _of_layer(place, maps[view], dtype, with_weights) for view, place in places.items()}
    working = max((own.working for own in layers.values()), default=0)
    return Needs(
        sums=sum(own.sums * replicates for own in layers.values()),
        agops=sum(own.agop for own in layers.values()),
        # a backward pass holds about as much again as the graph does
        batch=batch_rows * (2 * bytes_per_row + working),
        layers=layers,
    )


def _of_layer(place: Place, used: LinearMap, dtype: torch.dtype | None, with_weights: bool) -> LayerNeeds:
    rows = used.rows(torch.empty(place.shape, dtype=place.dtype, device="meta"))
    groups, m, k = rows.shape
    kind = accumulator_dtype(place.dtype, dtype)
    matrix = None if used.at_input or used.matrix is None else used.matrix()
    linear = matrix is not None and with_weights
    d = k if matrix is None or not linear else matrix.shape[-1]
    copied = matrix is not None and linear and matrix.dtype != kind
    size = torch.finfo(kind).bits // 8
    return LayerNeeds(groups, -(-m // max(1, place.samples)), k, d, size, linear, copied)
