"""Several processes that share one fit: the only place that touches `torch.distributed`.

A *rank* is one of the processes that `torchrun` started. All ranks hold the same points and run the same code; where work can be
shared, each does its share and the contributions are summed, so that every rank goes on with the same numbers. Nothing is shared
unless the program says so: inside `with launched():`, `current()` is the ranks of the launch, everywhere else it is `ALONE`.

How the ranks find each other is in `agop.launch`.
"""

from __future__ import annotations

import hashlib
import heapq
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from jaxtyping import Shaped
from torch import Tensor

T = TypeVar("T")

_QUOTED = 60
"""Characters of a value up to which `agree` quotes it."""


class RanksError(ValueError):
    """What every rank knows and raises, so that rank 0 alone can say it."""


class RankLost(ConnectionError):
    """Another rank ended, or did not answer within the time limit."""


@dataclass(frozen=True)
class Ranks:
    """The processes that share a fit, as one of them sees them.

    Every method but the properties, `share` and `deal` is collective: all ranks must call it, in the same order. One rank alone
    does nothing in it.

    Attributes
    ----------
    rank
        This process, 0 to size − 1.
    size
        How many there are.
    timeout
        Seconds that a rank waits for the others before it raises `RankLost`.
    here
        How many of them are on this machine, and share its memory.
    group
        The process group of `torch.distributed`; None is the default one.
    """

    rank: int = 0
    size: int = 1
    timeout: float = 300.0
    here: int = field(default=1, compare=False)
    group: Any = field(default=None, repr=False, compare=False)

    @classmethod
    def of(cls, group: Any = None) -> Ranks:
        """The ranks of a process group of `torch.distributed`; None: those of `current()`, else of the default group if there is one."""
        import torch.distributed as dist

        if isinstance(group, Ranks):
            return group
        if (group is None and not current().alone) or not (dist.is_available() and dist.is_initialized()):
            return current()
        size = dist.get_world_size(group)
        return cls(
            dist.get_rank(group),
            size,
            here=min(size, int(os.environ.get("LOCAL_WORLD_SIZE", size))),
            group=group,
        )

    @property
    def is_main(self) -> bool:
        """Whether this is rank 0, the one that writes files and speaks."""
        return self.rank == 0

    @property
    def alone(self) -> bool:
        """Whether there is nobody to share with."""
        return self.size == 1

    def share(self, total: int) -> slice:
        """The part of `range(total)` of this rank: contiguous; sizes differ by at most one.

        >>> Ranks(1, 2).share(5)
        slice(2, 5, None)
        """
        return slice(total * self.rank // self.size, total * (self.rank + 1) // self.size)

    def deal(self, items: Sequence[T], cost: Callable[[T], float] = lambda item: 1.0) -> list[T]:
        """The part of `items` of this rank, in their order, such that the parts cost about the same.

        The dearest item goes first, always to the rank with least so far; the same on every rank without asking.

        >>> [Ranks(rank, 2).deal([3, 1, 1, 1], cost=float) for rank in range(2)]
        [[3], [1, 1, 1]]
        """
        costs = [cost(item) for item in items]
        loads, mine = [(0.0, rank) for rank in range(self.size)], []
        for index in sorted(range(len(items)), key=lambda index: -costs[index]):
            load, rank = loads[0]
            heapq.heapreplace(loads, (load + costs[index], rank))
            if rank == self.rank:
                mine.append(index)
        return [items[index] for index in sorted(mine)]

    def sum_(self, tensor: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
        """Overwrite `tensor` with its sum over ranks, the same bits on every rank, and return it."""
        return self._each(tensor, "all_reduce")

    def from_main(self, tensor: Shaped[Tensor, "..."], *, same_shape: bool = False) -> Shaped[Tensor, "..."]:
        """The tensor of rank 0, which may have another shape (of as many axes) than this rank's, unless that is excluded.

        For what must not differ by rounding, which unlike machines do unlike: coordinates in an eigenbasis, or when an iteration
        stops. Ranks that decide each for itself would wait for each other in vain.
        """
        if self.alone:
            return tensor
        shape = list(tensor.shape)
        if not same_shape:
            sizes = torch.tensor(shape, dtype=torch.int64, device=self._home())
            shape = self._each(sizes, "broadcast", group_src=0).tolist()
        sent = tensor if self.is_main else tensor.new_empty(shape)
        return self._each(sent, "broadcast", group_src=0)

    def gather(self, text: str) -> list[str]:
        """The texts of all ranks, in their order."""
        if self.alone:
            return [text]
        place = self._home()
        data = torch.tensor(list(text.encode()), dtype=torch.int64, device=place)
        lengths = torch.zeros(self.size, dtype=torch.int64, device=place)
        lengths[self.rank] = len(data)
        rows = data.new_zeros(self.size, max(1, int(self.sum_(lengths).max())))
        rows[self.rank, : len(data)] = data
        self.sum_(rows)
        return [
            bytes(row[:length].tolist()).decode() for row, length in zip(rows, lengths.tolist(), strict=True)
        ]

    def agree(self, name: str, value: str, remedy: str = "") -> None:
        """Raise `RanksError`, one sentence that names the ranks that differ, unless `value` is the same on all."""
        if self.alone:
            return
        shown = value if len(value) <= _QUOTED else ""
        digest = hashlib.blake2b(value.encode(), digest_size=16).hexdigest()
        check_same(name, [(text[:32], text[32:]) for text in self.gather(digest + shown)], remedy)

    def together(self, work: Callable[[], T]) -> T:
        """Do `work` on every rank; if users' input stops it on one, every rank raises the same sentence.

        Raises
        ------
        RanksError
            With the rank's number, if `work` raised ValueError, TypeError, OSError or MemoryError on some rank.
        """
        if self.alone:
            return work()
        result, failure, cause = None, "", None
        try:
            result = work()
        except (ValueError, TypeError, OSError, MemoryError) as error:
            failure, cause = " ".join(str(error).split()) or type(error).__name__, error
        failures = self.gather(failure)
        failed = [rank for rank, text in enumerate(failures) if text]
        if failed:
            who = f"{_named(failed)}: " if len(failed) < self.size else ""
            raise RanksError(who + failures[failed[0]]) from cause
        return result  # type: ignore[return-value]

    def barrier(self) -> None:
        """Wait for all ranks."""
        if not self.alone:
            self.sum_(torch.zeros(1, device=self._home()))

    def _home(self) -> str:
        """Where small tensors must lie for this group."""
        import torch.distributed as dist

        return "cuda" if dist.get_backend(self.group) == "nccl" else "cpu"

    def _each(self, tensor: Tensor, operation: str, **options: int) -> Tensor:
        if self.alone:
            return tensor
        import torch.distributed as dist

        dense = tensor.detach().contiguous()
        try:
            getattr(dist, operation)(dense, group=self.group, **options)
        except RuntimeError as error:
            reason = str(error).splitlines()[0][:120]
            raise RankLost(
                f"rank {self.rank} lost another one, which ended or took longer than {self.timeout:g} s ({reason}); "
                f"the same command continues from the last finished layer, and torchrun --max-restarts gives it by itself"
            ) from error
        finally:
            if dense.is_cpu or dist.get_backend(self.group) == "gloo":
                _let_go(dense)
        if dense.data_ptr() != tensor.data_ptr():
            tensor.copy_(dense)
        return tensor


def _let_go(tensor: Tensor) -> None:
    """Wait until the thread of gloo that worked on `tensor` holds it no longer, for a second at most.

    Were it ours to the last but one, that thread would need Python's lock to free it, and the end of the process group, which
    holds the lock before torch 2.8 (pytorch#154976), waits for that thread; the end of the interpreter is as bad with any torch.
    """
    patience = time.monotonic() + 1
    while tensor._use_count() > 1 and time.monotonic() < patience:  # type: ignore[attr-defined]
        time.sleep(0)


ALONE = Ranks()
"""One process that shares with nobody."""

_CURRENT: ContextVar[Ranks] = ContextVar("ranks", default=ALONE)


def current() -> Ranks:
    """The ranks that share the work of this block: those of the innermost `launched()` or `sharing(...)`, else `ALONE`."""
    return _CURRENT.get()


@contextmanager
def sharing(ranks: Ranks) -> Iterator[Ranks]:
    """Let `current()` be `ranks` inside the block; `sharing(ALONE)` is for work that one rank does by itself."""
    token = _CURRENT.set(ranks)
    try:
        yield ranks
    finally:
        _CURRENT.reset(token)


def check_same(name: str, values: Sequence[tuple[str, str]], remedy: str = "") -> None:
    """Raise `RanksError` unless the first items of all pairs (what to compare, what to show) are equal."""
    counts = Counter(key for key, _ in values)
    if len(counts) == 1:
        return
    usual = max(counts, key=lambda key: (counts[key], key == values[0][0]))
    others = [rank for rank, (key, _) in enumerate(values) if key != usual]
    expected = next(shown for key, shown in values if key == usual)
    got = values[others[0]][1]
    seen = (
        f"{got} on {_named(others)} and {expected} elsewhere"
        if got and expected
        else f"another on {_named(others)}"
    )
    ending = f"; {remedy}." if remedy else "."
    raise RanksError(f"{name}: expected the same on all {len(values)} ranks, got {seen}{ending}")


def _named(ranks: Sequence[int]) -> str:
    """Ranks in words.

    >>> _named([1]), _named([1, 3])
    ('rank 1', 'ranks 1, 3')
    """
    listed = ", ".join(map(str, ranks[:8])) + (", …" if len(ranks) > 8 else "")
    return f"rank{'s' if len(ranks) > 1 else ''} {listed}"
