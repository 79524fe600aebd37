"""ConvRFM on images of 28 × 28: kernel matrices and patch AGOPs of n images against their floors, autograd, and growth.

`python -m benchmarks.conv_rfm [n]`; n is 2,000 unless it is given. The peer of the AGOP is what the released script does, in our words: the
kernel's recursion with cosines, autograd of every output at 20 images (what is not finite set to 0), scaled to all.

The floor of the kernel matrix is what its passes cost on arrays that stay in the cache: for every pair of images, position and layer one
arc sine, two roots, seventeen products or sums, and one entry of a float64 matrix product of length q² + 1, each timed here by itself.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional

from agop.kernels import Laplace
from agop.kernels.cntk import CNTK
from agop.kernels.patch_agop import patch_agop
from agop.kernels.patch_gram import fill_patch_matrix
from agop.kernels.patch_kernel import ENTRIES, Metric, PatchKernel
from agop.kernels.patch_radial import PatchAverage
from agop.kernels.patches import PatchGrid
from benchmarks._data import images
from benchmarks._harness import measure, record, resident

DEPTH, Q, C, AT = 3, 3, 10, 20
PASSES = {"asin": 1, "sqrt": 2, "mul": 17}


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def floor(n: int, grid: PatchGrid) -> float:
    """Seconds of the passes and products of a kernel matrix of n images."""
    size = ENTRIES["cpu"]
    x, y = torch.rand(2, size)
    out = torch.empty(size)
    positions = sum(height * width for height, width in grid.sides(DEPTH))
    passes = {
        "asin": measure(lambda: torch.asin(x, out=out), repeats=50),
        "sqrt": measure(lambda: torch.sqrt(x, out=out), repeats=50),
        "mul": measure(lambda: torch.mul(x, y, out=out), repeats=50),
    }
    each = sum(PASSES[name] * timing.median for name, timing in passes.items())
    left = torch.rand(676, 16, Q * Q + 1, dtype=torch.float64)
    right = torch.rand(676, Q * Q + 1, 24, dtype=torch.float64)
    product = torch.empty(676, 16, 24, dtype=torch.float64)
    each += measure(lambda: torch.bmm(left, right, out=product), repeats=50).median * size / product.numel()
    return each / size * positions * n * (n + 1) / 2


def released(X: torch.Tensor, A: torch.Tensor, grid: PatchGrid) -> torch.Tensor:
    """The sum of outer products of gradients by patches at the first `AT` images, by autograd."""
    patches = grid.patches(X).transpose(0, 1)
    sides = grid.sides(DEPTH)

    def box(values: torch.Tensor, level: int) -> torch.Tensor:
        maps = values.view(-1, 1, *sides[level])
        return functional.avg_pool2d(maps, Q, stride=1).mul(Q * Q).flatten(1)

    def value(z: torch.Tensor) -> torch.Tensor:
        S, s, r = (patches * z).sum(2), patches.square().sum(2), z.square().sum(1)[None]
        T = S
        for level in range(DEPTH):
            norms = (s * r).sqrt()
            t = S / norms
            angle = torch.acos(t)
            on = (math.pi - angle) / math.pi
            S, T = norms * (t * (math.pi - angle) + (1 - t * t).sqrt()) / math.pi, T * on
            if level + 1 < DEPTH:
                S, T, s, r = (box(values, level) for values in (S, T, s, r))
                T = S + T
        return (S + T).mean(1) @ A

    summed = torch.zeros(grid.features, grid.features)
    for j in range(AT):
        z = patches[j].clone().requires_grad_(True)
        f = value(z)
        for output in f:
            (G,) = torch.autograd.grad(output, z, retain_graph=True)
            G = G.nan_to_num(0, 0, 0)
            summed += G.mT @ G
    return summed


def fitted(kernel: PatchKernel, X: torch.Tensor, y: torch.Tensor, grid: PatchGrid) -> tuple[float, float]:
    """Seconds of the kernel matrix and of the AGOP."""
    n, metric = len(X), Metric(None, X.mean(0))
    K = torch.empty(n, n, dtype=torch.float64)
    first = seconds(lambda: fill_patch_matrix(kernel, X, grid, metric, K))
    full = K.tril() + K.tril(-1).mT
    full.diagonal().add_(1e-3 * full.max())
    A = torch.linalg.solve(full, 2.0 * functional.one_hot(y, C).double() - 1).float()
    return first, seconds(lambda: patch_agop(kernel, X, grid, metric, A))


def main() -> None:
    n = int(sys.argv[1]) if len(sys.argv) > 1 and sys.argv[1].isdigit() else 2000
    x, labels, _, _, source = images(n, 10)
    X, y = torch.from_numpy(x), torch.from_numpy(labels.astype("int64"))
    grid = PatchGrid(1, 28, 28, Q)
    fitted(CNTK(DEPTH), X[:200], y[:200], grid)
    before = resident("VmRSS")
    matrix, agop = fitted(CNTK(DEPTH), X, y, grid)
    beside = resident("VmHWM") - before - 2 * 8 * n * n
    laplace, laplace_agop = fitted(PatchAverage(Laplace(2.0)), X, y, grid)
    A = torch.randn(n, C, generator=torch.Generator().manual_seed(0)) / n
    peer = seconds(lambda: released(X, A, grid)) * n / AT
    least = floor(n, grid)
    result: dict[str, Any] = {
        "data": source,
        "n": n,
        "kernel_seconds": matrix,
        "floor_seconds": least,
        "over_floor": matrix / least,
        "agop_seconds": agop,
        "agop_over_kernel": agop / matrix,
        "autograd_seconds_scaled": peer,
        "ratio": peer / agop,
        "laplace_kernel_seconds": laplace,
        "laplace_agop_seconds": laplace_agop,
        "bytes_beside_kernel": beside,
        "growth": growth(X, y),
    }
    for key, value in result.items():
        print(f"{key}: {round(value, 4) if isinstance(value, float) else value}")
    record("conv_rfm", result)


def growth(X: torch.Tensor, y: torch.Tensor) -> dict[str, Any]:
    """Seconds of kernel matrix and AGOP for fewer images, and for smaller ones; exponents between the two largest."""
    found: dict[str, Any] = {"images": {}, "positions": {}}
    for n in (len(X) // 8, len(X) // 4, len(X) // 2):
        found["images"][n] = fitted(CNTK(DEPTH), X[:n], y[:n], PatchGrid(1, 28, 28, Q))
    n = len(X) // 4
    for side in (10, 16, 28):
        small = functional.interpolate(X[:n].view(-1, 1, 28, 28), side).flatten(1)
        grid = PatchGrid(1, side, side, Q)
        found["positions"][sum(h * w for h, w in grid.sides(DEPTH))] = fitted(CNTK(DEPTH), small, y[:n], grid)
    for name in ("images", "positions"):
        (few, fast), (many, slow) = list(found[name].items())[-2:]
        found[f"exponents_{name}"] = [
            round(math.log(b / a) / math.log(many / few), 2) for a, b in zip(fast, slow, strict=True)
        ]
    return found


if __name__ == "__main__":
    main()
