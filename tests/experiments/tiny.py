"""A reproduction small enough for a test, here and in other processes."""

from __future__ import annotations

import sys
from pathlib import Path

from agop.experiments import presets
from agop.experiments.presets import Preset
from agop.experiments.reproduce import Reproduction, Request, reproduce

TINY = Preset(
    data=("digits",), points=120, layers=4, width=32, control_points=100, deep_points=80, deep_layers=4, theory_points=40,
    per_class=2, network_points=100, network_width=12, epochs=2,
)  # fmt: skip


def shrink() -> None:
    """Make the preset "smoke" of this process tiny."""
    presets.PRESETS["smoke"] = TINY
    presets._WIDTHS[:] = [100, 200, 400]
    presets._SHIFTS[:] = [[0.01, 0.1], [0.1, 0.1], [1.0, 0.1]]


def tiny(out: Path, experiment: str = "all", seeds: tuple[int, ...] = (0,), **more) -> Reproduction:
    shrink()
    return reproduce(Request(experiment=experiment, seeds=seeds, **({"jobs": 1} | more)), out)


def numbers(out: Path) -> dict[str, bytes]:
    """Every table and verdict, with the bytes of the file."""
    files = [*out.rglob("*.csv"), *out.rglob("*.npz"), out / "verdicts.json"]
    return {str(file.relative_to(out)): file.read_bytes() for file in files if file.parent.name != "network"}


if __name__ == "__main__":
    tiny(Path(sys.argv[1]), sys.argv[2], tuple(int(seed) for seed in sys.argv[3].split(",")))
