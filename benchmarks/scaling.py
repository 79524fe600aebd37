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


def ranks_seconds(size: int) -> dict[str, float]:
    """The seconds of all work on `size` ranks of one thread, the fastest of a few repeats."""
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
    rounds = [{size: ranks_seconds(size) for size in (1, 2)} for _ in range(ROUNDS)]
    rows = {}
    for name in WORK:
        one, two = (min(seconds[size][name] for seconds in rounds) for size in (1, 2))
        rows[name] = {"n": N[name], "one_s": one, "two_s": two, "ratio": one / two}
        print(
            f"{name:8} n={N[name]:<8,} 1 rank {one:.3f} s  2 ranks {two:.3f} s  ratio {one / two:.2f}",
            flush=True,
        )
    entry = 2 * rows["product"]["one_s"] / N["product"] ** 2
    print(
        f"one thread forms a kernel value of {D} features, and uses it for {C} columns, in {1e9 * entry:.1f} ns"
    )
    record("scaling", {"d": D, "c": C, "rounds": rounds, "rows": rows, "entry_s": entry, "model": tables()})


if __name__ == "__main__":
    main()
