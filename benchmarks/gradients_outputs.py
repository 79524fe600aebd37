"""Random outputs on a 1,000-class head: `outputs=32` against all 1,000, with the error it reports. Goal: 20 times faster."""

from __future__ import annotations

from functools import partial
from time import perf_counter

import torch
from torch import nn

import agop
from benchmarks._harness import matmul_rate, measure, record

N, D, WIDTH, CLASSES, DRAWS = 512, 512, 512, 1_000, 32


def main() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(D, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, CLASSES)
    ).eval()
    X = torch.randn(N, D)
    start = perf_counter()
    exact = agop.agop(model, X)
    slow = perf_counter() - start
    start = perf_counter()
    layers = agop.layer_agops(model, X)
    slow_layers = perf_counter() - start
    moments, sketched = (
        agop.AGOPMoments.of(model, X, outputs=DRAWS),
        agop.layer_agops(model, X, outputs=DRAWS),
    )
    error = float((moments.agop - exact).norm() / exact.norm())
    errors = {name: float((sketched[name] - A).norm() / A.norm()) for name, A in layers.items()}
    fast = measure(partial(agop.agop, model, X, outputs=DRAWS))
    fast_layers = measure(partial(agop.layer_agops, model, X, outputs=DRAWS))
    per_pass = 2 * (WIDTH * CLASSES + WIDTH**2) + WIDTH**2
    operations = N * (2 * (D * WIDTH + WIDTH**2 + WIDTH * CLASSES) + DRAWS * per_pass)
    rate = matmul_rate(torch.float32)
    ratio, ratio_layers = slow / fast.median, slow_layers / fast_layers.median
    print(
        f"outputs={DRAWS} of {CLASSES}, n={N}: agop {fast.median:.3f} s against {slow:.2f} s, ratio {ratio:.1f}; "
        f"layers {fast_layers.median:.3f} s against {slow_layers:.2f} s, ratio {ratio_layers:.1f}; floor "
        f"{operations / rate:.3f} s; error {error:.4f}, told {moments.standard_error:.4f}; layers "
        + ", ".join(f"{e:.4f} (told {sketched.standard_error[name]:.4f})" for name, e in errors.items())
    )
    record(
        "gradients_outputs",
        {
            "exact_s": slow,
            "random": fast.as_dict(),
            "ratio": ratio,
            "layers_exact_s": slow_layers,
            "layers_random": fast_layers.as_dict(),
            "layers_ratio": ratio_layers,
            "relative_error": error,
            "standard_error": moments.standard_error,
            "layer_relative_errors": errors,
            "layer_standard_errors": sketched.standard_error,
            "operations": operations,
            "matmul_rate": rate,
            "floor_s": operations / rate,
            "times_floor": fast.median / (operations / rate),
        },
    )


if __name__ == "__main__":
    main()
