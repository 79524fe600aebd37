"""The ten largest eigenpairs of the AGOP of a convolutional network at 224×224×3: d = 150,528, 90 GB as a matrix.

The peer is `scipy.sparse.linalg.eigsh` on the same operator, written with torch.func: jvp and vjp of the whole batch.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor, nn

import agop
from benchmarks._harness import matmul_rate, measure, peak_memory, record

N, SIZE, CLASSES, K = 48, 224, 10, 10
D = 3 * SIZE**2


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 32, 7, stride=4, padding=3),
        nn.ReLU(inplace=True),
        nn.Conv2d(32, 64, 3, stride=2, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(64, 64, 3, stride=2, padding=1),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(4),
        nn.Flatten(),
        nn.Linear(1024, CLASSES),
    ).eval()


def images() -> Tensor:
    return torch.randn(N, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


def ours(max_memory: int = 2**30) -> tuple[Tensor, Tensor]:
    return agop.agop_top(network(), images(), K, max_memory=max_memory)


def ours_stored() -> None:
    ours()


def ours_swept() -> None:
    ours(0)


def peer() -> tuple[Tensor, Tensor]:
    """ARPACK on V -> Jᵀ(J V)/n, one vector at a time."""
    plain = nn.Sequential(*[nn.ReLU() if isinstance(m, nn.ReLU) else m for m in network()])
    X = images()

    def times(v: np.ndarray) -> np.ndarray:
        tangent = torch.from_numpy(v.astype(np.float32)).reshape(1, 3, SIZE, SIZE).expand_as(X)
        _, Jv = torch.func.jvp(plain, (X,), (tangent,))
        _, pull = torch.func.vjp(plain, X)
        return (pull(Jv)[0].sum(0).flatten() / N).detach().numpy()

    operator = LinearOperator((D, D), matvec=times, dtype=np.float32)
    values, vectors = eigsh(operator, k=K, tol=1e-5, v0=np.ones(D, dtype=np.float32))
    return torch.from_numpy(values[::-1].copy()), torch.from_numpy(vectors[:, ::-1].copy())


def peer_run() -> None:
    peer()


def nothing() -> None:
    network()(images()[:1])


def operations() -> float:
    """Forward and c backward passes (as many operations as forward each, weight gradients aside), one sweep."""
    forward = 2 * (56**2 * 32 * 147 + 28**2 * 64 * 288 + 14**2 * 64 * 576 + 1024 * CLASSES)
    return N * forward * (1 + CLASSES)


def main() -> None:
    values, vectors = ours()
    expected, _ = peer()
    error = float((values - expected).norm() / expected.norm())
    stored, swept, theirs = (
        measure(partial(ours, 2**30), repeats=3),
        measure(partial(ours, 0), repeats=1, warmup=0),
        measure(peer, repeats=1, warmup=0),
    )
    base = peak_memory(nothing)
    memory = {"stored": peak_memory(ours_stored) - base, "swept": peak_memory(ours_swept) - base}
    memory["peer"] = peak_memory(peer_run) - base
    rate = matmul_rate(torch.float32)
    floor = operations() / rate
    print(
        f"agop_top(k={K}) at d={D}, n={N}, c={CLASSES}: {stored.median:.2f} s with the gradients kept, {swept.median:.2f} s without; "
        f"ARPACK on jvp and vjp {theirs.median:.2f} s: ratio {theirs.median / stored.median:.1f}; floor of one sweep "
        f"{floor:.2f} s; eigenvalues differ by {error:.1e}; memory "
        + ", ".join(f"{name} {size / 2**20:.0f} MiB" for name, size in memory.items())
    )
    record(
        "gradients_top",
        {
            "stored": stored.as_dict(),
            "swept": swept.as_dict(),
            "peer": theirs.as_dict(),
            "ratio": theirs.median / stored.median,
            "eigenvalue_difference": error,
            "orthogonality": float((vectors.T @ vectors - torch.eye(K)).abs().max()),
            "peak_bytes": memory,
            "operations": operations(),
            "matmul_rate": rate,
            "floor_s": floor,
            "times_floor": stored.median / floor,
        },
    )


if __name__ == "__main__":
    main()
