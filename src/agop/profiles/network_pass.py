"""One pass of the data through a network: every batch is read at the layers, and its input handed on to whoever else needs it."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import torch
from torch import Tensor, nn

from agop import _checks
from agop.evidence import Need
from agop.gradients import calling
from agop.machines.memory import human, parse_memory
from agop.profiles.batches import batches
from agop.profiles.data import Data
from agop.profiles.labels import ClassIndex
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
        The samples, as a tensor where they came as an array: unlike a loader it can be read again.
    classes
        The labels that occurred.
    sample
        The sample whose rows are kept, None if nobody needs rows; `samples` are its inputs, where they are needed.
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
        self.classes = ClassIndex()
        self.sample: RowSample | None = sample_of(needs, data.options.rows, data.options.random_state)
        self.samples = KeptRows() if "inputs" in kinds else None
        self.returned: Any = None
        self.scores = OutputScores(network.output)
        self.failed = False
        self.row_bytes = 0
        self.whole = as_tensor(data.X, parameter)
        labelled = data.y is not None or not kinds.isdisjoint(_OF_CLASSES)
        self._batches = batches(
            self.whole, data.y, data.batch_size, network.inputs, network.targets, labelled=labelled
        )
        self._inputs = self._read()

    def inputs(self) -> Iterator[Any]:
        """The input of each batch once it has been read, from where the last reader of these stopped."""
        return self._inputs

    def finish(self) -> None:
        """Read the batches that are left."""
        for _ in self._inputs:
            pass

    def _read(self) -> Iterator[Any]:
        try:
            for x, labels in self._batches:
                yield self._one(x, labels)
        except BaseException:
            self.failed = True
            raise

    def _one(self, x: Any, labels: Any) -> Any:
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
        n_classes = max(1, len(self.classes))
        picked = None if self.sample is None else self.sample.pick(index)
        with torch.no_grad(), self._reader.batch(index, n_classes, picked), calling.refusals_named(first):
            self.returned = self._network.run(calling.copied(x))
        if labels is not None:
            self.scores.add(self.returned, index)
        if picked is not None:
            if self.samples is not None:
                self.samples.add(first, picked)
            self._check_bytes()
        return x

    def _check_bytes(self) -> None:
        """Say after the first batch what the rows of all samples to come will need, and stop where that is too much."""
        assert self.sample is not None
        each = self._reader.bytes_per_sample() + (
            0 if self.samples is None else self.samples.bytes_per_sample
        )
        count = self._rows_to_come(self.sample)
        limit = psutil.virtual_memory().available // 2 if self._limit is None else self._limit
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
        if isinstance(self.whole, Tensor):
            return len(self.whole) if sample.n is None else min(len(self.whole), sample.n)
        return sample.seen if sample.n is None else sample.n


def as_tensor(X: Any, parameter: nn.Parameter | Tensor | None) -> Any:
    """An array in the precision of the model; anything else as it is."""
    if not isinstance(X, np.ndarray):
        return X
    if X.dtype.kind not in "biufc":
        raise _checks.bad_type("X", "an array of numbers", f"dtype {X.dtype}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # an array that can't be written to: nobody will
        tensor = torch.from_numpy(np.ascontiguousarray(X))
    floating = tensor.is_floating_point() and parameter is not None and parameter.is_floating_point()
    return tensor.to(parameter.dtype) if floating and parameter is not None else tensor
