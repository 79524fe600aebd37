"""Seconds until the command line answers: help, lists and completion in fresh processes, against a bare interpreter in the same run.

`python -m benchmarks.start_up` measures. None of these may import torch (tests/cli/test_start.py); the limit is half a second.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time

from benchmarks._harness import record

LIMIT_S = 0.5
REPEATS = 7
COMMANDS = (
    "--help", "--version", "datasets", "reproduce --list", "rfm --help", "deep-rfm --help", "conv-rfm --help", "network --help",
    "profile --help", "predict --help", "trajectory --help", "reproduce --help", "report --help", "datasets --help",
)  # fmt: skip
COMPLETION = "agop network --data "


def fastest(command: list[str], environment: dict[str, str]) -> dict[str, float]:
    """The fastest of several runs, in wall and processor seconds."""
    walls, processors = [], []
    for _ in range(REPEATS):
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run(command, check=False, capture_output=True, env=os.environ | environment)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        walls.append(time.perf_counter() - start)
        processors.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return {"wall_s": min(walls), "processor_s": min(processors)}


def main() -> None:
    """Measure every command, and print those above the limit."""
    start = [sys.executable, "-c", "from agop.cli import main; main()"]
    words = COMPLETION.split(" ")
    completion = {
        "_AGOP_COMPLETE": "complete_bash",
        "COMP_WORDS": COMPLETION,
        "COMP_CWORD": str(len(words) - 1),
    }
    bare = fastest([sys.executable, "-c", "pass"], {})
    found = {f"agop {words}": fastest([*start, *words.split()], {}) for words in COMMANDS}
    found["completion"] = fastest(start, completion)
    for name, seconds in found.items():
        over = "  over the limit" if seconds["processor_s"] > LIMIT_S else ""
        ratio = seconds["processor_s"] / bare["processor_s"]
        print(
            f"{name:26} {seconds['wall_s']:.2f} s, {seconds['processor_s']:.2f} s of a processor, {ratio:.1f} × bare Python{over}"
        )
    record("start_up", {"limit_s": LIMIT_S, "bare": bare, "commands": found})


if __name__ == "__main__":
    main()
