"""AGOP of an MLP 784-512×5-10 with respect to its input, n = 10,000, c = 10, against vmap(jacrev). Goal: 2 times faster."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

import agop
from benchmarks._harness import matmul_rate, measure, record
from benchmarks.gradients_layers import CLASSES, HIDDEN, WIDTH, D, N, data, mlp

PEER_CHUNKS = (250, 1_000, N)


def jacobians(model: nn.Sequential, X: Tensor, chunk: int) -> Tensor:
    """The peer: per-sample Jacobians in chunks, then their outer products."""
    plain = nn.Sequential(*[nn.ReLU() if isinstance(m, nn.ReLU) else m for m in model])
    jacobian = torch.func.vmap(torch.func.jacrev(plain))
    total = torch.zeros(D, D)
    for block in X.split(chunk):
        J = jacobian(block).detach()
        total += torch.einsum("nci,ncj->ij", J, J)
    return total / len(X)


def operations() -> float:
    """Forward, c backward passes to the first layer's output, symmetric outer products there."""
    forward = D * WIDTH + (HIDDEN - 1) * WIDTH**2 + WIDTH * CLASSES
    backward = CLASSES * ((HIDDEN - 1) * WIDTH**2 + WIDTH * CLASSES)
    return N * (2 * forward + 2 * backward + CLASSES * WIDTH**2)


def main() -> None:
    model, X = mlp(), data()
    ours = agop.agop(model, X)
    error = float((jacobians(model, X, 1_000) - ours).norm() / ours.norm())
    fast = measure(partial(agop.agop, model, X), repeats=3)
    peers = {chunk: measure(partial(jacobians, model, X, chunk), repeats=3) for chunk in PEER_CHUNKS}
    rate = matmul_rate(torch.float32)
    floor = operations() / rate
    ratios = {chunk: peer.median / fast.median for chunk, peer in peers.items()}
    print(
        f"agop at c={CLASSES}, n={N}: {fast.median:.2f} s, floor {floor:.2f} s ({fast.median / floor:.1f}×); "
        + "; ".join(
            f"vmap(jacrev) in chunks of {c}: {peers[c].median:.2f} s, ratio {ratios[c]:.1f}" for c in peers
        )
        + f"; difference {error:.1e}"
    )
    record(
        "gradients_input",
        {
            "ours": fast.as_dict(),
            "peers_by_chunk": {str(chunk): peer.as_dict() for chunk, peer in peers.items()},
            "ratios_by_chunk": {str(chunk): ratio for chunk, ratio in ratios.items()},
            "relative_difference": error,
            "operations": operations(),
            "matmul_rate": rate,
            "floor_s": floor,
            "times_floor": fast.median / floor,
        },
    )


if __name__ == "__main__":
    main()
