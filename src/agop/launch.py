"""How the ranks of a launch find each other: torchrun's environment, a handshake that names what is wrong, a time limit.

`torchrun` gives every process RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT. Before any collective, the ranks meet at that
address and compare how many they think they are and which versions they run; who is missing or differs is named. Only then
a process group is made, with gloo for the CPU and NCCL for GPUs.
"""

from __future__ import annotations

import json
import os
import platform
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from importlib.metadata import version
from itertools import count
from typing import Any, TypeVar

import torch

from agop import _checks
from agop.ranks import ALONE, RankLost, Ranks, RanksError, check_same, current, sharing

T = TypeVar("T")

TIMEOUT_VARIABLE, TIMEOUT = "AGOP_DISTRIBUTED_TIMEOUT", 300.0
"""How many seconds a rank waits for the others, and where to say otherwise."""

_GRACE = 5.0
_LAUNCHES = count()
_STORES: dict[tuple[str, int, int], Any] = {}
"""Where this process has met others before, by host, port and rank."""


@dataclass(frozen=True)
class Launch:
    """What the environment says about this process: which rank of how many, and where they meet."""

    rank: int
    size: int
    here: int
    local_rank: int
    host: str
    port: int
    timeout: float
    hosted: bool
    attempt: str

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Launch | None:
        """The launch in torchrun's variables, None where there is none.

        Raises
        ------
        ValueError
            One sentence, for variables that are missing or unusable.
        """
        if "RANK" not in environment and "WORLD_SIZE" not in environment:
            return None
        size = _whole("WORLD_SIZE", environment, at_least=1)
        rank = _whole("RANK", environment, at_least=0)
        if rank >= size:
            raise _checks.bad_value("RANK", f"0 to WORLD_SIZE - 1 = {size - 1}", str(rank), _START)
        if size == 1:
            return cls(rank, size, 1, 0, "", 0, TIMEOUT, False, "")
        port = _whole("MASTER_PORT", environment, at_least=1)
        if port > 65535:
            raise _checks.bad_value("MASTER_PORT", "a port, 1 to 65535", str(port))
        return cls(
            rank,
            size,
            _whole("LOCAL_WORLD_SIZE", environment, at_least=1)
            if "LOCAL_WORLD_SIZE" in environment
            else size,
            _whole("LOCAL_RANK", environment, at_least=0) if "LOCAL_RANK" in environment else rank,
            _given("MASTER_ADDR", environment),
            port,
            time_limit(environment),
            environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True",
            environment.get("TORCHELASTIC_RESTART_COUNT", "0"),
        )


_START = "start the ranks with torchrun, which sets it"


def _given(name: str, environment: Mapping[str, str]) -> str:
    if not environment.get(name):
        raise _checks.bad_value(name, "to be set where RANK or WORLD_SIZE is", "nothing", _START)
    return environment[name]


def _whole(name: str, environment: Mapping[str, str], *, at_least: int) -> int:
    text = _given(name, environment)
    try:
        value = int(text)
    except ValueError:
        raise _checks.bad_value(name, "an integer", repr(text), _START) from None
    return _checks.integer(name, value, at_least=at_least)


def time_limit(environment: Mapping[str, str] = os.environ) -> float:
    """Seconds that a rank waits for the others."""
    text = environment.get(TIMEOUT_VARIABLE, str(TIMEOUT))
    try:
        return _checks.real(TIMEOUT_VARIABLE, float(text), above=0)
    except ValueError:
        raise _checks.bad_value(TIMEOUT_VARIABLE, "a number of seconds > 0", repr(text)) from None


@contextmanager
def launched() -> Iterator[Ranks]:
    """Share fits with the other processes that `torchrun` started; without torchrun, change nothing.

    Inside the block `agop.ranks.current()` is the ranks of the launch. A process group that exists already is used and left as it is;
    otherwise one is made, and taken down at the end.

    Raises
    ------
    RanksError, ValueError
        One sentence, for a launch that cannot work: missing variables, a taken port, ranks that are missing, other counts or versions.

    Examples
    --------
    >>> with launched() as ranks:  # not under torchrun
    ...     ranks.size
    1
    """
    import torch.distributed as dist

    if not current().alone:
        with sharing(current()) as ranks:
            yield ranks
        return
    if dist.is_available() and dist.is_initialized():
        seconds = time_limit()
        group = dist.new_group(backend=_backend(0), timeout=timedelta(seconds=seconds))
        with sharing(replace(Ranks.of(group), timeout=seconds)) as ranks:
            yield ranks
        return
    launch = Launch.of(os.environ)
    if launch is None or launch.size == 1:
        with sharing(ALONE) as ranks:
            yield ranks
        return
    store = _meet(launch)
    dist.init_process_group(
        _backend(launch.local_rank),
        store=dist.PrefixStore("group", store),
        rank=launch.rank,
        world_size=launch.size,
        timeout=timedelta(seconds=launch.timeout),
    )
    before = _own_gpu(launch.local_rank)
    try:
        with sharing(Ranks(launch.rank, launch.size, launch.timeout, launch.here)) as ranks:
            yield ranks
    finally:
        if before is not None:
            torch.cuda.set_device(before)
        dist.destroy_process_group()


def _backend(local_rank: int) -> str:
    """NCCL for GPU tensors if every rank of this machine has a GPU of its own, gloo (which lets them share one) otherwise."""
    import torch.distributed as dist

    own = torch.cuda.is_available() and local_rank < torch.cuda.device_count()
    return "cpu:gloo,cuda:nccl" if own and dist.is_nccl_available() else "gloo"


def _own_gpu(local_rank: int) -> int | None:
    """Make "cuda" mean this rank's GPU; returns which one it meant before."""
    if not torch.cuda.is_available():
        return None
    before = torch.cuda.current_device()
    torch.cuda.set_device(local_rank % torch.cuda.device_count())
    return before


def _meet(launch: Launch) -> Any:
    """The store through which the ranks talk, after all have come and agreed that they belong together."""
    import torch.distributed as dist

    deadline = time.monotonic() + launch.timeout
    place = (launch.host, launch.port, launch.rank)
    # rank 0 serves it to the end of its process: a rank that is early for the next launch must not come to the store of the last one
    base = _STORES.pop(place, None) or _connect(launch, deadline)
    store = dist.PrefixStore(f"agop/{launch.attempt}/{next(_LAUNCHES)}", base)
    versions = [
        f"python {platform.python_version()}",
        *(f"{n} {version(n)}" for n in ("agop", "torch", "numpy")),
    ]
    hello = {"WORLD_SIZE": str(launch.size), "versions": ", ".join(versions)}
    try:
        if store.add(f"came {launch.rank}", 1) > 1:
            raise RanksError(f"RANK: expected one process a rank, got two for rank {launch.rank}; {_START}.")
        store.set(f"hello {launch.rank}", json.dumps(hello))
        if launch.rank == 0:
            verdict = _verdict(store, launch, deadline)
            store.set("verdict", verdict)
            if verdict:  # this process serves the store: it stays until those who came have read why they go
                others = sum(store.check([f"hello {rank}"]) for rank in range(1, launch.size))
                _wait(lambda: store.add("heard", 0) >= others, time.monotonic() + _GRACE)
        else:
            if not _wait(lambda: store.check(["verdict"]), deadline + _GRACE):
                raise RanksError(f"rank 0 did not answer within {launch.timeout:g} s; see what it says.")
            verdict = store.get("verdict").decode()
            store.add("heard", 1)
    except RuntimeError as error:
        raise RankLost(f"rank {launch.rank} lost rank 0 while they met; start all ranks again") from error
    if verdict:
        raise RanksError(verdict)
    _STORES[place] = base
    return store


def _verdict(store: Any, launch: Launch, deadline: float) -> str:
    """What is wrong with the launch, in one sentence; empty if nothing is."""
    names = [f"hello {rank}" for rank in range(launch.size)]
    if not _wait(lambda: store.check(names), deadline):
        missing = [rank for rank, name in enumerate(names) if not store.check([name])]
        listed = ", ".join(map(str, missing[:8])) + (", …" if len(missing) > 8 else "")
        return (
            f"WORLD_SIZE: expected {launch.size} ranks within {launch.timeout:g} s, got none with RANK {listed}; start as many "
            f"as WORLD_SIZE says, or set {TIMEOUT_VARIABLE} to more seconds."
        )
    hellos = [json.loads(store.get(name)) for name in names]
    try:
        for name in hellos[0]:
            check_same(name, [(hello.get(name, ""),) * 2 for hello in hellos], "start all ranks alike")
    except RanksError as error:
        return str(error)
    return ""


def _connect(launch: Launch, deadline: float) -> Any:
    import torch.distributed as dist

    serves = launch.rank == 0 and not launch.hosted
    patience = timedelta(seconds=launch.timeout)

    def store() -> Any:
        return dist.TCPStore(launch.host, launch.port, None, serves, patience, wait_for_workers=False)

    place = f"MASTER_ADDR:MASTER_PORT {launch.host}:{launch.port}"
    if serves:
        try:
            return store()
        except RuntimeError:
            got = "a free port of this machine, got one that is taken"
            raise RanksError(f"{place}: expected {got}; choose another MASTER_PORT.") from None
    # torch's own client writes stack traces while it waits, and does not come back from a port that accepts and says nothing
    if not _wait(lambda: _answers(launch), deadline):
        raise RanksError(
            f"{place}: expected rank 0 within {launch.timeout:g} s, got no answer; see what it says."
        )
    other = f"{place}: expected rank 0, got a program that does not answer; choose another MASTER_PORT."
    return _within(store, deadline, other)


def _answers(launch: Launch) -> bool:
    try:
        socket.create_connection((launch.host, launch.port), timeout=1).close()
    except OSError:
        return False
    return True


def _wait(ready: Callable[[], bool], deadline: float) -> bool:
    """Ask until it is so or the time is up."""
    pause = 0.01
    while not ready():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
        pause = min(2 * pause, 0.5)
    return True


def _within(work: Callable[[], T], deadline: float, otherwise: str) -> T:
    """The result of `work`, which may never come back: it is left to a thread that ends with the process."""
    results: list[T | RuntimeError] = []

    def attempt() -> None:
        try:
            results.append(work())
        except RuntimeError as error:
            results.append(error)

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(max(0.0, deadline - time.monotonic()))
    if not results or isinstance(results[0], RuntimeError):
        raise RanksError(otherwise)
    return results[0]
