"""Profile of a torchvision ResNet-18 over a loader against its plain forward pass, and its memory against n.

NC1 (trace) at all three stages of all 21 layers, 10 classes, images 3 × 224 × 224 in batches of 32. The rates are those of the same process
and interleaved; memory is that of fresh processes.
"""

from __future__ import annotations

import statistics
import time
from functools import partial

import torch

import agop
from benchmarks._harness import peak_memory, record

BATCH, SIDE, CLASSES = 32, 224, 10
REPEATS = 3


class Images:
    """A loader that makes every batch afresh, so that the data take no memory."""

    def __init__(self, batches: int, batch: int = BATCH, side: int = SIDE) -> None:
        self.batches, self.batch, self.side = batches, batch, side

    def __iter__(self):
        generator = torch.Generator().manual_seed(0)
        for index in range(self.batches):
            x = torch.randn(self.batch, 3, self.side, self.side, generator=generator)
            yield x, (torch.arange(self.batch) + index) % CLASSES


def network() -> torch.nn.Module:
    import torchvision

    with torch.random.fork_rng():
        torch.manual_seed(0)
        return torchvision.models.resnet18(num_classes=CLASSES).eval()


def seconds(call) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


@torch.no_grad()
def forward(model, loader) -> None:
    for x, _ in loader:
        model(x)


def profiled(batches: int, pool: str, side: int = 64) -> None:
    agop.profile(agop.Network(network(), pool=pool), Images(batches, BATCH, side), measures=["nc1"])


def main() -> None:
    model, loader = network(), Images(2)
    calls = {
        "forward": lambda: forward(model, loader),
        "mean": lambda: agop.profile(agop.Network(model, pool="mean"), loader, measures=["nc1"]),
        "flatten": lambda: agop.profile(agop.Network(model, pool="flatten"), loader, measures=["nc1"]),
    }
    times: dict[str, list[float]] = {name: [] for name in calls}
    for repeat in range(REPEATS + 1):
        for name, call in calls.items():
            taken = seconds(call)
            if repeat:
                times[name].append(taken)
    ratios = {
        name: statistics.median(a / b for a, b in zip(times[name], times["forward"], strict=True))
        for name in ("mean", "flatten")
    }
    print({name: [round(t, 2) for t in ts] for name, ts in times.items()}, "ratios", ratios)
    memory = {
        f"{pool}, n = {BATCH * batches}": peak_memory(partial(profiled, batches, pool)) / 2**20
        for pool in ("mean", "flatten")
        for batches in (2, 8)
    }
    print("peak MiB", {name: round(value) for name, value in memory.items()})
    record(
        "profile_network",
        {
            "seconds": times,
            "ratio_to_forward": ratios,
            "limits": {"mean": 1.3, "flatten": 3.0},
            "peak_mib_64px": memory,
        },
    )


if __name__ == "__main__":
    main()
