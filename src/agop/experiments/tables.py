"""Tables of units, as each of them wrote its own, and gathered over seeds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from agop._checks import bad_value
from agop._csv import read_csv
from agop.experiments.files import read_json, write_text
from agop.experiments.manifest import check_tables
from agop.experiments.rundir import CONFIG, RESULT
from agop.experiments.units import Unit

FOLDER = "tables"
OWN = ("data", "seed")
"""Columns that gathered tables have, and units leave to them."""

Gathered = dict[str, dict[str, dict[str, pd.DataFrame]]]
"""By study, data label and name ("TABLE/FILE"): the rows of all finished units, with the column `seed`."""


def write_table(folder: Path, name: str, table: pd.DataFrame) -> None:
    """Write a table of a unit as CSV, atomically; numbers keep all their digits.

    Raises
    ------
    ValueError
        One sentence, if it has a column `data` or `seed`, which are added where the tables of units are gathered.
    """
    taken = [column for column in OWN if column in table]
    if taken:
        raise bad_value("table", "columns other than data and seed", f"{taken[0]!r} in {name!r}", "rename it")
    write_text(folder / f"{name}.csv", table.to_csv(index=False, lineterminator="\n"))


def read_table(path: Path) -> pd.DataFrame:
    """A table that `write_table` wrote, with every digit; one without columns is empty."""
    if path.stat().st_size < 2:  # a line end alone
        return pd.DataFrame()
    return read_csv(path)


def check_unit(folder: Path) -> dict[str, Any]:
    """The `result.json` of a finished unit or run, whose tables are as it wrote them; else `ValueError`, one sentence."""
    remedy = f"delete {str(folder)!r}, and the same command computes it again"
    result = read_json(folder / RESULT, remedy)
    check_tables(folder, result, remedy)
    return result


def described(folder: Path) -> dict[str, Any]:
    """What a finished unit says it is (`Unit.describe`); one that 0.1.0 wrote says it in `config.json` only, and has no study."""
    unit = check_unit(folder).get("unit")
    if isinstance(unit, dict):
        return unit
    config = read_json(folder / CONFIG, f"delete {str(folder)!r}, and the same command computes it again")
    options, data = dict(config["options"]), config["data"]
    named = {name: options.pop(name) for name in ("kind", "table", "seed")}
    return {**named, "data": data["source"], "n": data["n_train"], "options": options}


def gather(units: Sequence[Unit], out: Path) -> Gathered:
    """The tables of all finished units; with a column `n`, the number of training points, where units of one table differ in it."""
    sizes = _sizes(units)
    parts: dict[str, dict[str, dict[str, list[pd.DataFrame]]]] = {}
    for unit in units:
        if not unit.finished(out):
            continue
        check_unit(out / unit.folder)
        for file in sorted((out / unit.folder).glob("*.csv")):
            rows = read_table(file)
            if "n" not in rows and len(sizes[unit.study, unit.label, unit.table]) > 1:
                rows.insert(0, "n", unit.n)
            rows.insert(0, "seed", unit.seed)
            named = parts.setdefault(unit.study, {}).setdefault(unit.label, {})
            named.setdefault(f"{unit.table}/{file.stem}", []).append(rows)
    return {
        study: {
            data: {name: pd.concat(rows, ignore_index=True) for name, rows in named.items()}
            for data, named in by_data.items()
        }
        for study, by_data in parts.items()
    }


def _sizes(units: Iterable[Unit]) -> dict[tuple[str, str, str], set[int | None]]:
    """The numbers of training points by study, data and table."""
    sizes: dict[tuple[str, str, str], set[int | None]] = {}
    for unit in units:
        sizes.setdefault((unit.study, unit.label, unit.table), set()).add(unit.n)
    return sizes


def with_keys(tables: Gathered, units: Iterable[Unit]) -> Gathered:
    """The tables as claims get them: each with the columns `data` and `n` besides `seed`."""
    sizes = _sizes(units)

    def complete(study: str, data: str, name: str, table: pd.DataFrame) -> pd.DataFrame:
        (n, *_) = sizes[study, data, table_of(name)]
        return table.assign(data=data) if "n" in table else table.assign(data=data, n=n)

    return {
        study: {
            data: {name: complete(study, data, name, table) for name, table in named.items()}
            for data, named in by_data.items()
        }
        for study, by_data in tables.items()
    }


def table_of(name: str) -> str:
    """The units' table in the name TABLE/FILE of a gathered one."""
    return name.rpartition("/")[0]


def table_file(study: str, data: str, name: str) -> str:
    """Where a gathered table lies, relative to the reproduction's directory."""
    return f"{FOLDER}/{study}/{data}/{name.replace('/', '-')}.csv"


def write_gathered(tables: Gathered, out: Path) -> list[dict[str, str]]:
    """Write every gathered table, and return their index: study, data, name and file of each.

    Raises
    ------
    ValueError
        One sentence, if two names ask for one file, as "a/b" and "a-b" do.
    """
    index: list[dict[str, str]] = []
    for study, by_data in tables.items():
        for data, named in by_data.items():
            (out / FOLDER / study / data).mkdir(parents=True, exist_ok=True)
            for name, table in named.items():
                file = table_file(study, data, name)
                if other := next((entry["name"] for entry in index if entry["file"] == file), None):
                    raise bad_value(
                        "table",
                        "names that differ in more than / and -",
                        f"{other!r} and {name!r} in {study}",
                    )
                write_text(out / file, table.to_csv(index=False, lineterminator="\n"))
                index.append({"study": study, "data": data, "name": name, "file": file})
    return index


def together(by_data: Iterable[Mapping[str, pd.DataFrame]]) -> dict[str, pd.DataFrame]:
    """The tables of several data sets, each name once, with the rows of all of them."""
    parts: dict[str, list[pd.DataFrame]] = {}
    for named in by_data:
        for name, table in named.items():
            parts.setdefault(name, []).append(table)
    return {name: pd.concat(tables, ignore_index=True) for name, tables in parts.items()}
