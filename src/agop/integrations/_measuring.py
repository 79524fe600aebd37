"""Shares of a loader for several processes, and what each of them found."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.data import (
    DataLoader,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
)
from torch.utils.data.distributed import DistributedSampler


def exact_shard(loader: Any, rank: int, world: int) -> Any:
    """A loader over this process's share of the same data: in order, each sample once, no padding.

    `DistributedSampler` repeats samples to make shards even, which would count them twice. Loaders of
    iterable data sets, with samplers of one's own or without a batch size are used as they are.
    """
    if (
        not isinstance(loader, DataLoader)
        or isinstance(loader.dataset, IterableDataset)
        or loader.batch_size is None
    ):
        return loader
    sampler = loader.sampler
    if isinstance(sampler, SubsetRandomSampler):
        indices = list(sampler.indices)
    elif type(sampler) in (RandomSampler, SequentialSampler) or isinstance(sampler, DistributedSampler):
        indices = range(len(loader.dataset))  # type: ignore[arg-type, assignment]
    else:
        return loader
    return DataLoader(
        loader.dataset,
        batch_size=loader.batch_size,
        sampler=indices[rank::world],
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
        pin_memory=loader.pin_memory,
        worker_init_fn=loader.worker_init_fn,
        multiprocessing_context=loader.multiprocessing_context,
    )


def gather(value: Any, world: int) -> list[Any]:
    """The value of every process, in the order of ranks."""
    if world == 1 or not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return [value]
    values: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(values, value)
    return values
