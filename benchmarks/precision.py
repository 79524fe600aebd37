"""NC1 of the projected stage of a 20-layer Deep RFM in float32 against float64, same random features; 1,000 images, width 1,024."""

from __future__ import annotations

import sys

import numpy as np
import torch

import agop
from benchmarks._data import images
from benchmarks._harness import record

N, WIDTH, LAYERS, BANDWIDTH = 1000, 1024, 20, 2.0
LOWEST = 1e-7
"""NC1 below which a float32 fit is not asked to follow."""


def collapse(x: np.ndarray, y: np.ndarray, dtype: str, seed: int, ridge: float) -> list[float]:
    """NC1 (trace) of the projected stage, layer by layer."""
    model = agop.DeepRFMClassifier(
        n_layers=LAYERS, width=WIDTH, bandwidth=BANDWIDTH, ridge=ridge, dtype=dtype, random_state=seed
    ).fit(x, y)
    labels = torch.as_tensor(y.astype(np.int64))
    return [float(agop.nc1(agop.ClassMoments.of(view.projected, labels))) for view in model.views(x)]


def compare(x: np.ndarray, y: np.ndarray, seed: int, ridge: float) -> dict[str, object]:
    """Relative differences layer by layer, and the largest among layers above the lowest NC1."""
    single, double = (collapse(x, y, dtype, seed, ridge) for dtype in ("float32", "float64"))
    differences = [abs(a / b - 1) for a, b in zip(single, double, strict=True)]
    counted = [difference for difference, b in zip(differences, double, strict=True) if b > LOWEST]
    return {
        "seed": seed,
        "ridge": ridge,
        "largest": max(counted),
        "layers": len(counted),
        "lowest_nc1": min(double),
        "differences": differences,
    }


def main(*seeds: str) -> None:
    x, y, _, _, source = images(N, 10)
    x = (x - x.mean(0)) / np.where(x.std(0) > 0, x.std(0), 1)
    rows = [compare(x, y, seed, ridge) for ridge in (1e-3, 0.0) for seed in map(int, seeds or (0, 1))]
    for row in rows:
        print(
            f"seed {row['seed']} ridge {row['ridge']:g}: largest difference {row['largest']:.2%} in {row['layers']} layers, "
            f"NC1 down to {row['lowest_nc1']:.2g}",
            flush=True,
        )
    record("precision", {"data": source, "n": N, "rows": rows})


if __name__ == "__main__":
    main(*sys.argv[1:])
