"""What the tables of a finished run were when it was finished: a damaged or edited one is never read as good."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agop._checks import bad_value

_TABLES = ("*.csv", "*.npz", "verdicts.json", "tables/**/*.csv")


def digests(folder: Path) -> dict[str, str]:
    """A content hash for every table in a run's directory, by path relative to it."""
    files = sorted(file for pattern in _TABLES for file in folder.glob(pattern) if file.is_file())
    return {file.relative_to(folder).as_posix(): _digest(file) for file in files}


def check_tables(folder: Path, result: Mapping[str, Any], remedy: str) -> None:
    """Compare the tables in a run's directory with those that its `result.json` was written for.

    Raises
    ------
    ValueError
        One sentence that names the first file that is missing or another, and the remedy.
    """
    written = result.get("files", {})
    if not isinstance(written, dict):
        raise bad_value("run", "an object as files in result.json", type(written).__name__, remedy)
    for name, digest in written.items():
        file = folder / name
        if not file.is_file():
            raise bad_value("run", f"the run's {name}", f"no {str(file)!r}", remedy)
        if _digest(file) != digest:
            got = f"{str(file)!r}, which was changed or damaged since"
            raise bad_value("run", f"{name} as the run wrote it", got, remedy)


def _digest(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    except OSError as error:
        raise bad_value(
            "run", "tables that can be read", f"{str(file)!r} ({error.strerror})", "check the disk"
        ) from None
