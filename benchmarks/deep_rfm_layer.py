"""One Deep RFM layer, 8,000 points, width 1,024, 10 classes, against the procedure of the paper's released scripts.

The procedure, in our words: float32 throughout, squared distances as ‖x‖² + ‖z‖² − 2x·z, an LU solve, the gradients of all outputs as
one tensor contracted by einsum (in batches of rows), the square root of M by an eigendecomposition, and a second fit on the mapped points.
"""

from __future__ import annotations

import math
import time

import numpy as np
import torch

import agop
from agop.kernels.agop import operations
from benchmarks._data import images
from benchmarks._harness import cholesky_rate, matmul_rate, record

N, WIDTH, C, BANDWIDTH, RIDGE = 8000, 1024, 10, 2.0, 1e-3


def _kernel(X: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    squares = X.square().sum(1)
    distances = (squares[:, None] + squares[None] - 2 * X @ X.T).clamp_min(0).sqrt()
    return torch.exp(-distances / BANDWIDTH), distances


def procedure(X: torch.Tensor, Y: torch.Tensor) -> torch.Tensor:
    """M of one layer, the slow way; returns the mapped points of the second fit's kernel machine."""
    K, distances = _kernel(X)
    A = torch.linalg.solve(K + RIDGE * torch.eye(len(X)), Y)
    W = torch.where(distances > 1e-10, -K / (BANDWIDTH * distances), torch.zeros_like(K))
    M = torch.zeros(X.shape[1], X.shape[1])
    for rows in torch.arange(len(X)).split(1000):
        first = torch.einsum("jc,jd->jcd", W[rows] @ A, X[rows])
        second = torch.einsum("ji,ic,id->jcd", W[rows], A, X)
        G = first - second
        M += torch.einsum("jcd,jce->de", G, G)
    values, vectors = torch.linalg.eigh(M / len(X))
    root = vectors @ torch.diag(values.clamp_min(0).sqrt()) @ vectors.T
    K, _ = _kernel(X @ root)
    torch.linalg.solve(K + RIDGE * torch.eye(len(X)), Y)
    return X @ root


def main() -> None:
    x, y, _, _, source = images(N, 10)
    x = (x - x.mean(0)) / np.where(x.std(0) > 0, x.std(0), 1)
    ours = agop.DeepRFMClassifier(
        n_layers=2, width=WIDTH, bandwidth=BANDWIDTH, ridge=RIDGE, random_state=0
    ).fit(x, y)
    seconds = ours.history_[1]["seconds"]
    centers = ours.machine_.centers
    Y = torch.full((N, C), -1.0).scatter_(1, torch.as_tensor(y.astype(np.int64))[:, None], 1.0)
    start = time.perf_counter()
    slow = procedure(centers, Y)
    slow_seconds = time.perf_counter() - start
    single, double = matmul_rate(torch.float32), matmul_rate(torch.float64)
    floor = (
        N * N * WIDTH / double
        + N**3 / 3 / cholesky_rate(torch.float32)
        + operations(N, WIDTH, C)["gram"] / single
    )
    agreement = float((slow - ours.layers_[1].project(centers)).norm() / slow.norm())
    result = {
        "data": source,
        "seconds": seconds,
        "procedure_seconds": slow_seconds,
        "ratio": slow_seconds / seconds,
        "floor_seconds": floor,
        "over_floor": seconds / floor,
        "relative_difference": agreement,
    }
    print({key: round(value, 5) if isinstance(value, float) else value for key, value in result.items()})
    assert math.isfinite(agreement)
    record("deep_rfm_layer", result)


if __name__ == "__main__":
    main()
