"""Where units run: in this process, in workers of this machine through joblib, or on a Dask cluster."""

from __future__ import annotations

import os
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from agop._checks import bad_value, integer, one_of
from agop.experiments.units import Outcome, Unit

CONNECT_SECONDS = 10
"""How long a Dask scheduler may take to answer."""

BACKENDS = ("loky", "threading", "multiprocessing", "dask")
"""Of joblib; others that are registered there are taken as well."""

Run = Callable[[Unit], Outcome]


@dataclass(frozen=True)
class Pool:
    """How many units run at a time, and where.

    Attributes
    ----------
    jobs
        Workers of this machine; with 1, units run in this process. A cluster decides for itself.
    backend
        A backend of joblib: "loky" (processes), "threading", "multiprocessing", "dask", or another that is registered there.
    scheduler
        For "dask": the address of a scheduler, such as "tcp://host:8786"; its workers must see the output and the data under the same
        paths.

    Raises
    ------
    ValueError
        One sentence, if the backend is unknown, or a scheduler is given without "dask" or lacks with it.
    """

    jobs: int = 1
    backend: str = "loky"
    scheduler: str | None = None

    def __post_init__(self) -> None:
        integer("jobs", self.jobs, at_least=1)
        one_of("backend", self.backend, _known(self.backend))
        if (self.backend == "dask") != (self.scheduler is not None):
            given = "none" if self.scheduler is None else f"{self.scheduler!r} with {self.backend}"
            raise bad_value("scheduler", "an address with the backend dask, and with it only", given)

    @property
    def several(self) -> bool:
        """Whether units run at the same time."""
        return self.jobs > 1 or self.scheduler is not None

    @property
    def shares_threads(self) -> bool:
        """Whether units run at the same time in one process, where torch's number of threads is one for all."""
        return self.backend == "threading" and self.jobs > 1

    @property
    def waiting(self) -> int:
        """How many processes of this machine wait for more work after the units."""
        return self.jobs if self.backend == "loky" else 1

    def outcomes(self, run: Run, units: Sequence[Unit]) -> Iterator[Outcome]:
        """Run the units, and yield how each ended, in the order in which they do."""
        if not units:
            return iter(())
        if self.scheduler is not None:
            return _on_cluster(run, units, self.scheduler)
        if self.jobs > 1 and len(units) > 1:
            return _in_workers(run, units, self.jobs, self.backend)
        return map(run, units)


def _known(backend: str) -> tuple[str, ...]:
    if backend in BACKENDS:
        return BACKENDS
    from joblib.parallel import BACKENDS as registered

    return (*BACKENDS, *(name for name in registered if name not in BACKENDS))


def _in_workers(run: Run, units: Sequence[Unit], jobs: int, backend: str) -> Iterator[Outcome]:
    """Run units in workers; after one has died, those that were at work run again, each alone, and then the rest goes on."""
    left = list(units)
    while left:
        try:
            for outcome in _parallel(run, tuple(left), min(jobs, len(left)), backend):
                left.remove(outcome.unit)
                yield outcome
            return
        except BrokenExecutor:
            pass  # which worker it was, nobody says: units start in their order, so it was at one of the first ones left
        suspects, left = left[:jobs], left[jobs:]
        for unit in suspects:
            yield _alone(run, unit, backend)


def _alone(run: Run, unit: Unit, backend: str) -> Outcome:
    try:
        return next(iter(_parallel(run, [unit], 2, backend)))
    except BrokenExecutor:
        return Outcome(unit, "failed", "its worker died, twice; was it killed, or out of memory?")


def _parallel(run: Run, units: Sequence[Unit], jobs: int, backend: str) -> Iterator[Outcome]:
    from joblib import Parallel, delayed
    from joblib.parallel import BACKENDS as REGISTERED

    at_once = getattr(REGISTERED.get(backend), "supports_return_generator", False)
    order = "generator_unordered" if at_once else "list"
    with warnings.catch_warnings():
        # a worker that has grown is replaced by a fresh one, which is as well
        warnings.filterwarnings("ignore", message="A worker stopped while some jobs")
        work = Parallel(n_jobs=jobs, backend=backend, return_as=order, batch_size=1)
        yield from work(delayed(partial(_while_alive, os.getpid(), run))(unit) for unit in units)


_WATCHED: set[int] = set()
"""Processes with which this one ends."""


def _while_alive(parent: int, run: Run, unit: Unit) -> Outcome:
    """Run a unit in a worker that ends when the process that started it does.

    A process that is killed can't tell its workers: they would go on with what they were handed, beside those of the next start.
    """
    if os.getppid() == parent and parent not in _WATCHED:
        _WATCHED.add(parent)
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    return run(unit)


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _on_cluster(run: Run, units: Sequence[Unit], address: str) -> Iterator[Outcome]:
    try:
        from distributed import Client, as_completed
    except ImportError:
        raise bad_value(
            "backend", "the package distributed for dask", "none installed", "pip install 'agop[distributed]'"
        ) from None
    try:
        client = Client(address, timeout=CONNECT_SECONDS)
    except (OSError, ValueError, TimeoutError) as error:
        reason = " ".join(str(error).split())[:200]
        raise bad_value(
            "scheduler",
            "the address of a running scheduler",
            f"{address!r} ({reason})",
            "start one with `dask scheduler`",
        ) from None
    with client:
        futures: dict[Any, Unit] = {client.submit(run, unit, pure=False): unit for unit in units}
        for future in as_completed(futures):
            failure = future.exception()
            if failure is None:
                yield future.result()
            else:  # the workers it was given to have died, one after the other
                reason = " ".join(str(failure).split()) or type(failure).__name__
                yield Outcome(futures[future], "failed", reason)
