"""One pass of the data through a network: every batch is read at the layers, and its input handed on to whoever else needs it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from agop import _checks
from agop._memory import available_memory, human, parse_memory
from agop.evidence import Need
from agop.gradients import calling
from agop.profiles.batches import batches, labels_in
from agop.profiles.data import Data
from agop.profiles.labels import SEVERAL, ClassIndex
from agop.profiles.positions import BatchLabels
from agop.profiles.reader import Reader
from agop.profiles.sample import KeptRows, RowSample, sample_of
from agop.profiles.scores import OutputScores

if TYPE_CHECKING:
    from agop.profiles.network import Network

_LOG = logging.getLogger("agop")
_OF_CLASSES = frozenset({"moments", "scatter", "labels", "decisions", "weight", "bias"})
"""Needs that are nothing without labels."""


class NetworkPass:
    """One pass of the data through the model while the reader sums and samples.

    Attributes
    ----------
    whole
        The samples, as tensors where they came as arrays or a table: unlike a loader they can be read again.
    classes
        The labels that occurred.
    sample
        The sample whose rows are kept, None if nobody needs rows; `samples` are its inputs, where they are needed, and `places` the
        class index of each position, where positions are told apart by labels or a mask.
    returned
        What the model gave for the last batch.
    scores
        How well the model answers, as far as labels say.
    failed
        Whether the model or the data raised.
    row_bytes
        What the rows of the sample take in all layers together.
    """

    def __init__(self, network: Network, reader: Reader, data: Data, needs: frozenset[Need]) -> None:
        parameter = next(network.model.parameters(), None)
        kinds = {need.kind for need in needs}
        self._network, self._reader = network, reader
        self._device = None if parameter is None else parameter.device
        self._limit = parse_memory("options.max_memory", data.options.max_memory)
        self.ignore_index, self.per_position = network.ignore_index, False
        self.classes = ClassIndex(network.ignore_index, positions=True)
        self.sample: RowSample | None = sample_of(needs, data.options.rows, data.options.random_state)
        self.samples = KeptRows() if "inputs" in kinds else None
        self.places = KeptRows()
        self.returned: Any = None
        self.scores = OutputScores(network.output)
        self.failed = False
        self.row_bytes = 0
        self.whole = calling.samples_of(data.X, network.model)
        y = labels_in(data.X, network.targets) if data.y is None else data.y
        labelled = y is not None or not kinds.isdisjoint(_OF_CLASSES)
        self._batches = batches(
            self.whole, y, data.batch_size, network.inputs, network.targets, network.mask, labelled=labelled
        )
        self._inputs = self._read()

    def inputs(self) -> Iterator[tuple[Any, Tensor | None]]:
        """The input of each batch and its mask once it has been read, from where the last reader of these stopped."""
        return self._inputs

    def finish(self) -> None:
        """Read the batches that are left."""
        for _ in self._inputs:
            pass

    def _read(self) -> Iterator[tuple[Any, Tensor | None]]:
        try:
            for x, labels, mask in self._batches:
                yield self._one(x, labels, mask), mask
        except BaseException:
            self.failed = True
            raise

    def _one(self, x: Any, labels: Any, mask: Tensor | None) -> Any:
        x = calling.on_device(tuple(x) if isinstance(x, list) else x, self._device)
        first = None if isinstance(x, list) else calling.first_tensor(x)
        index = (
            self.classes(labels)
            if labels is not None or first is None
            else torch.zeros(len(first), dtype=torch.int64)
        )
        if first is None:
            raise _checks.bad_type(
                "X", "batches of tensors", type(x).__name__, "convert them with torch.as_tensor"
            )
        picked = None
        if self.sample is not None:
            picked = self.sample.pick(
                index if index.ndim == 1 else torch.zeros(len(index), dtype=torch.int64)
            )
        batch = BatchLabels(index, max(1, len(self.classes)), picked, mask)
        model = self._network.model
        with torch.no_grad(), self._reader.batch(batch), calling.refusals_named(first, model):
            self.returned = self._network.run(calling.copied(x))
        if labels is not None:
            self.scores.add(self.returned, index)
        if batch.per_position:
            self.per_position = True
            self._require_positions(batch)
        if picked is not None:
            if batch.positions > 1:
                self.places.add(batch.by_position().reshape(-1, 1).double(), picked)
            if self.samples is not None and isinstance(x, Tensor):
                self.samples.add(first, picked)
            self._check_bytes()
        return x

    def _require_positions(self, batch: BatchLabels) -> None:
        """Labels with two axes are those of positions, or a mistake: some layer must have these positions."""
        calls = self._reader.named_calls()
        if calls and all(call.left_out for call in calls.values()):
            raise _checks.bad_value(
                "y",
                "one label per sample (n,), or per position (n, positions) of some layer",
                f"shape {('n', *batch.labels.shape[1:])} where no layer has these positions".replace("'", ""),
                SEVERAL,
            )

    def _check_bytes(self) -> None:
        """Say after the first batch what the rows of all samples to come will need, and stop where that is too much."""
        assert self.sample is not None
        each = self._reader.bytes_per_sample() + (
            0 if self.samples is None else self.samples.bytes_per_sample
        )
        count = self._rows_to_come(self.sample)
        limit = available_memory() // 2 if self._limit is None else self._limit
        if each * count > limit:
            source = "half of what is free" if self._limit is None else "options.max_memory"
            raise _checks.bad_value(
                "options.rows",
                f"rows that fit into {human(limit)} ({source})",
                f"{human(each * count)} for {count:,} samples in all layers",
                "take fewer rows or layers, or measures that need class moments only",
            )
        if not self.row_bytes:
            _LOG.info("keeping the rows of %s samples in all layers: %s", f"{count:,}", human(each * count))
        self.row_bytes = each * count

    def _rows_to_come(self, sample: RowSample) -> int:
        """How many samples will be kept; of a loader of unknown length as many as may be, or have come."""
        if calling.is_whole(self.whole):
            n = calling.n_rows(self.whole)
            return n if sample.n is None else min(n, sample.n)
        return sample.seen if sample.n is None else sample.n
