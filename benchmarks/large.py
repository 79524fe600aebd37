"""All 60,000 images of Fashion-MNIST: one exact Deep RFM layer within 20 GB, and a 3-iteration RFM with its test accuracy. Long.

AGOP_BENCHMARK_ROOT names the folder of torchvision's files, AGOP_BENCHMARK_N fewer points. `python -m benchmarks.large [layer] [rfm]`.
"""

from __future__ import annotations

import os
import sys
import time

import numpy as np

import agop
from agop.datasets import load
from benchmarks._harness import PAPER, record, resident

N = int(os.environ.get("AGOP_BENCHMARK_N", 60_000))
LIMIT = "20GB"


def data() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Pixels in [0, 1], flattened, and labels."""
    loaded = load("fashion-mnist", root=os.environ["AGOP_BENCHMARK_ROOT"], n_train=N)
    x, x_test = (
        np.asarray(part, dtype=np.float32).reshape(len(part), -1) / 255
        for part in (loaded.x_train, loaded.x_test)
    )
    return x, np.asarray(loaded.y_train), x_test, np.asarray(loaded.y_test)


def layer() -> None:
    """Standardised pixels, one layer with 1,024 ReLU features."""
    x, y, x_test, y_test = data()
    mean, scale = x.mean(0), np.where(x.std(0) > 0, x.std(0), 1)
    x, x_test = (x - mean) / scale, (x_test - mean) / scale
    before, start = resident("VmRSS"), time.perf_counter()
    model = agop.DeepRFMClassifier(n_layers=1, width=1024, max_memory=LIMIT, random_state=0).fit(x, y)
    result = {
        "n": len(x),
        "seconds": time.perf_counter() - start,
        "peak_bytes": resident("VmHWM"),
        "before_bytes": before,
        "test_accuracy": float(model.score(x_test, y_test)),
        "history": model.history_,
    }
    print(result, flush=True)
    record("large_layer", result)


def rfm() -> None:
    """Three iterations, Laplace kernel, bandwidth 5 (the best of 5, 10, 20 at 5,000 points); the iterative solver keeps all of K."""
    x, y, x_test, y_test = data()
    accuracies: list[float] = []
    start = time.perf_counter()
    options = {"bandwidth": 5.0, "ridge": 1e-3, "n_iter": 3, "max_memory": LIMIT, "random_state": 0}
    model = agop.RFMClassifier(solver="cg", **options, **PAPER)

    def tell(index: int, count: int, entry: dict) -> None:
        accuracies.append(float(model.score(x_test, y_test)))
        result = {
            "n": len(x),
            "seconds": time.perf_counter() - start,
            "peak_bytes": resident("VmHWM"),
            "test_accuracies": accuracies,
            "history": model.history_,
        }
        print(index + 1, "of", count, result, flush=True)
        record("large_rfm", result)

    model.fit(x, y, callback=tell)


def main(*parts: str) -> None:
    for name in parts or ("layer", "rfm"):
        {"layer": layer, "rfm": rfm}[name]()


if __name__ == "__main__":
    main(*sys.argv[1:])
