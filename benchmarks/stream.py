"""Fits to tables on disk: what a process holds at its peak, beside what was said and what the table takes.

    python -m benchmarks.stream                          (100,000 and 400,000 rows, 1,000 centres)
    python -m benchmarks.stream fit 1000000 4000         (rows, centres)
    python -m benchmarks.stream predict 1000000 4000
    python -m benchmarks.stream checkpoint 100000 1000   (the same fit with and without a checkpoint)

Rows have 50 columns of float32 in Parquet files, written in parts. Every fit runs in a fresh process; the peak is that of everything, torch
included.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks._harness import RESULTS, in_fresh_process, record, resident
from benchmarks.nystrom import D, drawn

NAME, PART = "stream", 50_000
FIT = {"solver": "nystrom", "n_iter": 1, "feature_points": 2000, "random_state": 0}


def written(n: int, folder: Path) -> Path:
    """Parquet files of 50,000 rows each."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    for start in range(0, n, PART):
        X, y = drawn(min(PART, n - start), 1000 + start)
        columns = {f"x{j}": X[:, j] for j in range(D)} | {"y": y}
        pq.write_table(pa.table(columns), folder / f"part{start:012d}.parquet", row_group_size=10_000)
    return folder


def _work(what: str, folder: str, m: int, queue: Any) -> None:
    import agop
    from agop.machines.memory import estimate_memory

    source = agop.open_blocks(folder, target="y")
    before, start = resident("VmRSS"), time.perf_counter()
    with tempfile.TemporaryDirectory() as kept:
        model = agop.RFMRegressor(**FIT, n_centers=m).fit(
            source, checkpoint=kept if what == "checkpoint" else None
        )
    seconds, peak = time.perf_counter() - start, resident("VmHWM")
    row = {
        "what": what,
        "rows": source.n_rows,
        "n_centers": m,
        "fit_s": seconds,
        "peak_bytes": peak,
        "before_bytes": before,
    }
    if what == "predict":
        start = time.perf_counter()
        found = model.predict(agop.open_blocks(folder, columns=source.feature_names))
        row |= {
            "predict_s": time.perf_counter() - start,
            "predicted": len(found),
            "peak_bytes": resident("VmHWM"),
        }
    estimate = estimate_memory(
        source.n_rows, D, 1, solver="nystrom", n_centers=m, feature_points=2000, streamed=True
    )
    row |= {
        "said_bytes": estimate.total,
        "table_bytes": 4 * source.n_rows * (D + 1),
        "threads": torch.get_num_threads(),
    }
    queue.put(row)


def one(what: str, n: int, m: int) -> dict[str, Any]:
    """One fit to n rows with m centres, in a fresh process."""
    with tempfile.TemporaryDirectory() as folder:
        written(n, Path(folder))
        row: dict[str, Any] = in_fresh_process(_work, what, folder, m)
    return row


def main(words: list[str]) -> None:
    """Measure, print and store; a row replaces that of the same kind."""
    what = words[0] if words else "fit"
    if what not in ("fit", "predict", "checkpoint"):
        raise SystemExit(f"expected fit, predict or checkpoint, got {what!r}")
    sizes = [(int(words[1]), int(words[2]))] if len(words) > 2 else [(100_000, 1000), (400_000, 1000)]
    path = RESULTS / f"{NAME}.json"
    for n, m in sizes:
        for kind in ("fit", "checkpoint") if what == "checkpoint" else (what,):
            row = one(kind, n, m)
            rows = json.loads(path.read_text())["result"]["rows"] if path.exists() else []
            same = ("what", "rows", "n_centers")
            rows = [other for other in rows if any(other[key] != row[key] for key in same)] + [row]
            record(NAME, {"rows": sorted(rows, key=lambda r: (r["what"], r["rows"], r["n_centers"]))})
            sizes_ = {
                name: f"{row[f'{name}_bytes'] / 2**30:.2f} GiB"
                for name in ("peak", "before", "said", "table")
            }
            print(f"{kind}: {n:,} rows, {m:,} centres, {row['fit_s']:.1f} s", sizes_, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
