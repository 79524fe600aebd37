"""Two processes of one thread against one process of one thread, on the work that ranks share; and what follows for many GPUs."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from benchmarks import _scaling_model as model
from benchmarks._harness import record
from benchmarks._scaling_rank import WORK, C, D, N


def ranks_seconds(size: int) -> dict[str, dict[str, float]]:
    """The seconds of all work on `size` ranks of one thread."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(size)]
    done = subprocess.run(
        [sys.executable, *launch, "-m", "benchmarks._scaling_rank"],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.strip().splitlines()[-1])


def main() -> None:
    one, two = ranks_seconds(1), ranks_seconds(2)
    again = ranks_seconds(1)  # before and after: what another process did meanwhile shows
    rows = {}
    for name in WORK:
        before, after = one[name]["median_s"], again[name]["median_s"]
        ratio = min(before, after) / two[name]["median_s"]
        rows[name] = {"n": N[name], "one_s": before, "one_again_s": after, "two_s": two[name]["median_s"]}
        rows[name]["ratio"] = ratio
        print(
            f"{name:10} n={N[name]:,}  1 rank {before:.3f} s  2 ranks {two[name]['median_s']:.3f} s  ratio {ratio:.2f}"
        )
    tables = model.tables()
    for line in model.lines(tables):
        print(line)
    record("scaling", {"d": D, "c": C, "rows": rows, "model": tables})


if __name__ == "__main__":
    main()
