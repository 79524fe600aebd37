"""How a run tells the outside how it gets on, without knowing who listens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agop.datasets import Dataset


class Listener:
    """Hears how a run gets on; this one says nothing. Override what you want to hear."""

    def planned(self, data: Dataset, text: str) -> None:
        """The data are loaded; `text` says what is going to be done or what it will need."""

    def started(self, done: int, total: int, step: str) -> None:
        """The work begins, with `done` of `total` steps ("layer", "epoch") finished by an earlier process."""

    def progress(self, done: float, total: float, text: str) -> None:
        """Many times in a step: operations done, operations predicted, what is being done."""

    def stepped(self, done: int, total: int, entry: Mapping[str, Any]) -> None:
        """A step is over; `entry` is what it says about itself."""

    def measured(self, row: Mapping[str, float]) -> None:
        """The layers were measured between two steps; `row` holds what is worth a line."""

    def measuring(self) -> None:
        """The steps are over; the layers are being measured."""
