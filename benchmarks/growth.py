"""Time and memory of a Deep RFM fit against points n, features d, outputs c and layers L, each in a fresh process; exponents.

`python -m benchmarks.growth` measures; the picture in the documentation is drawn by `python -m benchmarks.growth plot`.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import sys
import time
from pathlib import Path
from typing import Any

import torch

import agop
from benchmarks._harness import RESULTS, record, resident

BASE = {"n": 4000, "d": 256, "c": 10, "L": 1}
SWEEPS: dict[str, tuple[int, ...]] = {
    "n": (1000, 2000, 4000, 8000, 16000),
    "d": (64, 128, 256, 512, 1024),
    "c": (1, 4, 16, 64, 256),
    "L": (1, 2, 4, 8, 16),
}
OF_LAYERS = 1000
"""Points in the sweep over layers."""
PICTURE = Path(__file__).parents[1] / "docs" / "_static" / "growth.svg"


def _fit(n: int, d: int, c: int, L: int) -> agop.DeepRFMRegressor:
    generator = torch.Generator().manual_seed(0)
    X, Y = torch.randn(n, d, generator=generator), torch.randn(n, c, generator=generator)
    return agop.DeepRFMRegressor(n_layers=L, width=d, random_state=0).fit(X, Y)


def _measured(size: dict[str, int], queue: Any) -> None:
    _fit(300, size["d"], size["c"], 1)
    before, seconds = resident("VmRSS"), []
    while len(seconds) < 3 and sum(seconds) < 5:
        start = time.perf_counter()
        model = _fit(**size)
        seconds.append(time.perf_counter() - start)
    route = model.history_[0]["agop_route"]
    queue.put({"seconds": min(seconds), "bytes": resident("VmHWM") - before, "route": route})


def measured(size: dict[str, int]) -> dict[str, Any]:
    """Seconds (the best of up to three) and bytes by which the peak of the process grew."""
    context = multiprocessing.get_context("spawn")
    queue = context.SimpleQueue()
    process = context.Process(target=_measured, args=(size, queue))
    process.start()
    result = queue.get()
    process.join()
    return result


def exponent(sizes: list[int], values: list[float]) -> float:
    """The slope between the two largest sizes, in logarithms."""
    return math.log(values[-1] / values[-2]) / math.log(sizes[-1] / sizes[-2])


def main() -> None:
    result: dict[str, Any] = {}
    for name, sizes in SWEEPS.items():
        base = BASE | ({"n": OF_LAYERS} if name == "L" else {})
        rows = [{name: size, **measured(base | {name: size})} for size in sizes]
        exponents = {key: exponent(list(sizes), [row[key] for row in rows]) for key in ("seconds", "bytes")}
        result[name] = {"base": base, "rows": rows, "exponents": exponents}
        print(
            name,
            exponents,
            [(row[name], round(row["seconds"], 3), row["bytes"] >> 20) for row in rows],
            flush=True,
        )
    record("growth", result)


def plot() -> None:
    """Draw what was measured: seconds above peak memory, one column a variable, the same axis along each row."""
    import matplotlib.pyplot as plt

    result = json.loads((RESULTS / "growth.json").read_text())["result"]
    names = {"n": "points n", "d": "features d", "c": "outputs c", "L": "layers L"}
    rows = (("seconds", "seconds", 1, "#0b62a4"), ("bytes", "peak memory, MiB", 2**20, "#b04a00"))
    figure, axes = plt.subplots(2, 4, figsize=(10, 5), layout="constrained", sharex="col", sharey="row")
    for along, (key, label, scale, colour) in zip(axes, rows, strict=True):
        along[0].set_ylabel(label)
        for axis, (name, sweep) in zip(along, result.items(), strict=True):
            sizes = [row[name] for row in sweep["rows"]]
            values = [row[key] / scale for row in sweep["rows"]]
            axis.loglog(sizes, values, color=colour, marker="o", markersize=4)
            slope = round(sweep["exponents"][key], 1) + 0.0  # no −0
            axis.set_title(f"~ ${name}^{{{slope:.1f}}}$", fontsize=10)
            axis.set_xticks(sizes, [f"{size:,}" for size in sizes], fontsize=8)
            axis.tick_params(axis="x", which="minor", bottom=False)
            axis.grid(axis="y", linewidth=0.4, alpha=0.5)
    for axis, name in zip(axes[1], result, strict=True):
        axis.set_xlabel(names[name])
    PICTURE.parent.mkdir(exist_ok=True)
    figure.savefig(PICTURE, metadata={"Date": None})
    plt.close(figure)


if __name__ == "__main__":
    plot() if sys.argv[1:] == ["plot"] else main()
