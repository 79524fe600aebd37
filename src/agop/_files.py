"""Files that are whole or not there: written beside their place, flushed to disk, moved there."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from agop._checks import bad_value

PARTIAL = ".partial-"
"""How the names of files begin that are being written; a killed process leaves some, to be deleted."""


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a path to write to; when the block ends well, that file is flushed and takes the place of `path`.

    A reader sees the old file or the whole new one, also after a power cut. If the block raises, nothing
    changes. A symbolic link at `path` is replaced, not followed; a device or a folder is refused.
    """
    if path.exists() and not path.is_file() and not path.is_symlink():
        raise bad_value("path", "the name of a file", f"{str(path)!r}, which is none", "choose another name")
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


def _sync_folder(folder: Path) -> None:
    with contextlib.suppress(OSError):  # not every system lets a folder be flushed
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
