"""Run units: those that are finished are left alone, the others run here, in processes of this machine, or on a Dask cluster."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from agop._checks import bad_value, integer
from agop.experiments.units import Outcome, Unit, run_unit

CONNECT_SECONDS = 10
"""How long a Dask scheduler may take to answer."""

Report = Callable[[int, int, Outcome], None]
"""Called after each unit with (how many are through, how many there are, how it ended)."""


def run_units(
    units: Sequence[Unit],
    out: Path,
    *,
    jobs: int = 1,
    dask: str | None = None,
    threads: int | None = 1,
    report: Report | None = None,
) -> list[Outcome]:
    """Run what is not finished of `units` in the directory `out`; outcomes come in the order of the units.

    A unit that fails leaves the others alone. One whose process is killed runs again with the next call, from its last checkpoint; on a
    Dask cluster, the scheduler gives it to another worker at once.

    Parameters
    ----------
    jobs
        Processes of this machine (joblib); 1 runs in this process.
    dask
        Address of a scheduler, such as "tcp://host:8786"; its workers must see `out` and the data under the same paths.
    threads
        torch's threads per unit; None leaves them alone.

    Raises
    ------
    ValueError
        One sentence, if the cluster cannot be reached.
    """
    jobs = integer("jobs", jobs, at_least=1)
    ended = {unit.id: Outcome(unit, "there") for unit in units if unit.finished(out)}
    for number, outcome in enumerate(ended.values(), start=1):
        if report is not None:
            report(number, len(units), outcome)
    pending = [unit for unit in units if unit.id not in ended]
    if dask is not None and pending:
        stream = _on_cluster(pending, out, dask, threads)
    elif jobs > 1 and len(pending) > 1:
        stream = _in_processes(pending, out, jobs, threads)
    else:
        stream = (run_unit(unit, str(out), threads) for unit in pending)
    for outcome in stream:
        ended[outcome.unit.id] = outcome
        if report is not None:
            report(len(ended), len(units), outcome)
    return [ended[unit.id] for unit in units]


def _in_processes(units: Sequence[Unit], out: Path, jobs: int, threads: int | None) -> Iterator[Outcome]:
    from joblib import Parallel, delayed

    work = Parallel(n_jobs=min(jobs, len(units)), return_as="generator_unordered", batch_size=1)
    with warnings.catch_warnings():
        # a worker that has grown is replaced by a fresh one, which is as well
        warnings.filterwarnings("ignore", message="A worker stopped while some jobs")
        yield from work(delayed(run_unit)(unit, str(out), threads) for unit in units)


def _on_cluster(units: Sequence[Unit], out: Path, address: str, threads: int | None) -> Iterator[Outcome]:
    try:
        from distributed import Client, as_completed
    except ImportError:
        raise bad_value(
            "dask", "the package distributed", "none installed", "pip install 'agop[distributed]'"
        ) from None
    try:
        client = Client(address, timeout=CONNECT_SECONDS)
    except (OSError, ValueError, TimeoutError) as error:
        reason = " ".join(str(error).split())[:200]
        raise bad_value(
            "dask",
            "the address of a running scheduler",
            f"{address!r} ({reason})",
            "start one with `dask scheduler`",
        ) from None
    with client:
        futures: dict[Any, Unit] = {
            client.submit(
                run_unit, unit, str(out.resolve()), threads, key=f"agop-{unit.id}", pure=False
            ): unit
            for unit in units
        }
        for future in as_completed(futures):
            failure = future.exception()
            if failure is None:
                yield future.result()
            else:  # the workers it was given to have died, one after the other
                reason = " ".join(str(failure).split()) or type(failure).__name__
                yield Outcome(futures[future], "failed", reason)
