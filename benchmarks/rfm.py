"""RFM, 5,000 images, 10 classes, 3 iterations, against xrfm in the same process; accuracy at the best bandwidth of a small grid."""

from __future__ import annotations

import time

import numpy as np
import torch

import agop
from agop.kernels.agop import operations
from benchmarks._data import images
from benchmarks._harness import matmul_rate, record

BANDWIDTHS = (5.0, 10.0, 20.0)
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


def _timed(call: object) -> tuple[object, float, float]:
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
    x, y, x_test, y_test, source = images(N, N_TEST)
    Y = torch.nn.functional.one_hot(torch.as_tensor(y.astype(np.int64)), 10).float()
    rows = []
    for bandwidth in BANDWIDTHS:
        ours, wall, cpu = _timed(
            lambda options={"bandwidth": bandwidth, **OURS}: agop.RFMClassifier(**options).fit(x, y)
        )
        peer, peer_wall, peer_cpu = _timed(lambda b=bandwidth: _peer(torch.as_tensor(x), Y, b))
        peer_labels = peer.predict(torch.as_tensor(x_test)).argmax(1).numpy()
        rows.append(
            {
                "bandwidth": bandwidth,
                "agop_s": wall,
                "agop_cpu_s": cpu,
                "agop_accuracy": float(ours.score(x_test, y_test)),
                "xrfm_s": peer_wall,
                "xrfm_cpu_s": peer_cpu,
                "xrfm_accuracy": float((peer_labels == y_test).mean()),
                "ratio": peer_wall / wall,
                "cpu_ratio": peer_cpu / cpu,
                "floor_s": floor_seconds(ours.history_, N, 10),
                "dimensions": [entry["dimensions"] for entry in ours.history_],
            }
        )
        print(
            {key: round(value, 4) if isinstance(value, float) else value for key, value in rows[-1].items()},
            flush=True,
        )
    best = {name: max(row[f"{name}_accuracy"] for row in rows) for name in ("agop", "xrfm")}
    ratios = sorted(row["ratio"] for row in rows)
    print(f"median ratio {ratios[len(ratios) // 2]:.2f}, best accuracy {best}")
    record("rfm", {"data": source, "n": N, "rows": rows, "best_accuracy": best})


if __name__ == "__main__":
    main()
