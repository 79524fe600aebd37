"""A finished reproduction as its directory tells it, also one that 0.1.0 wrote."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from agop._checks import bad_value
from agop.datasets.npz import DAMAGED, read_arrays
from agop.experiments.files import read_json
from agop.experiments.manifest import check_tables
from agop.experiments.rundir import CONFIG, RESULT
from agop.experiments.studies import STUDIES
from agop.experiments.study import Study
from agop.experiments.tables import FOLDER, described, read_table

KIND = "reproduce"
VERDICTS = "verdicts.json"
_FIRST = "beaglehole2024"
"""The only study of 0.1.0, which did not name it."""
_MOST_BYTES = 2**30


@dataclass(frozen=True, eq=False)
class Finished:
    """One finished reproduction.

    Attributes
    ----------
    folder, config, result
        Where it lies, and its two JSON files.
    verdicts
        The entries of verdicts.json.
    units
        What each unit is (`Unit.describe`), by its folder relative to the reproduction's.
    tables
        Study, data, name and file of each gathered table.
    """

    folder: Path
    config: Mapping[str, Any]
    result: Mapping[str, Any]
    verdicts: tuple[Mapping[str, Any], ...]
    units: Mapping[str, Mapping[str, Any]]
    tables: tuple[Mapping[str, str], ...]

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Finished:
        """Read a directory, and check every file in it that numbers are read from.

        Raises
        ------
        ValueError
            One sentence, if it holds no finished reproduction, or a damaged one.
        """
        folder = Path(path)
        config = read_json(folder / CONFIG)
        if config.get("kind") != KIND or not (folder / RESULT).is_file():
            expected = "the directory of a finished reproduction"
            raise bad_value("run", expected, repr(str(path)), "finish it with `agop reproduce`")
        result = read_json(folder / RESULT)
        check_tables(folder, result, f"delete {str(folder / RESULT)!r} and run `agop reproduce` again")
        units = {unit: {"study": _FIRST, **described(folder / unit)} for unit in result["units"]}
        entries = read_json(folder / VERDICTS)["verdicts"]
        return cls(
            folder,
            config,
            result,
            tuple(entry if "study" in entry else _of_first(entry) for entry in entries),
            units,
            tuple(result["tables"]) if "tables" in result else _tables_of_first(folder, units),
        )

    @property
    def studies(self) -> tuple[Study, ...]:
        """The studies of the verdicts."""
        names = dict.fromkeys(entry["study"] for entry in self.verdicts)
        return tuple(_study(name) for name in names)

    def labels(self, study: str) -> tuple[str, ...]:
        """The data sets of a study, in the order of its units."""
        return tuple(dict.fromkeys(unit["data"] for unit in self.units.values() if unit["study"] == study))

    def frames(self, study: str, data: str) -> dict[str, pd.DataFrame]:
        """The gathered tables of a data set by name, each with the column `data`."""
        own = [entry for entry in self.tables if (entry["study"], entry["data"]) == (study, data)]
        return {entry["name"]: read_table(self.folder / entry["file"]).assign(data=data) for entry in own}

    def arrays(self, study: str, data: str, table: str, file: str) -> Mapping[str, np.ndarray]:
        """The arrays that the first unit of a table wrote into a file; none if there is no such unit or file."""
        for folder, unit in self.units.items():
            path = self.folder / folder / file
            if (unit["study"], unit["data"], unit["table"]) == (study, data, table) and path.is_file():
                try:
                    return read_arrays(path, _MOST_BYTES)
                except DAMAGED as error:
                    reason = " ".join(str(error).split())[:200]
                    got = f"{str(path)!r} ({reason})"
                    raise bad_value("run", f"a readable {file}", got, "delete that unit") from None
        return {}


def is_reproduction(path: str | os.PathLike[str]) -> bool:
    """Whether a directory says that it is one of `agop reproduce`."""
    config = Path(path) / CONFIG
    return config.is_file() and read_json(config).get("kind") == KIND


def _study(name: str) -> Study:
    if name not in STUDIES:
        remedy = "install the package that brings it, or choose another run"
        raise bad_value("run", "studies that are there", repr(name), remedy)
    return STUDIES[name]


def _of_first(entry: Mapping[str, Any]) -> dict[str, Any]:
    """A verdict that 0.1.0 wrote, with the fields it lacks as its study has them today."""
    claim = next(claim for claim in STUDIES[_FIRST].claims_of("paper") if claim.id == entry["id"])
    return {**claim.describe(), **entry, "study": _FIRST, "part": entry["experiment"]}


def _tables_of_first(folder: Path, units: Mapping[str, Mapping[str, Any]]) -> tuple[dict[str, str], ...]:
    """The index that 0.1.0 did not write: every table of its units, and where it put it."""
    found = {}
    for unit, what in units.items():
        for file in sorted((folder / unit).glob("*.csv")):
            name = f"{what['table']}/{file.stem}"
            place = f"{FOLDER}/{what['data']}/{name.replace('/', '-')}.csv"
            found[place] = {"study": what["study"], "data": what["data"], "name": name, "file": place}
    return tuple(found.values())
