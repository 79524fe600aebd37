"""A unit is one experiment on one data set with one seed: the smallest piece of a reproduction, run at most once.

A unit's directory holds `config.json` (what it is), its tables as CSV, and at last `result.json`; its name ends in the content hash of
everything its numbers depend on, so that the same unit is found again and another one never takes its place. Times are in `result.json`
only: the tables of a unit that was killed and run again are equal, byte by byte, to those of an undisturbed one.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from agop.datasets import Dataset, load
from agop.experiments.files import read_json, write_text
from agop.experiments.manifest import check_tables
from agop.experiments.rundir import CONFIG, RESULT, RunDirectory, identity

KIND = "unit"
FOLDER = "units"


@dataclass(frozen=True)
class DataSource:
    """Where points come from, and the fingerprint of all of them; `n_train` points are drawn with the unit's seed (None: all)."""

    name: str
    fingerprint: str
    root: str | None = None
    n_train: int | None = None

    @property
    def label(self) -> str:
        """The name, or the file's name without folder and ending."""
        return Path(self.name).stem

    def load(self, seed: int) -> Dataset:
        """The points of one seed."""
        return load(self.name, root=self.root, n_train=self.n_train, subset="random", seed=seed)


@dataclass(frozen=True)
class Unit:
    """What to compute: `kind` names the function, `table` where its numbers go, `options` decide them with seed and data."""

    kind: str
    table: str
    seed: int
    data: DataSource
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """The content hash of everything that decides the numbers, the version of agop among it."""
        decisive = {
            "seed": self.seed,
            "n_train": self.data.n_train,
            "options": dict(self.options),
            "version": version("agop"),
        }
        return identity(f"{KIND}/{self.kind}", decisive, self.data.fingerprint)

    @property
    def folder(self) -> Path:
        """The unit's directory, relative to that of the reproduction."""
        words = [self.table.replace("/", "-"), self.data.label, f"seed{self.seed}", self.id]
        return Path(FOLDER, "_".join(words))

    def describe(self) -> dict[str, Any]:
        """What the unit is, as plain values: its `result.json` says it, and whoever reads the directory learns it there."""
        return {
            "kind": self.kind,
            "table": self.table,
            "seed": self.seed,
            "data": self.data.label,
            "n_train": self.data.n_train,
            "options": dict(self.options),
        }

    def finished(self, out: Path) -> bool:
        """Whether the unit's numbers are complete."""
        return (out / self.folder / RESULT).is_file()


@dataclass(frozen=True)
class Outcome:
    """How a unit ended: "done" now, "there" already, or "failed" with the reason in one sentence."""

    unit: Unit
    status: str
    reason: str = ""


def check_unit(folder: Path) -> dict[str, Any]:
    """The `result.json` of a finished unit or run, whose tables are as it wrote them; else `ValueError`, one sentence."""
    remedy = f"delete {str(folder)!r}, and the same command computes it again"
    result = read_json(folder / RESULT, remedy)
    check_tables(folder, result, remedy)
    return result


def described(folder: Path) -> dict[str, Any]:
    """What a finished unit says it is (`Unit.describe`); one that 0.1.0 wrote says it in `config.json` only."""
    unit = check_unit(folder).get("unit")
    if isinstance(unit, dict):
        return unit
    config = read_json(folder / CONFIG, f"delete {str(folder)!r}, and the same command computes it again")
    options, data = dict(config["options"]), config["data"]
    named = {name: options.pop(name) for name in ("kind", "table", "seed")}
    return {**named, "data": data["source"], "n_train": data["n_train"], "options": options}


def read_table(path: Path) -> pd.DataFrame:
    """A table that `write_table` wrote, with every digit."""
    if int(pd.__version__.split(".")[0]) < 3:  # later releases of pandas round-trip by themselves
        return pd.read_csv(path, float_precision="round_trip")
    return pd.read_csv(path)


def write_table(folder: Path, name: str, table: pd.DataFrame) -> None:
    """Write a table of a unit as CSV, atomically; numbers keep all their digits."""
    write_text(folder / f"{name}.csv", table.to_csv(index=False, lineterminator="\n"))


def run_unit(unit: Unit, out: str, threads: int | None = 1) -> Outcome:
    """Run one unit in its directory below `out`, or what is left of it; safe to call again after any interruption.

    `threads` is the number of torch's threads while it runs: numbers are the same to the last bit only with the same number.
    """
    from agop.experiments.work import WORK

    before = torch.get_num_threads()
    header = {
        "id": unit.id,
        "options": {"kind": unit.kind, "table": unit.table, "seed": unit.seed, **unit.options},
        "data": {
            "source": unit.data.label,
            "fingerprint": unit.data.fingerprint,
            "n_train": unit.data.n_train,
        },
    }
    try:
        if threads is not None:
            torch.set_num_threads(threads)
        with RunDirectory(Path(out) / unit.folder, KIND, header) as place:
            if place.finished:
                return Outcome(unit, "there")
            began = time.monotonic()
            notes = WORK[unit.kind](unit, place.path)
            place.finish({"unit": unit.describe(), "notes": notes, "seconds": time.monotonic() - began})
        return Outcome(unit, "done")
    except (ValueError, ArithmeticError, MemoryError, OSError) as error:
        return Outcome(unit, "failed", " ".join(str(error).split()) or type(error).__name__)
    finally:
        torch.set_num_threads(before)
