"""Start a program on several ranks, as torchrun does, on this machine and with one thread each."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone"]


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def clean_environment(**more: object) -> dict[str, str]:
    """This process's environment without a launch in it, with one thread and a short patience."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
    kept = {k: v for k, v in os.environ.items() if k not in names and not k.startswith("TORCHELASTIC")}
    kept |= {"OMP_NUM_THREADS": "1", "AGOP_DISTRIBUTED_TIMEOUT": "30", "COLUMNS": "200"}
    return kept | {name: str(value) for name, value in more.items()}


def start(
    command: list[str], size: int = 2, *, each: dict[int, dict[str, object]] | None = None, **more: object
) -> list[subprocess.CompletedProcess]:
    """Run `command` on ranks 0 to size − 1, with the environment variables `more`, and `each[rank]` for one rank; wait for all.

    A variable that is None is left out.
    """
    port, running = free_port(), []
    for rank in range(size):
        own: dict[str, object] = {
            "RANK": rank,
            "WORLD_SIZE": size,
            "LOCAL_RANK": rank,
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port,
        }
        own |= more | (each or {}).get(rank, {})
        environment = clean_environment(**{k: v for k, v in own.items() if v is not None})
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        running.append(subprocess.Popen([sys.executable, *command], env=environment, **pipes))
    done = []
    for process in running:
        try:
            out, err = process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            for other in running:
                other.kill()
            raise
        done.append(subprocess.CompletedProcess(process.args, process.returncode, out, err))
    return done


def script(folder: Path, text: str) -> list[str]:
    """The arguments that make Python run `text`."""
    place = folder / "program.py"
    place.write_text(text)
    return [str(place)]
