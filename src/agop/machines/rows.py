"""Rows as a machine takes them, from memory or from a source: in blocks, some by number, or a seeded sample."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from agop._blocks import row_blocks
from agop.blocks.block import Block
from agop.machines.samples import Samples

T = TypeVar("T")


class Rows(ABC):
    """Training rows of a fit: encoded and rescaled, with their targets and weights."""

    in_memory: ClassVar[bool]
    """Whether all rows are held anyway."""

    @property
    @abstractmethod
    def columns(self) -> int:
        """Encoded columns, p."""

    @property
    @abstractmethod
    def outputs(self) -> int:
        """Outputs, c."""

    @property
    @abstractmethod
    def dtype(self) -> torch.dtype:
        """Of the features."""

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where they are computed with."""

    @property
    @abstractmethod
    def heaviest(self) -> float:
        """The largest weight; 1 without weights."""

    @abstractmethod
    def __len__(self) -> int: ...

    @property
    @abstractmethod
    def digest(self) -> str:
        """A text that differs where the rows do."""

    @abstractmethod
    def numbered(self, size: int, share: slice, after: int | None = None) -> Iterator[tuple[int, Samples]]:
        """The rows of `share` (their numbers) in blocks of at most `size`; rows of weight zero are left out.

        With each block comes the place of the row that follows it; what is read `after` such a place are the blocks that came behind it.
        """

    def scheduled(
        self, size: int, share: slice, function: Callable[[Iterator[Samples]], T], merge: Callable[[T, T], T]
    ) -> T | None:
        """`function` of such blocks of each partition, merged in their order, by the scheduler of a source that has one; None without."""
        return None

    def blocks(self, size: int, share: slice) -> Iterator[Samples]:
        """The same without places."""
        return (block for _, block in self.numbered(size, share))

    @abstractmethod
    def sample(self, count: int, seed: int) -> Samples:
        """`count` rows, drawn with this seed; all of them if there are no more."""


def drawn(n: int, count: int, seed: int) -> np.ndarray:
    """Sorted numbers of `count` of `n` rows."""
    return np.sort(np.random.default_rng([seed, n]).choice(n, count, replace=False, shuffle=False))


@dataclass(frozen=True, eq=False)
class HeldRows(Rows):
    """Rows that are in memory."""

    samples: Samples
    in_memory: ClassVar[bool] = True

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def columns(self) -> int:
        return self.samples.X.shape[1]

    @property
    def outputs(self) -> int:
        return self.samples.Y.shape[1]

    @property
    def dtype(self) -> torch.dtype:
        return self.samples.X.dtype

    @property
    def device(self) -> torch.device:
        return self.samples.X.device

    @property
    def heaviest(self) -> float:
        return 1.0 if self.samples.weight is None else float(self.samples.weight.max())

    @property
    def digest(self) -> str:
        return self.samples.fingerprint()

    def numbered(self, size: int, share: slice, after: int | None = None) -> Iterator[tuple[int, Samples]]:
        samples = self.samples
        for part in row_blocks(share.stop - share.start, size):
            rows = slice(share.start + part.start, share.start + part.stop)
            if rows.start < (after or 0):
                continue
            labels = None if samples.labels is None else samples.labels[rows]
            weight = None if samples.weight is None else samples.weight[rows]
            yield rows.stop, Samples(samples.X[rows], samples.Y[rows], labels, weight, samples.restored)

    def sample(self, count: int, seed: int) -> Samples:
        if count >= len(self):
            return self.samples
        return self.samples.take(torch.from_numpy(drawn(len(self), count, seed)))


@dataclass(frozen=True, eq=False)
class StreamedRows(Rows):
    """Rows that a source hands out block by block.

    Attributes
    ----------
    source
        Where they come from.
    prepared
        A block of it as the machine takes it, without rows of weight zero.
    shape
        Encoded columns and outputs.
    held_out
        Sorted numbers of rows that are not trained on.
    """

    source: Any
    prepared: Callable[[Block], Samples]
    shape: tuple[int, int]
    kind: tuple[torch.dtype, torch.device]
    largest_weight: float = 1.0
    held_out: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    in_memory: ClassVar[bool] = False

    @property
    def columns(self) -> int:
        return self.shape[0]

    @property
    def outputs(self) -> int:
        return self.shape[1]

    @property
    def dtype(self) -> torch.dtype:
        return self.kind[0]

    @property
    def device(self) -> torch.device:
        return self.kind[1]

    @property
    def heaviest(self) -> float:
        return self.largest_weight

    def __len__(self) -> int:
        return self.source.n_rows - len(self.held_out)

    @property
    def digest(self) -> str:
        held = hashlib.blake2b(self.held_out.tobytes(), digest_size=8).hexdigest()
        return f"{self.source.digest} {held}"

    def scheduled(
        self, size: int, share: slice, function: Callable[[Iterator[Samples]], T], merge: Callable[[T, T], T]
    ) -> T | None:
        if not hasattr(self.source, "sums"):
            return None
        n = self.source.n_rows
        start, stop = (n * edge // max(1, len(self)) for edge in (share.start, share.stop))

        def prepared(block: Block) -> Iterator[Samples]:
            for first in range(0, len(block), size):
                mask = np.zeros(len(block), dtype=bool)
                mask[first : first + size] = True
                own = kept_rows(block, mask=mask)
                kept = kept_rows(Block(block.start + first, own.X, own.y, own.weight), self.held_out)
                if len(kept):
                    yield self.prepared(kept)

        return self.source.sums(lambda block: function(prepared(block)), merge, start, stop)

    def numbered(self, size: int, share: slice, after: int | None = None) -> Iterator[tuple[int, Samples]]:
        n = self.source.n_rows
        start, stop = (n * edge // max(1, len(self)) for edge in (share.start, share.stop))
        for block in self.source.read(size, start if after is None else min(after, stop), stop):
            kept = kept_rows(block, self.held_out)
            if len(kept):
                yield block.start + len(block), self.prepared(kept)

    def sample(self, count: int, seed: int) -> Samples:
        n = self.source.n_rows
        numbers = np.arange(n) if count >= len(self) else drawn(n, min(n, count + len(self.held_out)), seed)
        if len(self.held_out):
            numbers = np.setdiff1d(numbers, self.held_out, assume_unique=True)
        return self.prepared(self.source.take(numbers))


def kept_rows(block: Block, without: np.ndarray | None = None, *, mask: np.ndarray | None = None) -> Block:
    """A block `without` rows of some numbers (sorted), or the rows of a mask."""
    if mask is None:
        assert without is not None
        inside = without[
            np.searchsorted(without, block.start) : np.searchsorted(without, block.start + len(block))
        ]
        if not len(inside):
            return block
        mask = np.ones(len(block), dtype=bool)
        mask[inside - block.start] = False
    chosen = mask

    def part(values: Any) -> Any:
        if isinstance(values, Tensor):
            return values[torch.from_numpy(chosen).to(values.device)]
        return None if values is None else values[chosen]

    return Block(block.start, part(block.X), part(block.y), part(block.weight))


def row_hashes(X: Float[Tensor, "n p"]) -> Tensor:
    """A number of 63 bits for each row, made from its values: equal rows have one, and their order does not matter."""
    whole = X.detach().double() + 0.0  # −0 is 0
    bits = whole.contiguous().view(torch.int64)
    generator = torch.Generator().manual_seed(0)
    odd = torch.randint(-(2**62), 2**62, (X.shape[1],), generator=generator).to(X.device) * 2 + 1
    mixed = ((bits ^ bits.bitwise_right_shift(29)) * odd).sum(1)
    mixed = (mixed ^ mixed.bitwise_right_shift(32)) * -7046029254386353131
    return (mixed ^ mixed.bitwise_right_shift(29)).bitwise_and(2**63 - 1)
