"""`agop reproduce`: run the units, gather their tables, decide the claims. The page is made from what lies in the directory.

config.json       preset and data of the reproduction                              (first)
units/            a directory per experiment, data set and seed
tables/DATA/      the units' tables with a column `seed`, one file per table
verdicts.json     every claim with its threshold, reason, number per seed, verdict, and the files it was computed from
verdicts.csv      the same in short
result.json       title, headline, facts, notes, the units that belong to it       (last)
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from agop._checks import integer, one_of
from agop.experiments.catalogue import claims_of
from agop.experiments.claims import FAILS, HOLDS, OPEN, Claim, Verdict, decide_all
from agop.experiments.files import read_json, write_json, write_text
from agop.experiments.presets import EXPERIMENTS, PRESETS, chosen_experiments, plan
from agop.experiments.rundir import RESULT, RunDirectory, identity
from agop.experiments.runner import Report, run_units
from agop.experiments.units import Outcome, Unit, check_unit, read_table

KIND = "reproduce"
TABLES, VERDICTS = "tables", "verdicts.json"


@dataclass(frozen=True, kw_only=True)
class Request:
    """The options of `agop reproduce`; empty `data` means the preset's."""

    experiment: str = "all"
    preset: str = "smoke"
    data: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0, 1, 2)
    data_root: str | None = None
    download: bool = False
    jobs: int | None = None
    dask: str | None = None

    def __post_init__(self) -> None:
        one_of("experiment", self.experiment, (*EXPERIMENTS, "all"))
        one_of("preset", self.preset, PRESETS)
        if self.jobs is not None:
            integer("jobs", self.jobs, at_least=1)

    @property
    def names(self) -> tuple[str, ...]:
        """The data sets."""
        return self.data or PRESETS[self.preset].data

    def command(self) -> str:
        """The shell command of this reproduction."""
        data = "".join(f" --data {name}" for name in self.names)
        seeds = "".join(f" --seeds {seed}" for seed in self.seeds)
        return f"agop reproduce {self.experiment} --preset {self.preset}{data}{seeds}"


@dataclass(frozen=True)
class Reproduction:
    """What a call did: the units as they ended, the verdicts, and whether there was anything to do at all."""

    worked: bool
    outcomes: Sequence[Outcome]
    verdicts: Sequence[Verdict]


def reproduce(request: Request, out: str | os.PathLike[str], report: Report | None = None) -> Reproduction:
    """Run what the request asks for in the directory `out`, or what is left of it.

    Further experiments and seeds can be added to the same directory; finished units are not run again.

    Raises
    ------
    ValueError
        One sentence, if an option, a data set or the directory can't be used.
    """
    preset, out = PRESETS[request.preset], Path(out)
    options = {"preset": request.preset, "data": [Path(name).stem for name in request.names]}
    header = {"id": identity(KIND, options, ""), "options": options, "command": request.command()}
    experiments = chosen_experiments(request.experiment)
    units = plan(
        experiments, preset, request.names, request.seeds, root=request.data_root, download=request.download
    )
    claims = claims_of(experiments, preset.architectures)
    state = _state(units, claims)
    with RunDirectory(out, KIND, header) as place:
        if place.finished and read_json(out / RESULT).get("state") == state:
            outcomes = [Outcome(unit, "there") for unit in units]
            return Reproduction(False, outcomes, _verdicts(claims, _gather(units, out), request))
        (out / RESULT).unlink(missing_ok=True)
        began = time.monotonic()
        jobs = request.jobs or (os.cpu_count() or 1 if preset.threads == 1 else 1)
        outcomes = run_units(units, out, jobs=jobs, dask=request.dask, threads=preset.threads, report=report)
        tables = _gather(units, out)
        _write_tables(tables, out)
        verdicts = _verdicts(claims, tables, request)
        _write_verdicts(verdicts, units, out)
        if all(outcome.status != "failed" for outcome in outcomes):
            place.finish(_result(request, outcomes, verdicts, state, time.monotonic() - began))
        return Reproduction(True, outcomes, verdicts)


def _state(units: Sequence[Unit], claims: Sequence[Claim]) -> str:
    """A hash of what the directory must hold to be finished."""
    content = [sorted(unit.id for unit in units), [claim.describe() for claim in claims]]
    return hashlib.blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=12).hexdigest()


def _gather(units: Sequence[Unit], out: Path) -> dict[str, dict[str, pd.DataFrame]]:
    """By data set and table name: the rows of all finished units, with their seed."""
    parts: dict[str, dict[str, list[pd.DataFrame]]] = {}
    for unit in units:
        if not unit.finished(out):
            continue
        check_unit(out / unit.folder)
        for file in sorted((out / unit.folder).glob("*.csv")):
            rows = read_table(file)
            rows.insert(0, "seed", unit.seed)
            parts.setdefault(unit.data.label, {}).setdefault(f"{unit.table}/{file.stem}", []).append(rows)
    return {
        data: {name: pd.concat(rows, ignore_index=True) for name, rows in tables.items()}
        for data, tables in parts.items()
    }


def table_file(data: str, name: str) -> str:
    """Where a gathered table lies, relative to the reproduction's directory."""
    return f"{TABLES}/{data}/{name.replace('/', '-')}.csv"


def _write_tables(tables: dict[str, dict[str, pd.DataFrame]], out: Path) -> None:
    for data, named in tables.items():
        (out / TABLES / data).mkdir(parents=True, exist_ok=True)
        for name, table in named.items():
            write_text(out / table_file(data, name), table.to_csv(index=False, lineterminator="\n"))


def _verdicts(
    claims: Sequence[Claim], tables: dict[str, dict[str, pd.DataFrame]], request: Request
) -> list[Verdict]:
    labels = [Path(name).stem for name in request.names]
    return [
        verdict
        for label in labels
        for verdict in decide_all(tuple(claims), tables.get(label, {}), data=label)
    ]


def _write_verdicts(verdicts: Sequence[Verdict], units: Sequence[Unit], out: Path) -> None:
    entries = []
    for verdict in verdicts:
        tables = {name.rpartition("/")[0] for name in verdict.claim.tables}
        own = [u for u in units if u.data.label == verdict.data and u.table in tables and u.finished(out)]
        entries.append(
            {
                **verdict.claim.describe(),
                "data": verdict.data,
                "values": {str(seed): _number(value) for seed, value in verdict.values.items()},
                "mean": _number(verdict.mean),
                "std": _number(verdict.std),
                "verdict": verdict.verdict,
                "reason": verdict.reason,
                "files": [table_file(verdict.data, name) for name in verdict.claim.tables],
                "units": [unit.folder.as_posix() for unit in own],
            }
        )
    write_json(out / VERDICTS, {"verdicts": entries})
    short = (
        "id",
        "data",
        "name",
        "says",
        "statistic",
        "relation",
        "threshold",
        "mean",
        "std",
        "verdict",
        "expected",
    )
    table = pd.DataFrame([{name: entry[name] for name in short} for entry in entries], columns=list(short))
    write_text(out / "verdicts.csv", table.to_csv(index=False, lineterminator="\n"))


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def headline(verdicts: Sequence[Verdict]) -> str:
    """How many of the paper's claims hold, and whether the controls came out negative, in one sentence."""
    paper = [v for v in verdicts if v.claim.id[0] == "C"]
    controls = [v for v in verdicts if v.claim.id[0] == "N"]
    counts = [(word, sum(v.verdict == word for v in paper)) for word in (HOLDS, FAILS, OPEN)]
    words = {
        HOLDS: ("holds", "hold"),
        FAILS: ("does not", "do not"),
        OPEN: ("is not decided", "are not decided"),
    }
    parts = [f"{count} {words[word][count != 1]}" for word, count in counts if count]
    sentence = (
        f"Of {len(paper)} claims of the paper, {', '.join(parts)}" if paper else "No claim of the paper"
    )
    negative = sum(v.verdict == FAILS for v in controls)
    return sentence + (f"; {negative} of {len(controls)} controls come out negative." if controls else ".")


def _result(
    request: Request, outcomes: Sequence[Outcome], verdicts: Sequence[Verdict], state: str, seconds: float
) -> dict[str, Any]:
    preset = PRESETS[request.preset]
    points = "all training points" if preset.points is None else f"{preset.points:,} training points or all"
    return {
        "title": f"Reproduction: {', '.join(dict.fromkeys(v.data for v in verdicts))}",
        "headline": headline(verdicts),
        "facts": {
            "Preset": request.preset,
            "Data": ", ".join(Path(name).stem for name in request.names),
            "Deep RFM": f"{points}, {preset.layers} layers of width {preset.width}, Laplace kernel of bandwidth 2, ridge 0.001",
            "Seeds": ", ".join(map(str, request.seeds)),
            "Units": f"{len(outcomes)}",
        },
        "notes": [
            f"{o.unit.table}, {o.unit.data.label}, seed {o.unit.seed}: {o.reason}"
            for o in outcomes
            if o.reason
        ],
        "units": [outcome.unit.folder.as_posix() for outcome in outcomes],
        "state": state,
        "seconds": seconds,
    }
