"""How a run that trains a network tells the outside how it gets on."""

from __future__ import annotations

from collections.abc import Mapping

from agop.datasets import Dataset
from agop.networks.training import Epoch


class NetworkListener:
    """Hears how a run gets on; this one says nothing. Override what you want to hear."""

    def planned(self, data: Dataset, text: str) -> None:
        """The data are loaded; `text` describes the network."""

    def started(self, done: int, total: int) -> None:
        """Training begins, with `done` epochs finished by an earlier process."""

    def epoch(self, epoch: Epoch) -> None:
        """An epoch is over."""

    def measured(self, row: Mapping[str, float]) -> None:
        """The layers were measured; `row` holds epoch, loss, accuracy, nc1, nfa."""

    def finishing(self) -> None:
        """Training is over."""
