"""Tiles of work whose arrays stay in a core's cache: several at a time, each on one thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch

TileMap = Callable[..., Iterator[Any]]
"""A `map` with results in the order of its inputs."""


@contextmanager
def tile_threads(device: torch.device) -> Iterator[TileMap]:
    """A `map` for tiles: on a CPU as many at a time as torch has threads, on other devices one after another.

    Passes over arrays of some 10⁵ numbers end before torch's own threads have met; tiles need not meet. Results do not depend on the
    number of threads. Gradients are off within tiles.
    """
    workers = torch.get_num_threads() if device.type == "cpu" else 1
    if workers == 1:
        with torch.no_grad():
            yield map
        return
    pool = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield lambda task, *tiles: pool.map(torch.no_grad()(task), *tiles)
    finally:
        pool.shutdown(cancel_futures=True)
        # threads that start later ask for the number that was set last
        torch.set_num_threads(workers)
