"""How a run tells the outside how it gets on, without knowing who listens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agop.datasets import Dataset


class Listener:
    """Hears how a run gets on; this one says nothing. Override what you want to hear."""

    def planned(self, data: Dataset, memory: str) -> None:
        """The data are loaded, and the fit will need this much memory."""

    def started(self, done: int, total: int) -> None:
        """The fit begins, with `done` layers finished by an earlier process."""

    def progress(self, done: float, total: float, text: str) -> None:
        """Many times in a layer: operations done, operations predicted, what is being done."""

    def layer(self, done: int, total: int, entry: Mapping[str, Any]) -> None:
        """A layer is finished and its checkpoint written."""

    def measuring(self) -> None:
        """The fit is finished; its layers are being measured."""
