"""RFM on 5,000 images of 10 classes, 3 iterations, beside xrfm in the same process: time and accuracy, 3 bandwidths, 3 draws."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch

import agop
from agop.kernels.agop import operations
from benchmarks._data import images
from benchmarks._harness import matmul_rate, record

BANDWIDTHS, DRAWS = (1.0, 3.0, 10.0), 3
N, N_TEST, ITERATIONS, RIDGE = 5000, 2000, 3, 1e-3
OURS = {"ridge": RIDGE, "n_iter": ITERATIONS, "scaling": "none"}
"""Both take the pixels as they are."""


def _peer(x: torch.Tensor, Y: torch.Tensor, bandwidth: float) -> object:
    from xrfm.rfm_src import RFM

    model = RFM(kernel="l2", bandwidth=bandwidth, iters=ITERATIONS, device="cpu", verbose=False)
    # no early stop and the last iterate, so that both do the same work; its validation set is as small as it may be
    model.fit(
        (x, Y), (x[:10], Y[:10]), reg=RIDGE, iters=ITERATIONS, return_best_params=False, early_stop_rfm=False
    )
    return model


def _timed(call: Any) -> tuple[Any, float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    result = call()
    return result, time.perf_counter() - wall, time.process_time() - cpu


def floor_seconds(history: list[dict], n: int, c: int) -> float:
    """Operations of the steps that were taken over this machine's matrix-product rates."""
    single, double = matmul_rate(torch.float32), matmul_rate(torch.float64)
    seconds = 0.0
    for entry in history:
        d = entry["dimensions"]
        seconds += n * n * d / double + n**3 / 3 / single
        if entry["agop_route"]:
            seconds += operations(n, d, c)[entry["agop_route"]] / single
    return seconds


def main() -> None:
    x, y, x_test, y_test, source = images(2 * N, N_TEST)
    pool, labels = np.concatenate([x, x_test]), np.concatenate([y, y_test]).astype(np.int64)
    rows = []
    for draw in range(DRAWS):
        order = np.random.default_rng(draw).permutation(len(pool))
        fit, held = order[:N], order[N : N + N_TEST]
        for bandwidth in BANDWIDTHS:
            rows.append(
                {"draw": draw, **compared(pool[fit], labels[fit], pool[held], labels[held], bandwidth)}
            )
            print(
                {key: round(v, 4) if isinstance(v, float) else v for key, v in rows[-1].items()}, flush=True
            )
    gains = {
        b: float(np.mean([r["agop_accuracy"] - r["xrfm_accuracy"] for r in rows if r["bandwidth"] == b]))
        for b in BANDWIDTHS
    }
    ratios = sorted(row["ratio"] for row in rows)
    mean = float(np.mean(list(gains.values())))
    print(f"median ratio {ratios[len(ratios) // 2]:.2f}, accuracy less that of xrfm {gains}, mean {mean:.4f}")
    record("rfm", {"data": source, "n": N, "rows": rows, "accuracy_gain": gains, "mean_gain": mean})


def compared(
    x: np.ndarray, y: np.ndarray, x_test: np.ndarray, y_test: np.ndarray, bandwidth: float
) -> dict[str, Any]:
    """Both on the same samples."""
    Y = torch.nn.functional.one_hot(torch.as_tensor(y), 10).float()
    ours, wall, cpu = _timed(lambda: agop.RFMClassifier(bandwidth=bandwidth, **OURS).fit(x, y))
    peer, peer_wall, peer_cpu = _timed(lambda: _peer(torch.as_tensor(x), Y, bandwidth))
    peer_labels = peer.predict(torch.as_tensor(x_test)).argmax(1).numpy()
    return {
        "bandwidth": bandwidth,
        "agop_s": wall,
        "agop_cpu_s": cpu,
        "agop_accuracy": float(ours.score(x_test, y_test)),
        "xrfm_s": peer_wall,
        "xrfm_cpu_s": peer_cpu,
        "xrfm_accuracy": float((peer_labels == y_test).mean()),
        "ratio": peer_wall / wall,
        "cpu_ratio": peer_cpu / cpu,
        "floor_s": floor_seconds(ours.history_, len(x), 10),
        "dimensions": [entry["dimensions"] for entry in ours.history_],
    }


if __name__ == "__main__":
    main()
