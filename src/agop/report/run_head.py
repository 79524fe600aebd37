"""What the directory of any finished run says of itself: opened, checked, and told in the same words whatever it is about."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agop._checks import bad_type, bad_value, shown
from agop.experiments.files import read_json
from agop.experiments.manifest import check_tables
from agop.experiments.rundir import CONFIG, FORMAT, RESULT

TABLE_RUN = "rfm"
"""The kind of run that has columns of a table instead of layers."""

REMEDY = "run it again elsewhere"


@dataclass(frozen=True, eq=False)
class RunHead:
    """Where a run lies, what it was asked for, and its words: title, headline, facts, notes."""

    path: Path
    name: str
    config: Mapping[str, Any]
    title: str
    headline: str
    facts: Mapping[str, str]
    notes: tuple[str, ...]


def head_of(folder: Path, config: Mapping[str, Any], result: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `RunHead`, from what `opened` gave."""
    return {
        "path": folder,
        "name": folder.resolve().name,
        "config": config,
        "title": str(result.get("title", config.get("kind", "run"))),
        "headline": str(result.get("headline", "")),
        "facts": {str(k): str(v) for k, v in of_type(result, "facts", dict, RESULT).items()},
        "notes": tuple(str(note) for note in of_type(result, "notes", list, RESULT)),
    }


def opened(path: str | os.PathLike[str]) -> tuple[Path, dict[str, Any], dict[str, Any]]:
    """The directory of a finished run of any kind, its config.json and result.json, the tables checked.

    Raises
    ------
    ValueError
        One sentence, if it is no run, not finished, of another format, or damaged.
    """
    if not isinstance(path, str | os.PathLike):
        raise bad_type("run", "the directory of a run", repr(path))
    folder = Path(path)
    if not _is_run(folder):
        raise bad_value(
            "run", "the directory of a run", shown(str(path)), "make one with `agop deep-rfm --out DIR`"
        )
    config = read_json(folder / CONFIG)
    if config.get("format") != FORMAT:
        raise bad_value("run", f"format {FORMAT}", f"{str(path)!r} of format {shown(config.get('format'))}")
    if not (folder / RESULT).is_file():
        got = f"{str(path)!r}, which was cut off"
        raise bad_value(
            "run", "a finished run", got, f"finish it with `{config.get('command')} --out {path}`"
        )
    result = read_json(folder / RESULT)
    check_tables(folder, result, REMEDY)
    for name in ("versions", "machine"):
        of_type(config, name, dict, CONFIG)
    return folder, config, result


def kind_of_run(path: str | os.PathLike[str]) -> str:
    """The verb whose run a directory holds; "" if it holds none."""
    if not isinstance(path, str | os.PathLike):
        return ""
    try:
        return str(read_json(Path(path) / CONFIG).get("kind", ""))
    except ValueError:
        return ""


def _is_run(folder: Path) -> bool:
    try:
        return folder.is_dir() and (folder / CONFIG).is_file()
    except OSError:  # a name that is none on this system
        return False


def of_type(content: Mapping[str, Any], name: str, kind: type, file: str) -> Any:
    """An entry of a JSON file, empty if it is not there; `ValueError` if it is of another type."""
    value = content.get(name, kind())
    if not isinstance(value, kind):
        raise bad_value("run", f"a JSON {kind.__name__} as {name} in {file}", type(value).__name__, REMEDY)
    return value
