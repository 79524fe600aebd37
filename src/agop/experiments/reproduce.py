"""`agop reproduce`: run the units, gather their tables, decide the claims. The page is made from what lies in the directory.

config.json                 size and data of the reproduction                     (first)
units/STUDY/                a directory per table, data set and seed
tables/STUDY/DATA/          the units' tables with a column `seed`, one file per table
verdicts.json               every claim with its threshold, reason, number per seed, verdict, and the files it was computed from
verdicts.csv                the same in short
result.json                 title, headline, facts, notes, the units and tables that belong to it   (last)

Several processes may share a directory. Each unit is locked by whoever is at it; the files above are written by whoever holds the
directory's own lock, and belong together.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agop._checks import bad_value, one_of
from agop.experiments.claims import Claim, Verdict
from agop.experiments.files import read_json
from agop.experiments.finished import KIND
from agop.experiments.planning import ALL, Choice, choices, claims_of, data_of, plan
from agop.experiments.pools import Pool
from agop.experiments.rundir import CONFIG, RESULT, RunDirectory, identity
from agop.experiments.runner import Report, run_units
from agop.experiments.sizes import SIZES
from agop.experiments.tables import gather, write_gathered
from agop.experiments.units import FOLDER, Outcome, Unit
from agop.experiments.verdicts import decided, headline, write_verdicts

LAYOUT = 2
"""How the directory is laid out: 1, that of 0.1.0, named no study."""

UNLOCKED = "Nothing keeps a second process from doing the same unit at the same time: the file system of the directory has no locks."


@dataclass(frozen=True, kw_only=True)
class Request:
    """The options of `agop reproduce`; empty `data` means each study's own, `jobs` None as many as suit the size."""

    studies: tuple[str, ...] = (ALL,)
    preset: str = "smoke"
    data: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0, 1, 2)
    data_root: str | None = None
    download: bool = False
    jobs: int | None = None
    backend: str = "loky"
    scheduler: str | None = None

    def __post_init__(self) -> None:
        one_of("preset", self.preset, SIZES)
        _ = self.pool

    @property
    def pool(self) -> Pool:
        """Where its units run."""
        several = SIZES[self.preset].threads == 1
        jobs = self.jobs if self.jobs is not None else (os.cpu_count() or 1 if several else 1)
        return Pool(jobs, self.backend, self.scheduler)

    def command(self) -> str:
        """The shell command of this reproduction."""
        words = ["agop reproduce", *self.studies, f"--preset {self.preset}"]
        words += [f"--data {name}" for name in self.data] + [f"--seeds {seed}" for seed in self.seeds]
        return " ".join(words)


@dataclass(frozen=True)
class Reproduction:
    """What a call did: the units as they ended, the verdicts, whether there was anything to do at all, and what to know about it."""

    worked: bool
    outcomes: Sequence[Outcome]
    verdicts: Sequence[Verdict]
    notes: tuple[str, ...] = ()


def reproduce(request: Request, out: str | os.PathLike[str], report: Report | None = None) -> Reproduction:
    """Run what the request asks for in the directory `out`, or what is left of it.

    Further studies and seeds can be added to the same directory; finished units are not run again.

    Raises
    ------
    ValueError
        One sentence, if an option, a data set or the directory can't be used.
    """
    out, threads = Path(out), SIZES[request.preset].threads
    chosen = choices(request.studies, request.preset)
    own = data_of(chosen, request.preset, request.data)
    units = plan(
        chosen, request.preset, request.data, request.seeds, root=request.data_root, download=request.download
    )
    claims = claims_of(chosen, request.preset)
    state, header = _state(units, claims), _header(request, chosen, own)
    _refuse_former(out)
    with RunDirectory(out, KIND, header, wait=True, parts=FOLDER) as place:
        if place.finished and read_json(out / RESULT).get("state") == state:
            verdicts = decided(claims, units, gather(units, out))
            return Reproduction(False, [Outcome(unit, "there") for unit in units], verdicts)
        (out / RESULT).unlink(missing_ok=True)
        pool, notes = _pool(request, place.locked)
    began = time.monotonic()
    outcomes = run_units(units, out, pool=pool, threads=threads, report=report)
    with RunDirectory(out, KIND, header, wait=True, parts=FOLDER) as place:
        (out / RESULT).unlink(missing_ok=True)
        tables = gather(units, out)
        index = write_gathered(tables, out)
        verdicts = decided(claims, units, tables)
        write_verdicts(verdicts, units, out)
        if all(outcome.status != "failed" for outcome in outcomes):
            result = _result(request, chosen, outcomes, verdicts)
            result["notes"] = [*notes, *result["notes"]]
            place.finish(result | {"tables": index, "state": state, "seconds": time.monotonic() - began})
    return Reproduction(True, outcomes, verdicts, notes)


def _header(request: Request, chosen: Sequence[Choice], own: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """What the directory is for: a size, and data in the place of the studies' own."""
    usual = all(tuple(own[c.study.name]) == c.study.data.get(request.preset, ()) for c in chosen)
    data = [] if usual else [Path(name).stem for name in request.data]
    options = {"layout": LAYOUT, "preset": request.preset, "data": data}
    return {"id": identity(KIND, options, ""), "options": options, "command": request.command()}


def _refuse_former(out: Path) -> None:
    """A reproduction of another layout is never written to."""
    if not (out / CONFIG).is_file():
        return
    there = read_json(out / CONFIG)
    options = there.get("options")
    layout = options.get("layout", 1) if isinstance(options, dict) else LAYOUT
    if there.get("kind") == KIND and layout != LAYOUT:
        versions = there.get("versions")
        by = versions.get("agop") if isinstance(versions, dict) else None
        got = f"{str(out)!r}, a reproduction that agop {by} wrote, whose folders name no study"
        remedy = f"choose another; `agop report {out}` still makes its page"
        raise bad_value("out", "a new directory or a reproduction of this version", got, remedy)


def _pool(request: Request, locked: bool) -> tuple[Pool, tuple[str, ...]]:
    """Where units run; one after the other, with a note, where no lock keeps two processes apart."""
    if locked:
        return request.pool, ()
    if request.scheduler is not None or (request.jobs or 1) > 1:
        given = request.backend if request.scheduler is not None else str(request.jobs)
        raise bad_value(
            "jobs", "1 in a directory whose file system has no locks", given, "choose another --out"
        )
    return Pool(), (UNLOCKED,)


def _state(units: Sequence[Unit], claims: Sequence[tuple[str, Claim]]) -> str:
    """A hash of what the directory must hold to be finished."""
    content = [
        sorted(unit.folder.as_posix() for unit in units),
        [[study, c.describe()] for study, c in claims],
    ]
    return hashlib.blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=12).hexdigest()


def _result(
    request: Request, chosen: Sequence[Choice], outcomes: Sequence[Outcome], verdicts: Sequence[Verdict]
) -> dict[str, Any]:
    labels = dict.fromkeys(outcome.unit.label for outcome in outcomes if outcome.unit.data is not None)
    names = [choice.study.name for choice in chosen]
    title = f"Reproduction: {', '.join(names)}" + (f" on {', '.join(labels)}" if labels else "")
    facts = {"Preset": request.preset, "Data": ", ".join(labels) or "none"}
    for choice in chosen:
        facts |= choice.study.facts(request.preset)
    return {
        "title": title,
        "headline": headline(verdicts),
        "facts": {**facts, "Seeds": ", ".join(map(str, request.seeds)), "Units": f"{len(outcomes)}"},
        "notes": [f"{o.unit.words}: {o.reason}" for o in outcomes if o.reason],
        "units": [outcome.unit.folder.as_posix() for outcome in outcomes],
    }
