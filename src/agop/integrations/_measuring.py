"""What a measurement in the middle of training must leave as it was: random state and module modes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor, nn
from torch.utils.data import (
    DataLoader,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
)
from torch.utils.data.distributed import DistributedSampler


@contextmanager
def measuring(module: nn.Module, *loaders: Iterable[Any]) -> Iterator[None]:
    """Evaluation mode without gradients; modes and all random state come back, also after an error."""
    modes = {part: part.training for part in module.modules()}
    generators = [
        generator
        for loader in loaders
        for holder in (loader, getattr(loader, "sampler", None), getattr(loader, "batch_sampler", None))
        if isinstance(generator := getattr(holder, "generator", None), torch.Generator)
    ]
    states = [generator.get_state() for generator in generators]
    isolation = isolate_rng()
    isolation.__enter__()
    try:
        module.eval()
        with torch.no_grad():
            yield
    finally:
        # isolate_rng restores only on an exit without an error
        isolation.__exit__(None, None, None)
        for generator, state in zip(generators, states, strict=True):
            generator.set_state(state)
        for part, mode in modes.items():
            part.training = mode


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


def as_rows(features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Samples as rows: images are flattened; positions that have a label each (tokens) become samples."""
    if labels.ndim > 1 and features.shape[: labels.ndim] == labels.shape:
        return features.reshape(labels.numel(), -1), labels.reshape(-1)
    return features.reshape(len(features), -1), labels
