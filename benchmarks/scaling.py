"""Two processes of one thread against one process of one thread, on the work that ranks share; and what follows for many GPUs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from statistics import median

from benchmarks._harness import record
from benchmarks._scaling_model import tables
from benchmarks._scaling_rank import WORK, C, D, N


def measured() -> dict[str, list[dict[str, dict[str, float]]]]:
    """Every work by one rank and by two, in turns."""
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [sys.executable, *launch, "-m", "benchmarks._scaling_rank"],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.strip().splitlines()[-1])


def summary(pairs: list[dict[str, dict[str, float]]]) -> dict[str, float]:
    """Fastest seconds of each and their ratio; median, smallest and largest ratio of the pairs."""
    row: dict[str, float] = {}
    for kind in ("wall", "busy"):
        one, two = ([pair[who][f"{kind}_s"] for pair in pairs] for who in ("alone", "shared"))
        ratios = [a / b for a, b in zip(one, two, strict=True)]
        row |= {f"one_{kind}_s": min(one), f"two_{kind}_s": min(two)}
        row |= {f"{kind}_ratio": min(one) / min(two), f"{kind}_median": median(ratios)}
        row |= {f"{kind}_least": min(ratios), f"{kind}_most": max(ratios)}
    return row


def main() -> None:
    load = [os.getloadavg()[0]]
    works = measured()
    load.append(os.getloadavg()[0])
    rows = {name: {"n": N[name], **summary(works[name])} for name in WORK}
    for name, row in rows.items():
        print(
            f"{name:8} n={N[name]:<9,} 1 rank {row['one_wall_s']:.3f} s  2 ranks {row['two_wall_s']:.3f} s  "
            f"ratio {row['wall_ratio']:.2f}, of pairs {row['wall_median']:.2f} ({row['wall_least']:.2f} to {row['wall_most']:.2f})",
            flush=True,
        )
    entry = 2 * rows["product"]["one_busy_s"] / N["product"] ** 2
    print(
        f"one thread forms a kernel value of {D} features, and uses it for {C} columns, in {1e9 * entry:.1f} ns"
    )
    print(f"processes that wanted a core, before and after: {load[0]:.1f}, {load[1]:.1f}")
    record(
        "scaling",
        {"load": load, "d": D, "c": C, "pairs": works, "rows": rows, "entry_s": entry, "model": tables()},
    )


if __name__ == "__main__":
    main()
