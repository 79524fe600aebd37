"""Files that are whole or not there: written beside their place, flushed to disk, moved there."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agop._checks import bad_value

PARTIAL = ".partial-"
"""How the names of files begin that are being written; a killed process leaves some, to be deleted."""


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a path to write to; when the block ends well, that file is flushed and takes the place of `path`.

    A reader sees the old file or the whole new one, also after a power cut. If the block raises, nothing
    changes.
    """
    partial = path.parent / f"{PARTIAL}{secrets.token_hex(8)}{path.suffix}"
    try:
        yield partial
        with partial.open("rb+") as stream:
            os.fsync(stream.fileno())
        partial.replace(path)
        _sync_folder(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    with atomic(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically; NaN and infinity are refused, they are not JSON."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises
    ------
    ValueError
        One sentence, if the file is missing, no JSON, or not an object.

    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not JSON"
        raise bad_value(
            "run", f"a readable {path.name}", f"{str(path)!r} ({reason})", "choose another run"
        ) from None
    if not isinstance(value, dict):
        raise bad_value("run", f"an object in {path.name}", f"{type(value).__name__}", "choose another run")
    return value


def _sync_folder(folder: Path) -> None:
    with contextlib.suppress(OSError):  # not every system lets a folder be flushed
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
