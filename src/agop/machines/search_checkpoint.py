"""What a timed search has chosen, in a file beside the sums: cut off afterwards, it goes on with its choice, and with the sums."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agop._files import write_text
from agop.machines.search_space import SEARCHED


@dataclass(frozen=True)
class SearchCheckpoint:
    """Where the parameters of the recursion that won are kept; nothing is, without a folder.

    A search that ends by the clock need not choose the same again, and the sums of another metric are of no use to it.

    Attributes
    ----------
    folder
        Where the file is.
    key
        What the choice depends on: rows and settings.
    """

    folder: Path | None
    key: str = ""

    @property
    def path(self) -> Path:
        """The file."""
        assert self.folder is not None
        return self.folder / "chosen.json"

    def restored(self) -> dict[str, Any] | None:
        """The parameters; None if there are none of this search, or they can't be read."""
        if self.folder is None or not self.path.exists():
            return None
        try:
            found = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        params = found.get("params") if isinstance(found, dict) and found.get("key") == self.key else None
        return params if isinstance(params, dict) and set(params) <= set(SEARCHED) else None

    def write(self, params: dict[str, Any]) -> None:
        """Keep them, if they are plain: an own kernel is not."""
        if self.folder is None:
            return
        try:
            text = json.dumps({"key": self.key, "params": params})
        except TypeError:
            return
        write_text(self.path, text)

    def done(self) -> None:
        """They are not needed any more."""
        if self.folder is not None:
            self.path.unlink(missing_ok=True)
