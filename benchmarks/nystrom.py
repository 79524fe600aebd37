"""RFM on centres: a million rows, the iterative solver beside it, growth, the floor, and the error against the exact fit.

    python -m benchmarks.nystrom million [ROWS]
    python -m benchmarks.nystrom cg [ROWS] [exact]
    python -m benchmarks.nystrom growth
    python -m benchmarks.nystrom floor
    python -m benchmarks.nystrom error
    python -m benchmarks.nystrom plot                    (the figure of `error`)

Each part replaces its own rows of the stored results. Fits run in fresh processes, on the threads that torch takes; X is a memory map.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks._harness import RESULTS, measure, record, resident

D, RANK, NOISE, TEST = 50, 3, 0.1, 20_000
FIT = {"n_iter": 4, "power": 0.5, "learning_ridge": 1e-3, "random_state": 0}
"""Of the large fits; everything else takes the defaults."""


def target(X: np.ndarray) -> np.ndarray:
    """g(Ux) of three directions: a wave along the first, a product of the others."""
    U = np.random.default_rng(7).normal(size=(D, RANK)) / D**0.5
    Z = X @ U
    return np.sin(2 * Z[:, 0]) + Z[:, 1] * Z[:, 2]


def drawn(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Standard normal rows with their noisy targets, single precision."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, D)).astype(np.float32)
    return X, (target(X) + NOISE * rng.normal(size=n)).astype(np.float32)


def written(n: int, folder: Path) -> Path:
    """The rows as a file that can be mapped, written in parts."""
    path = folder / f"X{n}.npy"
    X = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(n, D))
    y = np.empty(n, dtype=np.float32)
    for start in range(0, n, 100_000):
        stop = min(n, start + 100_000)
        X[start:stop], y[start:stop] = drawn(stop - start, 1000 + start)
    X.flush()
    np.save(folder / f"y{n}.npy", y)
    return path


def _fit(n: int, folder: str, options: dict[str, Any], queue: Any) -> None:
    import agop

    X = np.load(Path(folder) / f"X{n}.npy", mmap_mode="r")
    y = np.load(Path(folder) / f"y{n}.npy")
    start, told = time.perf_counter(), [0.0]
    passes: dict[str, float] = {}

    def hear(done: float, total: float, text: str) -> None:
        passes.setdefault(text, time.perf_counter() - start)
        if time.perf_counter() - told[0] > 20:
            told[0] = time.perf_counter()
            print(f"  n={n} {told[0] - start:7.0f} s  {text} {done / total:.3f}", flush=True)

    model = agop.RFMRegressor(**{"solver": "nystrom", **FIT, **options}).fit(X, y, progress=hear)
    seconds, peak = time.perf_counter() - start, resident("VmHWM")
    x, truth = drawn(TEST, 1)
    last = model.history_[-1]
    steps = list(passes.items())
    row = {
        "n": n,
        "n_centers": last["n_centers"],
        "rank": last["nystrom_rank"],
        "r2": model.score(x, truth),
        "r2_without_noise": 1 - float(np.square(model.predict(x) - target(x)).mean() / target(x).var()),
        "seconds": seconds,
        "pass_seconds": steps[-1][1] - next(s for text, s in steps if text.endswith("rows")),
        "peak_bytes": peak,
        "threads": torch.get_num_threads(),
        "history": [{k: e[k] for k in ("solver", "seconds", "train_mse")} for e in model.history_],
    }
    queue.put(row)


def one(n: int, folder: str, **options: Any) -> dict[str, Any]:
    """One fit in a fresh process: its resident peak is that of everything, torch included."""
    context = multiprocessing.get_context("spawn")
    queue = context.SimpleQueue()
    process = context.Process(target=_fit, args=(n, folder, options, queue))
    process.start()
    row = queue.get()
    process.join()
    print(
        {k: round(v, 5) if isinstance(v, float) else v for k, v in row.items() if k != "history"}, flush=True
    )
    return row


def million(sizes: list[int]) -> dict[str, Any]:
    """10⁶ × 50 with 4,000 centres: R² ≥ .97 in ≤ 10 minutes and ≤ 4 GB, X mapped."""
    n = sizes[0] if sizes else 10**6
    with tempfile.TemporaryDirectory() as folder:
        written(n, Path(folder))
        row = one(n, folder, n_centers=min(4000, n // 10))
    goals = {
        "r2": row["r2"] >= 0.97,
        "seconds": row["seconds"] <= 600,
        "peak_bytes": row["peak_bytes"] <= 4e9,
    }
    return {**row, "goals": goals}


def cg(sizes: list[int], exact: bool = False) -> dict[str, Any]:
    """The rows and targets of the stored run of "cg" (benchmarks/iterative_solver.py); `exact` runs that one too, for its R²."""
    import agop
    from benchmarks.iterative_solver import BANDWIDTH, LARGE, PAPER, RIDGE, data

    n = sizes[0] if sizes else 200_000
    X, Y = data(n + TEST)
    X, x, Y, y = X[:n], X[n:], Y[:n], Y[n:]
    start = time.perf_counter()
    model = agop.RFMRegressor(solver="nystrom", **FIT).fit(X, Y)
    own = {
        "n": n,
        "seconds": time.perf_counter() - start,
        "r2": model.score(x, y),
        "n_centers": model.history_[-1]["n_centers"],
    }
    print(own, flush=True)
    stored = json.loads((RESULTS / "iterative_solver.json").read_text())["result"]["large"]
    beside = next((row for row in stored if row["n"] == n), None)
    if exact:
        start = time.perf_counter()
        other = agop.RFMRegressor(
            solver="cg", bandwidth=BANDWIDTH, ridge=RIDGE, n_iter=0, random_state=0, **PAPER, **LARGE
        ).fit(X, Y)
        beside = {"n": n, "seconds": time.perf_counter() - start, "r2": other.score(x, y)}
    print(beside, flush=True)
    return {
        "nystrom": own,
        "cg": beside,
        "times_faster": beside["seconds"] / own["seconds"] if beside else None,
    }


def growth(sizes: list[int]) -> dict[str, Any]:
    """Seconds of the pass against n and against m, four sizes each, and the exponents."""
    rows, centers = sizes or [25_000, 50_000, 100_000, 200_000], [500, 1000, 2000, 4000]
    found: dict[str, Any] = {"n": [], "m": []}
    with tempfile.TemporaryDirectory() as folder:
        for n in rows:
            written(n, Path(folder))
            found["n"].append(one(n, folder, n_centers=1000, feature_points=2000, n_iter=1))
        for m in centers:
            found["m"].append(one(rows[0], folder, n_centers=m, feature_points=2000, n_iter=1))
    for name, key in (("n", "n"), ("m", "n_centers")):
        sizes_, seconds = (np.log([row[k] for row in found[name]]) for k in (key, "pass_seconds"))
        found[f"exponent_in_{name}"] = float(np.polyfit(sizes_, seconds, 1)[0])
    print({k: v for k, v in found.items() if k.startswith("exponent")}, flush=True)
    return found


def floor(sizes: list[int]) -> list[dict[str, Any]]:
    """The pass beside kernel values, projection and half a Gram matrix, each by itself in the same process; and beside what it needs.

    A pass whose sums are projected once, at its end, needs no projection of rows.
    """
    from agop.kernels import Gaussian, Laplace
    from agop.machines.nystrom import Nystrom
    from agop.machines.rows import HeldRows
    from agop.machines.samples import Samples

    rows = []
    for m in sizes or [2000, 4000]:
        for kernel in (Laplace(30.0), Gaussian(10.0)):
            X, y = (torch.from_numpy(part) for part in drawn(4 * m, 0))
            large = Nystrom(rows=HeldRows(Samples(X, y[:, None], None, None)), n_centers=m)
            basis = large._basis(kernel, _identity, 0.1, False)
            passed = measure(lambda: large._summed(basis, _identity, None, _silent), repeats=2).minimum  # noqa: B023
            b, P = large.block_rows, basis.factor.projection
            left, blocks = basis.points.beside(X[:b]), len(X) / large.block_rows
            parts = {
                "kernel_s": partial(
                    kernel.block, left, slice(None), basis.points, torch.float64, weight=False
                ),
                "projection_s": lambda: torch.mm(K, P),  # noqa: B023
                "half_gram_s": lambda: torch.mm(F.mT, F),  # noqa: B023
            }
            K = kernel.block(left, slice(None), basis.points, torch.float64, weight=False)[0]
            F = torch.mm(K, P)
            seconds = {name: measure(part, repeats=2).minimum * blocks for name, part in parts.items()}
            seconds["half_gram_s"] /= 2
            least, late = sum(seconds.values()), basis.late
            needed = least - seconds["projection_s"] * late
            rows.append({
                "kernel": type(kernel).__name__, "m": m, "rank": basis.factor.rank, "n": len(X), "pass_s": passed, "floor_s": least,
                "ratio": passed / least, "late": late, "ratio_to_needed": passed / needed, **seconds, "threads": torch.get_num_threads(),
            })  # fmt: skip
            print(rows[-1], flush=True)
    return rows


def _identity(block: torch.Tensor) -> torch.Tensor:
    return block


def _silent(step: str, share: float) -> None:
    """Nobody listens."""


def error(sizes: list[int]) -> dict[str, Any]:
    """Predictions against those of the exact fit with the same metric at n = 10,000, for m = 500 … 4,000."""
    import agop

    n = sizes[0] if sizes else 10_000
    (X, y), (x, truth) = drawn(n, 0), drawn(TEST, 1)
    rows = []
    for kernel, factor in (("laplace", 4.0), ("gaussian", 1.0)):
        options = {**FIT, "kernel": kernel, "bandwidth_factor": factor}
        exact = agop.RFMRegressor(solver="cholesky", **options).fit(X, y)
        expected, best = exact.predict(x), exact.score(x, truth)
        for m in (500, 1000, 2000, 4000):
            if m > n:
                continue
            start = time.perf_counter()
            model = agop.RFMRegressor(solver="nystrom", n_centers=m, **options).fit(X, y)
            off = float(np.sqrt(np.square(model.predict(x) - expected).mean()) / truth.std())
            rows.append({
                "kernel": kernel, "m": m, "rank": model.history_[-1]["nystrom_rank"], "rms_difference": off, "r2": model.score(x, truth),
                "r2_exact": best, "seconds": time.perf_counter() - start,
            })  # fmt: skip
            print(rows[-1], flush=True)
    return {"n": n, "rows": rows}


def plot() -> None:
    """The figure of `error`, from its stored rows."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import FixedLocator, NullFormatter, StrMethodFormatter

    found = json.loads((RESULTS / "nystrom.json").read_text())["result"]["error"]
    mpl.rcParams |= {"svg.hashsalt": "agop", "svg.fonttype": "path"}
    figure, axes = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained")
    for kernel in dict.fromkeys(row["kernel"] for row in found["rows"]):
        own = [row for row in found["rows"] if row["kernel"] == kernel]
        m = [row["m"] for row in own]
        (line,) = axes[0].loglog(m, [row["rms_difference"] for row in own], "o-", label=kernel)
        axes[1].semilogx(m, [row["r2"] for row in own], "o-", color=line.get_color())
        axes[1].axhline(own[0]["r2_exact"], ls=":", color=line.get_color())
    for ax in axes:
        ax.xaxis.set_major_locator(FixedLocator(m))
        ax.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.minorticks_off()
    axes[0].set(xlabel="centres m", ylabel="rms difference / std(y)")
    axes[1].set(xlabel="centres m", ylabel="test R² (dotted: exact)")
    axes[0].legend()
    figure.suptitle(f"Fits on centres against the exact fit, n = {found['n']:,}")
    figure.savefig(RESULTS.parent.parent / "docs" / "_static" / "nystrom_error.svg", metadata={"Date": None})


PARTS = {"million": million, "cg": cg, "growth": growth, "floor": floor, "error": error}


def main(part: str | None = None, *rest: str) -> None:
    if part == "plot":
        plot()
        return
    path = RESULTS / "nystrom.json"
    sizes = [int(text) for text in rest if text.isdecimal()]
    for name in (part,) if part else ("floor", "error"):
        found = cg(sizes, exact="exact" in rest) if name == "cg" else PARTS[name](sizes)
        stored = json.loads(path.read_text())["result"] if path.exists() else {}
        record("nystrom", {**stored, name: found})


if __name__ == "__main__":
    main(*sys.argv[1:])
