"""A unit is one computation of a study on one data set with one seed: the smallest piece of a reproduction, run at most once.

A unit's directory holds `config.json` (how it was begun), its tables as CSV, and at last `result.json` (what it is); its name ends in the
content hash of everything its numbers depend on, so that the same unit is found again and another one never takes its place. Times are in
`result.json` only: the tables of a unit that was killed and run again are equal, byte by byte, to those of an undisturbed one.

Studies import this module and are listed by `agop reproduce --list`: nothing heavy is imported before it is used.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any

KIND = "unit"
FOLDER = "units"
NO_DATA = "no-data"
"""The label of units that need no points, such as those of a theory."""


@dataclass(frozen=True)
class DataSource:
    """Points of a named data set or a file.

    Attributes
    ----------
    name
        What `agop.datasets.load` takes.
    fingerprint
        Of all of its points.
    root
        Folder of torchvision's files.
    n_train
        How many training points are drawn with the unit's seed; None: all.
    available
        How many training points there are.
    """

    name: str
    fingerprint: str
    root: str | None = None
    n_train: int | None = None
    available: int | None = None

    @property
    def label(self) -> str:
        """The name, or the file's name without folder and ending."""
        return Path(self.name).stem

    @property
    def n(self) -> int | None:
        """The number of training points."""
        return self.available if self.n_train is None else self.n_train

    def first(self, points: int | None) -> DataSource:
        """The same data with so many training points, or all of them if there are no more."""
        everything = points is None or (self.available is not None and points >= self.available)
        return replace(self, n_train=None if everything else points)

    def load(self, seed: int) -> Any:
        """The points of one seed, an `agop.datasets.Dataset`."""
        from agop.datasets import load

        return load(self.name, root=self.root, n_train=self.n_train, subset="random", seed=seed)


@dataclass(frozen=True)
class Generated:
    """Points that a function makes from a seed; its parameters are its fingerprint.

    Attributes
    ----------
    label
        What tables, folders and figures call it.
    make
        "module:function"; it is called with the keywords `seed`, `n` and the parameters, and may return what the study's work understands.
    n
        The number of training points; None where the function has another idea of size (it is not given `n` then).
    parameters
        Plain values (JSON).
    """

    label: str
    make: str
    n: int | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """A hash of the function's name and everything it is called with but the seed."""
        text = json.dumps([self.make, self.n, dict(self.parameters)], sort_keys=True, allow_nan=False)
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    def load(self, seed: int) -> Any:
        """What the function makes with this seed."""
        size = {} if self.n is None else {"n": self.n}
        return resolved(self.make)(seed=seed, **size, **self.parameters)


Points = DataSource | Generated | None
"""What a unit computes with; None: no points at all."""


@dataclass(frozen=True)
class Unit:
    """What to compute.

    Attributes
    ----------
    kind
        What is done, a key of the study's `work`.
    table
        Under which name the unit's tables are gathered, such as "deep-rfm/relu".
    seed
        Of all randomness.
    data
        The points.
    options
        What else decides the numbers; plain values (JSON).
    part
        The part of the study, where it has parts.
    study, work
        The study's name, and the "module:function" of the kind; `Study.units_of` fills them in.
    """

    kind: str
    table: str
    seed: int
    data: Points = None
    options: Mapping[str, Any] = field(default_factory=dict)
    part: str = ""
    study: str = ""
    work: str = ""

    @property
    def label(self) -> str:
        """The name of the data."""
        return NO_DATA if self.data is None else self.data.label

    @property
    def n(self) -> int | None:
        """The number of training points; None without any."""
        return None if self.data is None else self.data.n

    @property
    def id(self) -> str:
        """The content hash of everything that decides the numbers, the version of agop among it."""
        from agop.experiments.environment import installed
        from agop.experiments.rundir import identity

        decisive = {
            "study": self.study,
            "seed": self.seed,
            "n_train": self.data.n_train if isinstance(self.data, DataSource) else self.n,
            "options": dict(self.options),
            "version": installed("agop"),
        }
        return identity(f"{KIND}/{self.kind}", decisive, "" if self.data is None else self.data.fingerprint)

    @property
    def folder(self) -> Path:
        """The unit's directory, relative to that of the reproduction."""
        words = [self.table.replace("/", "-"), self.label, f"seed{self.seed}", self.id]
        return Path(FOLDER, self.study, "_".join(words))

    @property
    def words(self) -> str:
        """The unit in a few words."""
        where = f" on {self.label}" if self.data is not None else ""
        return f"{self.study}: {self.table}{where}, seed {self.seed}"

    def describe(self) -> dict[str, Any]:
        """What the unit is, as plain values: its `result.json` says it, and whoever reads the directory learns it there."""
        return {
            "study": self.study,
            "part": self.part,
            "kind": self.kind,
            "table": self.table,
            "seed": self.seed,
            "data": self.label,
            "n": self.n,
            "options": dict(self.options),
        }

    def finished(self, out: Path) -> bool:
        """Whether the unit's numbers are complete."""
        from agop.experiments.rundir import RESULT

        return (out / self.folder / RESULT).is_file()


@dataclass(frozen=True)
class Outcome:
    """How a unit ended.

    "done" now, "there" already, "failed" with the reason in one sentence, or "held": another process is at it.
    """

    unit: Unit
    status: str
    reason: str = ""


def resolved(line: str) -> Any:
    """What a line "module:function" stands for; its module is imported now."""
    module, _, name = line.partition(":")
    return getattr(import_module(module), name)
