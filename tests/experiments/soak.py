"""The command line in processes that are cheap to start and to kill: forks of one that has imported everything."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import torch

import agop.cli
import agop.datasets.named
import agop.experiments.reproduce
import agop.experiments.subjects.deep_rfm
import agop.experiments.subjects.network
import agop.report.figures
import agop.report.reproduction
from agop.experiments.studies import STUDIES

for path in STUDIES["beaglehole2024"].work.values():
    import_module(path.split(":")[0])
torch.optim.SGD(
    [torch.zeros(1, requires_grad=True)], lr=1.0
)  # the first optimiser of a process imports the most

PATIENCE = 180
"""Seconds after which a command that should have ended is a failure."""

os.environ.setdefault("OMP_NUM_THREADS", "1")
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.experiments.soak"])


def _command(arguments: list[str], log: str) -> None:
    from tests.experiments.tiny import shrink

    for stream in (1, 2):
        os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
    shrink()
    agop.cli.main(arguments)


class Started:
    """`agop ARGUMENTS` in a process of its own; what it says is added to `log`.

    One that has children of its own starts afresh: a fork of the warm process would wait for them at its end.
    """

    def __init__(self, arguments: list[str], log: Path) -> None:
        words, self._popen = [str(word) for word in arguments], None
        if "--jobs" in words and words[words.index("--jobs") + 1] != "1":
            self._popen = subprocess.Popen([sys.executable, "-m", "tests.experiments.soak", str(log), *words])
        else:
            self._process = _CONTEXT.Process(target=_command, args=(words, str(log)))
            self._process.start()

    def wait(self, seconds: float) -> int | None:
        """The exit code, or None if it is still running after so many seconds."""
        if self._popen is None:
            self._process.join(seconds)
            return self._process.exitcode
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(seconds)
        return self._popen.returncode

    def kill(self) -> int | None:
        """SIGKILL it and return its exit code."""
        (self._process if self._popen is None else self._popen).kill()
        return self.wait(PATIENCE)


def complete(arguments: list[str], log: Path) -> None:
    """Run a command to its end."""
    process = Started(arguments, log)
    code = process.wait(PATIENCE)
    process.kill()
    assert code == 0, log.read_text()[-2000:]


def seconds_until(arguments: list[str], log: Path, file: Path) -> float:
    """Run a command to its end, and return after how many seconds `file` was there."""
    began = time.monotonic()
    process, there, code = Started(arguments, log), None, None
    while code is None and time.monotonic() - began < PATIENCE:
        code = process.wait(0.01)
        if there is None and file.exists():
            there = time.monotonic() - began
    process.kill()
    assert code == 0, log.read_text()[-2000:]
    return there or time.monotonic() - began


def kill_at_random(
    arguments: list[str],
    log: Path,
    longest: float,
    rng: random.Random,
    before_restart: Callable[[], None],
    begun: Callable[[], bool],
) -> int:
    """Start a command and kill it at a random moment of `longest` seconds; 1 if the kill met it alive.

    The seconds count from when it has `begun`: however busy the machine is, such a kill comes after something was finished.
    """
    process, until = Started(arguments, log), time.monotonic() + PATIENCE
    while not begun() and process.wait(0.01) is None:
        assert time.monotonic() < until, log.read_text()[-2000:]
    process.wait(rng.uniform(0.03, longest))
    code = process.kill()
    before_restart()
    return int(code == -9)


if __name__ == "__main__":
    _command(sys.argv[2:], sys.argv[1])
