"""Run units: those that are finished are left alone, the others run here, in processes of this machine, or on a Dask cluster.

Each unit's directory is locked while it is written. One that another process is at, in this call or in another one, is put off to the end,
then waited for, and is "there" when that process has finished it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path

from agop.experiments.pools import Pool
from agop.experiments.rundir import Held, RunDirectory
from agop.experiments.units import KIND, Outcome, Unit, resolved

Report = Callable[[int, int, Outcome], None]
"""Called after each unit with (how many are through, how many there are, how it ended)."""


def run_units(
    units: Sequence[Unit],
    out: Path,
    *,
    pool: Pool | None = None,
    threads: int | None = 1,
    report: Report | None = None,
) -> list[Outcome]:
    """Run what is not finished of `units` in the directory `out`; outcomes come in the order of the units.

    A unit that fails leaves the others alone. One whose worker dies runs again, from its last checkpoint, and fails if that kills another
    worker.

    Parameters
    ----------
    pool
        Where units run; one after the other in this process by default.
    threads
        torch's threads per unit; None leaves them alone.

    Raises
    ------
    ValueError
        One sentence, if a cluster cannot be reached.
    """
    pool = pool or Pool()
    ended: dict[Path, Outcome] = {}

    def note(outcome: Outcome) -> None:
        ended[outcome.unit.folder] = outcome
        if report is not None:
            report(len(ended), len(units), outcome)

    for unit in units:
        if unit.finished(out):
            note(Outcome(unit, "there"))
    pending = [unit for unit in units if unit.folder not in ended]
    place = str(out if pool.scheduler is None else out.resolve())
    # once for all units that share it: one that ends must not change it for another; else workers start before torch is imported here
    with _threads(threads) if pool.shares_threads else nullcontext():
        for wait in (False, True):
            held = []
            for outcome in pool.outcomes(partial(run_unit, out=place, threads=threads, wait=wait), pending):
                if outcome.status == "held":
                    held.append(outcome.unit)
                else:
                    note(outcome)
            pending = held
    return [ended[unit.folder] for unit in units]


def run_unit(unit: Unit, out: str, threads: int | None = 1, wait: bool = True) -> Outcome:
    """Run one unit in its directory below `out`, or what is left of it; safe to call again after any interruption.

    `threads` is the number of torch's threads while it runs: numbers are the same to the last bit only with the same number. A unit that
    another process is at comes back as "held", or is waited for.
    """
    try:
        with (
            _threads(threads),
            RunDirectory(Path(out) / unit.folder, KIND, _header(unit), wait=wait) as place,
        ):
            if place.finished:
                return Outcome(unit, "there")
            began = time.monotonic()
            notes = resolved(unit.work)(unit, place.path)
            place.finish({"unit": unit.describe(), "notes": notes, "seconds": time.monotonic() - began})
        return Outcome(unit, "done")
    except Held:
        return Outcome(unit, "held")
    except (ValueError, ArithmeticError, MemoryError, OSError) as error:
        return Outcome(unit, "failed", " ".join(str(error).split()) or type(error).__name__)


@contextmanager
def _threads(number: int | None) -> Iterator[None]:
    """Give torch so many threads (None: as many as it has), and restore their number."""
    import torch

    before = torch.get_num_threads()
    try:
        if number is not None:
            torch.set_num_threads(number)
        yield
    finally:
        torch.set_num_threads(before)


def _header(unit: Unit) -> dict[str, object]:
    what = unit.describe()
    return {
        "id": unit.id,
        "options": {
            **{name: what[name] for name in ("study", "kind", "table", "seed")},
            **unit.options,
        },
        "data": {
            "source": unit.label,
            "fingerprint": None if unit.data is None else unit.data.fingerprint,
            "n": unit.n,
        },
    }
