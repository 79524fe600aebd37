"""The JSON files of a run directory: written atomically, checked when read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from agop._checks import bad_value
from agop._files import PARTIAL, atomic, write_text

__all__ = ["PARTIAL", "atomic", "read_json", "write_json", "write_text"]

MOST_BYTES = 64 * 2**20
"""A JSON file of a run is far smaller; a larger one is none of ours and is not read into memory."""


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically; NaN and infinity are refused, they are not JSON."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path, remedy: str = "choose another run or run it again elsewhere") -> dict[str, Any]:
    """Read a JSON object; `remedy` is what to do where it can't be read.

    Raises
    ------
    ValueError
        One sentence, if the file is missing, no JSON, not an object, or far too large.

    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ValueError("larger than any that agop writes")
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not JSON"
        raise bad_value("run", f"a readable {path.name}", f"{str(path)!r} ({reason})", remedy) from None
    if not isinstance(value, dict):
        got = f"{type(value).__name__} in {str(path)!r}"
        raise bad_value("run", f"an object in {path.name}", got, remedy)
    return value
