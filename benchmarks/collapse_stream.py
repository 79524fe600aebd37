"""A stream of 1,000,000 × 512 float32 features: class moments against merely reading and summing it, and the memory."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from agop import ClassMoments
from benchmarks._harness import measure, peak_memory, record

N, D, CLASSES, BATCH = 1_000_000, 512, 10, 10_000


def stream(n: int = N) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of a stream; each is a view into a 400 MB pool, far larger than any cache, so it is read from memory."""
    generator = torch.Generator().manual_seed(0)
    pool = torch.randn(200_000, D, generator=generator)
    labels = torch.randint(0, CLASSES, (200_000,), generator=generator)
    for start in range(0, n, BATCH):
        rows = slice(start % 200_000, start % 200_000 + BATCH)
        yield pool[rows], labels[rows]


def moments_of(batches: Iterator[tuple[Tensor, Tensor]]) -> ClassMoments:
    total = ClassMoments.empty(CLASSES, D)
    for features, labels in batches:
        total = total + ClassMoments.of(features, labels, CLASSES)
    return total


def only_stream() -> None:
    for _ in stream(100_000):
        pass


def short_stream() -> None:
    moments_of(stream(100_000))


def whole_stream() -> None:
    moments_of(stream())


def main() -> None:
    # memory first: a process started by a large one reports that one's peak
    memory = {call.__name__: peak_memory(call) for call in (only_stream, short_stream, whole_stream)}
    print({name: f"{value / 2**20:.0f} MiB" for name, value in memory.items()})
    batches = list(stream())  # views: the pool is held once
    floors = {
        "sum in float32": lambda: [features.sum(0) for features, _ in batches],
        "sum in float64": lambda: [features.sum(0, dtype=torch.float64) for features, _ in batches],
    }
    result = {"rows": N, "peak_memory_bytes": memory}
    threads = torch.get_num_threads()
    for count in sorted({1, threads}):
        torch.set_num_threads(count)
        times = {name: measure(floor, repeats=5) for name, floor in floors.items()}
        ours = measure(lambda: moments_of(iter(batches)), repeats=5)
        ratios = {name: ours.minimum / floor.minimum for name, floor in times.items()}
        for name, floor in times.items():
            print(f"{count} threads: {name} {floor.median * 1e3:.0f} ms (from {floor.minimum * 1e3:.0f})")
        print(
            f"  class moments {ours.median * 1e3:.0f} ms (from {ours.minimum * 1e3:.0f}); times the floor: {ratios}"
        )
        result[f"threads_{count}"] = {
            "class_moments": ours.as_dict(),
            "floors": {name: floor.as_dict() for name, floor in times.items()},
            "times_the_floor": ratios,
        }
    torch.set_num_threads(threads)
    record("collapse_stream", result)


if __name__ == "__main__":
    main()
