"""AGOP at the five hidden layers of an MLP 784-512×5-10, n = 10,000: one sweep against vmap(jacrev) layer by layer.

Goals: at least 6 times faster than the peer, equal to 1e-5, at most a quarter of its peak memory.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn

import agop
from agop.gradients.accumulate import add_outer
from benchmarks._harness import matmul_rate, measure, peak_memory, record

N, D, WIDTH, HIDDEN, CLASSES = 10_000, 784, 512, 5, 10
PEER_CHUNKS = (250, 1_000, N)
MAIN_CHUNK = 1_000


def mlp() -> nn.Sequential:
    """Five hidden layers without bias, ReLU in place, as in the paper."""
    torch.manual_seed(0)
    widths = [D] + [WIDTH] * HIDDEN
    layers: list[nn.Module] = []
    for a, b in pairwise(widths):
        layers += [nn.Linear(a, b, bias=False), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.Linear(WIDTH, CLASSES, bias=False)).eval()


def data(n: int = N) -> Tensor:
    return torch.randn(n, D, generator=torch.Generator().manual_seed(1))


HIDDEN_NAMES = [str(2 * i) for i in range(HIDDEN)]


def one_sweep(model: nn.Sequential, X: Tensor) -> dict[str, Tensor]:
    return agop.layer_agops(model, X, HIDDEN_NAMES)


def layer_by_layer(model: nn.Sequential, X: Tensor, chunk: int = MAIN_CHUNK) -> dict[str, Tensor]:
    """The peer: per-sample Jacobians of the rest of the network, chunk by chunk, for each layer on its own."""
    agops = {}
    for index in range(HIDDEN):
        rest = nn.Sequential(*[nn.ReLU() if isinstance(m, nn.ReLU) else m for m in model[2 * index :]])
        jacobian = torch.func.vmap(torch.func.jacrev(rest))
        with torch.no_grad():
            h = model[: 2 * index](X.clone())
        total = torch.zeros(h.shape[1], h.shape[1])
        for block in h.split(chunk):
            J = jacobian(block).detach()
            total += torch.einsum("nci,ncj->ij", J, J)
        agops[str(2 * index)] = total / len(X)
    return agops


def run_sweep() -> None:
    one_sweep(mlp(), data())


def run_peer() -> None:
    layer_by_layer(mlp(), data())


def run_neither() -> None:
    mlp()(data(8))
    data()


def peer_operations() -> float:
    """What the peer does: for every layer a forward and c backward passes of the rest, and full outer products."""
    matrices = [D * WIDTH] + [WIDTH**2] * (HIDDEN - 1) + [WIDTH * CLASSES]
    tails = sum(sum(matrices[index:]) for index in range(HIDDEN))
    return 2.0 * N * ((1 + CLASSES) * tails + CLASSES * (D**2 + (HIDDEN - 1) * WIDTH**2))


def floor_operations() -> dict[str, float]:
    """Multiplications and additions that cannot be left out: forward, c backward passes, symmetric outer products."""
    forward = 2 * N * (D * WIDTH + (HIDDEN - 1) * WIDTH**2 + WIDTH * CLASSES)
    backward = CLASSES * 2 * N * ((HIDDEN - 1) * WIDTH**2 + WIDTH * CLASSES)
    outer = CLASSES * HIDDEN * N * WIDTH**2
    return {"forward": forward, "backward": backward, "outer": outer}


def autograd_alone(model: nn.Sequential, X: Tensor, *, outer: bool) -> None:
    """One forward and c backward passes to the hidden layers by plain autograd; with `outer` the sums of outer products too."""
    totals = [torch.zeros(WIDTH, WIDTH) for _ in range(HIDDEN)]
    for x in X.split(MAIN_CHUNK):
        h, taps = x, []
        for part in model:
            h = nn.functional.relu(h) if isinstance(part, nn.ReLU) else part(h)
            if isinstance(part, nn.Linear) and len(taps) < HIDDEN:
                h = h if taps else h.detach().requires_grad_()
                taps.append(h)
        for index in range(CLASSES):
            one = torch.zeros_like(h)
            one[:, index] = 1
            for total, gradient in zip(totals, torch.autograd.grad(h, taps, one, retain_graph=True)):
                if outer:
                    add_outer(total, gradient)


def against_autograd(n: int = 4_000, repeats: int = 5) -> dict[str, float]:
    """How much processor time a sweep takes of that of plain autograd, without and with the outer products, run in turn."""
    model, X = mlp().requires_grad_(False), data(n)
    calls = [
        partial(one_sweep, model, X),
        *(partial(autograd_alone, model, X, outer=outer) for outer in (False, True)),
    ]
    times = [[processor_seconds(call) for call in calls] for _ in range(repeats + 1)][1:]
    return {
        name: statistics.median(row[0] / row[place] for row in times)
        for place, name in ((1, "of forward and backward"), (2, "of these and outer products"))
    }


def processor_seconds(call: Callable[[], object]) -> float:
    """Processor time of one call: what a busy machine cannot change much."""
    start = time.process_time()
    call()
    return time.process_time() - start


def main() -> None:
    model, X = mlp(), data()
    ours, theirs = one_sweep(model, X), layer_by_layer(model, X)
    error = max(float((ours[name] - A).norm() / A.norm()) for name, A in theirs.items())
    fast = measure(partial(one_sweep, model, X), repeats=3)
    slow = {c: measure(partial(layer_by_layer, model, X, c), repeats=1, warmup=0) for c in PEER_CHUNKS}
    processor = (
        processor_seconds(partial(one_sweep, model, X)),
        processor_seconds(partial(layer_by_layer, model, X)),
    )
    autograd = against_autograd()
    rate = matmul_rate(torch.float32)
    floor = sum(floor_operations().values()) / rate
    base = peak_memory(run_neither)
    memory, peer_memory = peak_memory(run_sweep) - base, peak_memory(run_peer) - base
    ratios = {chunk: peer.median / fast.median for chunk, peer in slow.items()}
    result = {
        "one_sweep": fast.as_dict(),
        "peers_by_chunk": {str(chunk): peer.as_dict() for chunk, peer in slow.items()},
        "ratios_by_chunk": {str(chunk): ratio for chunk, ratio in ratios.items()},
        "processor_seconds": {"one_sweep": processor[0], f"peer in chunks of {MAIN_CHUNK}": processor[1]},
        "processor_ratio": processor[1] / processor[0],
        "largest_relative_difference": error,
        "processor_time_times_autograd": autograd,
        "peak_bytes": memory,
        f"peer_peak_bytes_in_chunks_of_{MAIN_CHUNK}": peer_memory,
        "memory_share": memory / peer_memory,
        "operations": floor_operations(),
        "peer_operations": peer_operations(),
        "operations_ratio": peer_operations() / sum(floor_operations().values()),
        "matmul_rate": rate,
        "floor_s": floor,
        "times_floor": fast.median / floor,
    }
    print(
        f"layer AGOPs, 5 hidden layers, n={N}: {fast.median:.2f} s, floor {floor:.2f} s ({fast.median / floor:.1f}×); "
        + "; ".join(f"peer in chunks of {c}: {slow[c].median:.2f} s, ratio {ratios[c]:.1f}" for c in slow)
        + f"; processor time ratio {result['processor_ratio']:.1f}, operations {result['operations_ratio']:.1f}; "
        f"difference {error:.1e}; memory {memory / 2**20:.0f} MiB against {peer_memory / 2**20:.0f} MiB "
        f"({result['memory_share']:.2f})"
    )
    record("gradients_layers", result)


if __name__ == "__main__":
    main()
