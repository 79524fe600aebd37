"""The iterative solver beside the direct one: time, memory, iterations against n; iterations and accuracy against its rank.

    python -m benchmarks.iterative_solver growth 5000 10000 16000
    python -m benchmarks.iterative_solver large 200000
    python -m benchmarks.iterative_solver rank
    python -m benchmarks.iterative_solver warm

Rows of a part replace those of the same size in the stored results, so that long ones can be run one by one.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import time
from typing import Any

import torch

from benchmarks._harness import PAPER, RESULTS, matmul_rate, record, resident

D, C, BANDWIDTH, RIDGE = 50, 5, 10.0, 1e-3
LARGE = {"max_rank": 1000, "tolerance": 1e-3, "max_memory": "2GB"}
"""Options of the large runs; everything else takes the defaults."""


def data(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """`n` standard normal points in 50 dimensions; five smooth targets of four directions each, with noise."""
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(n, D, generator=generator)
    directions = torch.randn(D, 4, C, generator=generator) / D**0.5
    Y = torch.einsum("nd,dkc->nkc", X, directions).sin_().sum(1)
    return X, Y + 0.1 * torch.randn(n, C, generator=generator)


def _fit(n: int, options: dict[str, Any], pipe: Any) -> None:
    import agop

    X, Y = data(n)
    before = resident("VmRSS")
    last, start, used = [0.0], time.perf_counter(), time.process_time()

    def told(done: float, total: float, text: str) -> None:
        if time.perf_counter() - last[0] > 20:
            last[0] = time.perf_counter()
            print(f"  n={n} {last[0] - start:7.0f} s  {text} {done / total:.3f}", flush=True)

    options = {"bandwidth": BANDWIDTH, "ridge": RIDGE, "n_iter": 0, "random_state": 0, **PAPER, **options}
    model = agop.RFMRegressor(**options)
    model.fit(X, Y, progress=told)
    seconds, peak = time.perf_counter() - start, resident("VmHWM") - before
    used = time.process_time() - used
    entry = model.history_[0]
    kept = (
        "solver",
        "iterations",
        "residual_checks",
        "preconditioner_rank",
        "kept",
        "converged",
        "tolerance",
    )
    row = {
        "n": n,
        "seconds": seconds,
        "cpu_seconds": used,
        "threads": torch.get_num_threads(),
        "peak_bytes": peak,
    }
    row |= {name: entry[name] for name in kept if name in entry}
    pipe.put(row | {"largest_residual": max(entry.get("residuals", [0.0]))})


def one(n: int, **options: Any) -> dict[str, Any]:
    """One fit in a fresh process: seconds, growth of its peak memory, and what the history says."""
    context = multiprocessing.get_context("spawn")
    queue = context.SimpleQueue()
    process = context.Process(target=_fit, args=(n, options, queue))
    process.start()
    row = queue.get()
    process.join()
    print({k: round(v, 8) if isinstance(v, float) else v for k, v in row.items()}, flush=True)
    return row


def floor_seconds(row: dict[str, Any]) -> float:
    """Matrix products of the iterations alone, distances and right-hand sides, at this machine's rate."""
    n, single, double = row["n"], matmul_rate(torch.float32), matmul_rate(torch.float64)
    pairs, cost = n * n / 2, 2 * D + 4 * C
    return pairs * cost * (row.get("iterations", 0) / single + row.get("residual_checks", 0) / double)


def growth(sizes: list[int]) -> list[dict[str, Any]]:
    """Both solvers; the direct one up to 16,000 points, the iterative one within 1 GB."""
    rows = []
    for n in sizes:
        for solver in ("cholesky", "cg") if n <= 16000 else ("cg",):
            rows.append(one(n, solver=solver, max_memory="1GB" if solver == "cg" else None))
            if solver == "cg":
                rows[-1]["floor_s"] = floor_seconds(rows[-1])
    return rows


def large(sizes: list[int]) -> list[dict[str, Any]]:
    """Sizes at which K could not be stored."""
    rows = [one(n, solver="cg", **LARGE) for n in sizes]
    for row in rows:
        row["floor_s"] = floor_seconds(row)
    return rows


def rank(sizes: list[int]) -> list[dict[str, Any]]:
    """Iterations, time and distance from the direct float64 solution on new points, against the preconditioner's rank."""
    import agop

    rows = []
    for n in sizes or [5000]:
        X, Y = data(n + 1000)
        X, x, Y = X[:n], X[n:], Y[:n]
        options: dict[str, Any] = {
            "bandwidth": BANDWIDTH,
            "ridge": RIDGE,
            "n_iter": 0,
            "random_state": 0,
            **PAPER,
        }
        exact = (
            agop.RFMRegressor(solver="cholesky", **options).fit(X.double(), Y.double()).predict(x.double())
        )
        direct = agop.RFMRegressor(solver="cholesky", **options).fit(X, Y).predict(x)
        rows.append({"n": n, "rank": "direct, float32", "error": _distance(direct, exact)})
        for size in (0, 50, 100, 200, 424, 1000, 2000):
            start = time.perf_counter()
            model = agop.RFMRegressor(solver="cg", max_rank=size, **options).fit(X, Y)
            seconds = time.perf_counter() - start
            error = _distance(model.predict(x), exact)
            entry = model.history_[0]
            rows.append(
                {"n": n, "rank": size, "iterations": entry["iterations"], "seconds": seconds, "error": error}
            )
            print(rows[-1], flush=True)
    return rows


def warm(sizes: list[int]) -> list[dict[str, Any]]:
    """Iterations of each solve of an RFM that starts from the last coefficients."""
    import agop

    rows = []
    for n in sizes or [3000]:
        X, Y = data(n)
        model = agop.RFMRegressor(
            bandwidth=BANDWIDTH, ridge=RIDGE, n_iter=5, solver="cg", random_state=0, **PAPER
        ).fit(X, Y)
        rows.append({"n": n, "iterations": [entry["iterations"] for entry in model.history_]})
        print(rows[-1], flush=True)
    return rows


def _distance(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a.double() - b).norm() / b.norm())


PARTS = {"growth": growth, "large": large, "rank": rank, "warm": warm}
DEFAULTS = {"growth": [5000, 10000], "large": [], "rank": [5000], "warm": [3000]}


def main(part: str | None = None, sizes: list[int] | None = None) -> None:
    path = RESULTS / "iterative_solver.json"
    for name in (part,) if part else PARTS:
        rows = PARTS[name](sizes or DEFAULTS[name])
        stored = json.loads(path.read_text())["result"] if path.exists() else {}
        done = {row["n"] for row in rows}
        stored[name] = [row for row in stored.get(name, []) if row["n"] not in done] + rows
        record("iterative_solver", {"d": D, "outputs": C, "bandwidth": BANDWIDTH, "ridge": RIDGE, **stored})


if __name__ == "__main__":
    main(*sys.argv[1:2], [int(size) for size in sys.argv[2:]])
