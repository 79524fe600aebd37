"""Run a program on several ranks, as torchrun does, on this machine and with one thread each.

Ranks are forked from a server process that has imported torch once and computed nothing; importing it again for every rank would
be most of the time of these tests.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

LAUNCH = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Ended:
    """How a rank ended: its exit code (negative: the signal that killed it) and what it said."""

    code: int
    out: str
    err: str


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def outside(**more: object) -> dict[str, str]:
    """The environment of this process without a launch in it, with one thread and a short patience."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in LAUNCH and not name.startswith("TORCHELASTIC")
    }
    kept |= {"OMP_NUM_THREADS": "1", "AGOP_DISTRIBUTED_TIMEOUT": "100", "COLUMNS": "200"}
    return kept | {name: str(value) for name, value in more.items()}


def start(
    program: str, size: int = 2, *, each: dict[int, dict[str, object]] | None = None, **more: object
) -> list[Ended]:
    """Run the Python text `program` on ranks 0 to size − 1 and wait for all.

    `more` are environment variables of all ranks, `each[rank]` those of one; a variable that is None is left out.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["agop.launch", "agop.machines", "agop.cli.app"])
    port, running = free_port(), []
    with tempfile.TemporaryDirectory() as folder:
        for rank in range(size):
            own: dict[str, object] = dict(zip(LAUNCH, (rank, size, rank, "127.0.0.1", port), strict=True))
            own |= more | (each or {}).get(rank, {})
            environment = outside(**{k: v for k, v in own.items() if v is not None})
            running.append(context.Process(target=_rank, args=(program, environment, f"{folder}/{rank}")))
            running[-1].start()
        try:
            for process in running:
                process.join(240)  # a machine may be busy
                assert process.exitcode is not None, "a rank hangs"
            return [
                Ended(
                    process.exitcode,
                    *(Path(f"{folder}/{rank}.{kind}").read_text() for kind in ("out", "err")),
                )
                for rank, process in enumerate(running)
            ]
        finally:
            for process in running:
                process.kill()


def well(processes: list[Ended]) -> list[Ended]:
    """Ranks that ended well, or what the first that did not has said."""
    for process in processes:
        assert process.code == 0, process.err
    return processes


def _rank(program: str, environment: dict[str, str], files: str) -> None:
    for number, kind in ((1, "out"), (2, "err")):
        os.dup2(os.open(f"{files}.{kind}", os.O_WRONLY | os.O_CREAT), number)
    sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
    os.environ.clear()
    os.environ.update(environment)
    import torch

    torch.set_num_threads(1)
    try:
        exec(compile(program, "program", "exec"), {"__name__": "__main__"})
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
