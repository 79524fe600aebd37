"""Two processes of one thread against one process of one thread, on the work that ranks share; and what follows for many GPUs."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from benchmarks._harness import record
from benchmarks._scaling_model import tables
from benchmarks._scaling_rank import WORK, C, D, N

ROUNDS = 2


def ranks_seconds(size: int) -> dict[str, dict[str, float]]:
    """The seconds of all work on `size` ranks of one thread."""
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(size)]
    done = subprocess.run(
        [sys.executable, *launch, "-m", "benchmarks._scaling_rank"],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.strip().splitlines()[-1])


def main() -> None:
    load = [os.getloadavg()[0]]
    rounds = [{size: ranks_seconds(size) for size in (1, 2)} for _ in range(ROUNDS)]
    load.append(os.getloadavg()[0])
    rows = {}
    for name in WORK:
        row: dict[str, float] = {"n": N[name]}
        for kind in ("wall", "busy"):
            one, two = (min(seconds[size][name][f"{kind}_s"] for seconds in rounds) for size in (1, 2))
            row |= {f"one_{kind}_s": one, f"two_{kind}_s": two, f"{kind}_ratio": one / two}
        rows[name] = row
        print(
            f"{name:8} n={N[name]:<8,} 1 rank {row['one_wall_s']:.3f} s  2 ranks {row['two_wall_s']:.3f} s  "
            f"ratio {row['wall_ratio']:.2f}, of processor seconds {row['busy_ratio']:.2f}",
            flush=True,
        )
    entry = 2 * rows["product"]["one_busy_s"] / N["product"] ** 2
    print(
        f"one thread forms a kernel value of {D} features, and uses it for {C} columns, in {1e9 * entry:.1f} ns"
    )
    print(f"processes that wanted a core, before and after: {load[0]:.1f}, {load[1]:.1f}")
    record(
        "scaling",
        {"load": load, "d": D, "c": C, "rounds": rounds, "rows": rows, "entry_s": entry, "model": tables()},
    )


if __name__ == "__main__":
    main()
