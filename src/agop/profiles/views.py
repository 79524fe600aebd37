"""Subjects that yield their layers as `LayerView` records, or have none: a Deep RFM, anything with `.views(X)`, an iterable, a function."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor, nn

from agop import _checks
from agop.collapse.moments import ClassMoments
from agop.evidence import Evidence, Need
from agop.gradients.wrapped import refuse_unseen
from agop.profiles.data import Data, Source
from agop.profiles.labels import IGNORE_INDEX, ClassIndex
from agop.profiles.network import Network
from agop.profiles.sample import RowSample, sample_of
from agop.profiles.stage import Wanted
from agop.ranks import ALONE, Ranks, current
from agop.view import LayerView


def source_of(subject: Any) -> Source:
    """The source of evidence that a subject is, or that reads it.

    In this order: something with `read`, something with `views`, a torch module, an iterable of `LayerView`, a function.
    """
    if isinstance(subject, Source):
        return subject
    if isinstance(subject, type):
        raise _refused(subject)
    if callable(getattr(subject, "views", None)):
        return Views(subject)
    if isinstance(subject, nn.Module):
        return Network(subject)
    if isinstance(subject, Iterable):
        return Views(subject)
    if type(subject).__name__ == "ExportedProgram":
        refuse_unseen(subject)
    if callable(subject):
        return Function(subject)
    raise _refused(subject)


def _refused(subject: Any) -> TypeError:
    kinds = (
        "a torch module, an object with views(X) such as a Deep RFM, an iterable of LayerView, or a function"
    )
    return _checks.bad_type("subject", kinds, type(subject).__name__)


class Views:
    """Layers that come as `LayerView` records: from `subject.views(X)`, or from an iterable.

    A subject whose class says `shards = True` is measured by the ranks of `agop.launched` together: each of them views its share of X.
    """

    kind = "views"

    def __init__(self, subject: Any) -> None:
        self.subject = subject

    @property
    def offers(self) -> frozenset[str]:
        """What views have; classifiers of the layers where the subject says that there are some."""
        own = {"weight", "bias", "decisions"} if getattr(self.subject, "reads_out", False) else set()
        return frozenset(
            {"moments", "scatter", "rows", "labels", "feature_matrix", "agop", "function", "inputs", *own}
        )

    @property
    def name(self) -> str:
        """What a profile calls it."""
        return type(self.subject).__name__

    def read(self, data: Data, needs: frozenset[Need]) -> Iterator[Evidence]:
        """The views in their order, each measured and let go before the next; then the subject."""
        labels, n_classes = _labels(data.y, needs)
        ranks = self._ranks(labels)
        sample = sample_of(needs, data.options.rows, data.options.random_state)
        X, first = data.X, 0
        if not ranks.alone and labels is not None:
            _checks.same_length("X", len(X), "y", len(labels))
            mine = ranks.share(len(labels))
            X, first = X[mine], mine.start
        reading = _Reading(needs, labels, n_classes, sample, ranks, first)
        for number, view in enumerate(self._views(X), start=1):
            if not isinstance(view, LayerView):
                raise _checks.bad_type("subject", "layers as LayerView", type(view).__name__)
            yield reading.layer(number, view)
        yield Evidence(
            name=self.name, level="subject", given=_of_function(self.subject, data.X, needs, reading)
        )

    def _ranks(self, labels: Tensor | None) -> Ranks:
        shared = bool(getattr(self.subject, "shards", False)) and labels is not None
        return current() if shared and labels is not None and len(labels) >= current().size else ALONE

    def _views(self, X: Any) -> Iterable[Any]:
        return self.subject.views(X) if callable(getattr(self.subject, "views", None)) else self.subject


class Function:
    """A function of samples, (n, …) → (n, c), as a subject: it has no layers, only what measures of a whole subject ask."""

    kind = "function"
    offers = frozenset({"function", "inputs", "labels"})

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function

    @property
    def name(self) -> str:
        """What a profile calls it."""
        return getattr(self.function, "__name__", type(self.function).__name__)

    def read(self, data: Data, needs: frozenset[Need]) -> Iterator[Evidence]:
        """The function and the samples."""
        labels, n_classes = _labels(data.y, needs)
        sample = sample_of(needs, data.options.rows, data.options.random_state)
        reading = _Reading(needs, labels, n_classes, sample, ALONE, 0)
        yield Evidence(
            name=self.name, level="subject", given=_of_function(self.function, data.X, needs, reading)
        )


def _labels(y: Any, needs: frozenset[Need]) -> tuple[Int[Tensor, " n"] | None, int]:
    """Class indices and the number of classes, or nothing where nothing needs labels."""
    if y is None:
        if any(need.kind in ("moments", "scatter", "labels") for need in needs):
            raise _checks.bad_value("y", "one label per sample", "None")
        return None, 0
    classes = ClassIndex()
    index = classes(y)
    place = torch.empty(len(classes), dtype=torch.int64)
    place[classes.order()] = torch.arange(len(classes))
    if len(classes) == 0 and len(index):
        raise _checks.bad_value("y", "labels of some class", f"{len(index)} that are {IGNORE_INDEX}")
    return torch.where(index < 0, -1, place[index.clamp_min(0)]), len(classes)


def _of_function(subject: Any, X: Any, needs: frozenset[Need], reading: _Reading) -> Mapping[Need, Any]:
    given: dict[Need, Any] = {}
    for need in needs:
        if need.kind == "function" and callable(subject):
            given[need] = subject
        elif need.kind == "inputs" and X is not None:
            samples = X if isinstance(X, Tensor) else torch.as_tensor(np.asarray(X))
            given[need] = samples[reading.numbers(len(samples))]
    return given


class _Reading:
    """From views to evidence: moments over all ranks, and the rows of the one sample."""

    def __init__(
        self,
        needs: frozenset[Need],
        labels: Int[Tensor, " n"] | None,
        n_classes: int,
        sample: RowSample | None,
        ranks: Ranks,
        first: int,
    ) -> None:
        self._needs, self._labels, self._n_classes = needs, labels, n_classes
        self._sample, self._ranks, self._first = sample, ranks, first

    def numbers(self, n: int) -> Tensor:
        """The numbers of the samples whose rows are kept, among n."""
        assert self._sample is not None
        if not self._sample.seen and n:
            self._sample.pick(torch.zeros(n, dtype=torch.int64) if self._labels is None else self._labels)
        numbers = torch.from_numpy(self._sample.numbers)
        return numbers if self._labels is None else numbers[self._labels[numbers] >= 0]

    def layer(self, number: int, view: LayerView) -> Evidence:
        """One view as evidence."""
        kinds = {need.kind for need in self._needs}
        given = {
            Need(kind): value
            for kind, value in (("feature_matrix", view.feature_matrix), ("agop", view.agop))
            if kind in kinds | {"feature_matrix"} and value is not None
        }
        stages = tuple(
            Evidence(
                name=stage,
                level="stage",
                number=number,
                given=self._stage(stage, rows) | self._read_out(view, stage, kinds),
            )
            for stage, rows in view.stages().items()
        )
        return Evidence(name=view.name, level="layer", number=number, given=given, parts=stages)

    def _read_out(self, view: LayerView, stage: str, kinds: set[str]) -> dict[Need, Any]:
        """The layer's own classifier, and what it decides of the rows of the sample."""
        if stage != "output" or view.readout is None:
            return {}
        weight, bias = view.readout
        given: dict[Need, Any] = {Need("weight"): weight, Need("bias"): bias}
        if "decisions" in kinds:
            n = len(view.output) if self._labels is None else len(self._labels)
            rows = self._sampled(_checks.floating("features", view.output), self.numbers(n))
            given[Need("decisions")] = (rows @ weight.mT + bias).argmax(1)
        return given

    def _stage(self, stage: str, rows: Tensor) -> dict[Need, Any]:
        wanted, given = Wanted.of(self._needs, stage), dict[Need, Any]()
        if self._labels is not None:
            mine = self._labels if self._ranks.alone else self._labels[self._ranks.share(len(self._labels))]
            _checks.same_length("X", len(rows), "y", len(mine))
            if wanted.moments or wanted.scatter:
                kept = "full" if wanted.scatter else "trace"
                features, classes = _in_classes(rows, mine)
                own = ClassMoments.of(features, classes, self._n_classes, scatter=kept)  # type: ignore[arg-type]
                given[Need("scatter" if wanted.scatter else "moments")] = own.all_reduce(self._ranks)
        if wanted.rows:
            n = len(rows) if self._labels is None else len(self._labels)
            numbers = self.numbers(n)
            given[Need("rows")] = self._sampled(_checks.floating("features", rows), numbers)
            if self._labels is not None:
                given[Need("labels")] = self._labels[numbers].to(rows.device)
        return given

    def _sampled(self, rows: Tensor, numbers: Tensor) -> Tensor:
        """The rows of the sample, which the ranks hold in parts."""
        if self._ranks.alone:
            return rows[numbers.to(rows.device)]
        here = (numbers >= self._first) & (numbers < self._first + len(rows))
        whole = rows.new_zeros(len(numbers), rows.shape[1])
        whole[here] = rows[(numbers[here] - self._first).to(rows.device)]
        return self._ranks.sum_(whole)


def _in_classes(rows: Tensor, labels: Int[Tensor, " n"]) -> tuple[Tensor, Tensor]:
    """The rows that are in a class, and their classes."""
    kept = labels >= 0
    if not bool(kept.all()):
        rows, labels = rows[kept.to(rows.device)], labels[kept]
    return rows, labels.to(rows.device)
