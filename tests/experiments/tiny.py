"""A reproduction small enough for a test, here and in other processes."""

from __future__ import annotations

import sys
from pathlib import Path

from agop.experiments.reproduce import Reproduction, Request, reproduce
from agop.experiments.studies.beaglehole2024 import AMOUNTS, Amounts

TINY = Amounts(
    points=120, layers=4, width=32, control_points=100, deep_points=80, deep_layers=4, theory_points=40,
    per_class=2, network_points=100, network_width=12, epochs=2, widths=(100, 200, 400),
    shifts=((0.01, 0.1), (0.1, 0.1), (1.0, 0.1)),
)  # fmt: skip


def shrink() -> None:
    """Make the preset "smoke" of this process tiny."""
    AMOUNTS["smoke"] = TINY


def tiny(out: Path, study: str = "beaglehole2024", seeds: tuple[int, ...] = (0,), **more) -> Reproduction:
    shrink()
    return reproduce(Request(studies=(study,), seeds=seeds, **({"jobs": 1} | more)), out)


def numbers(out: Path) -> dict[str, bytes]:
    """Every table and verdict, with the bytes of the file."""
    files = [*out.rglob("*.csv"), *out.rglob("*.npz"), out / "verdicts.json"]
    return {str(file.relative_to(out)): file.read_bytes() for file in files if file.parent.name != "network"}


if __name__ == "__main__":
    tiny(Path(sys.argv[1]), sys.argv[2], tuple(int(seed) for seed in sys.argv[3].split(",")))
