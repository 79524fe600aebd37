"""Fits to rows that nobody holds in memory: one pass for statistics, and rows as a machine takes them, block by block."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from sklearn.base import is_classifier
from sklearn.utils.multiclass import check_classification_targets
from torch import Tensor

from agop import _checks
from agop._blocks import rows_per_block
from agop.blocks import open_blocks
from agop.blocks.block import Block, Blocks, is_blocks
from agop.machines import _inputs, tables
from agop.machines.columns import SCALINGS, Columns
from agop.machines.moments import Moments
from agop.machines.rows import StreamedRows, kept_rows
from agop.machines.samples import Samples
from agop.machines.solver import LARGE
from agop.machines.targets import Targets
from agop.ranks import current

if TYPE_CHECKING:
    from agop.machines._table_estimator import TableEstimator

_WHOLE_BYTES = 256 * 2**20
"""Arrays above this size are read in blocks, not copied as a whole."""

_PASS_BYTES = 32 * 2**20
"""Memory of a block in the pass for statistics, as it comes."""

MOST_HELD_OUT = 100_000
"""Rows of a source that are held out to validate on, at most."""


def opened(estimator: Any, X: Any, y: Any, sample_weight: Any) -> tuple[Blocks | None, Any, Any, Any]:
    """The source to stream from, or None and what is to be fitted in memory: X, y, sample_weight.

    Sources are streamed by "nystrom", and by "auto" with more than 30,000 rows; so are memory maps, other objects that are sliced, and
    arrays above 256 MiB.
    """
    solver = getattr(estimator, "solver", "auto")  # a search has none: it takes what suits the rows
    streams = solver == "nystrom"
    if is_blocks(X):
        if y is not None or sample_weight is not None:
            got = "both a source and other targets or weights"
            raise _checks.bad_value("X", "a source with its own targets, or X and y", got)
        if streams or (solver == "auto" and X.n_rows > LARGE):
            return X, None, None, None
        block = X.take(np.arange(X.n_rows))
        return None, with_names(X, block), block.y, block.weight
    mapped = isinstance(X, np.memmap) or not isinstance(X, np.ndarray | Tensor)
    if isinstance(X, np.ndarray | Tensor):
        numeric = (
            X.dtype.kind in "fiub"
            if isinstance(X, np.ndarray)
            else not X.is_complex() and X.layout == torch.strided
        )
        if X.ndim != 2 or not numeric or 0 in X.shape:
            return None, X, y, sample_weight
        wide = X.nbytes > _WHOLE_BYTES
    elif tables.is_table(X) or isinstance(X, list | tuple | str) or not _sliceable(X):
        return None, X, y, sample_weight
    else:
        wide = True
    if not (streams or (solver == "auto" and len(X) > LARGE)) or not (mapped or wide):
        return None, X, y, sample_weight
    if y is None:
        raise _inputs.no_targets()
    return open_blocks(X, target=y, weight=sample_weight), None, None, None


def _sliceable(X: Any) -> bool:
    return (
        hasattr(X, "__len__")
        and hasattr(X, "__getitem__")
        and not hasattr(X, "toarray")
        and not hasattr(X, "__array__")
    )


def with_names(source: Blocks, block: Block) -> Any:
    """The features of a block, with the names of the columns of its source."""
    if source.feature_names is None or isinstance(block.X, pd.DataFrame):
        return block.X
    array = block.X.cpu().numpy() if isinstance(block.X, Tensor) else block.X
    return pd.DataFrame(array, columns=source.feature_names)


@dataclass(eq=False)
class _Seen:
    """What the pass for statistics has found."""

    numbers: Moments | None = None
    targets: Moments | None = None
    levels: dict[int, dict[Any, float]] = field(default_factory=dict)
    classes: dict[Any, float] = field(default_factory=dict)
    heaviest: float = 0.0
    one_axis: bool = True


class Stream:
    """Reads a source for an estimator: learns what it must know of columns and targets, then hands out rows.

    Parameters
    ----------
    estimator
        It gets the fitted attributes that reading samples in memory would give it.
    source
        The rows, with their targets.
    share
        Of the rows, held out to validate on; 0 for none.
    """

    def __init__(self, estimator: TableEstimator, source: Blocks, share: float = 0.0) -> None:
        self.estimator, self.source = estimator, source
        first = next(iter(source.read(1, 0, 1)))
        if first.y is None:
            raise _inputs.no_targets()
        place = self._place(first)
        self.device, self.dtype = place
        estimator.device_, estimator.dtype_ = str(self.device), str(self.dtype).removeprefix("torch.")
        n = source.n_rows
        count = min(round(share * n), MOST_HELD_OUT) if share else 0
        if share and not 0 < count < n:
            raise _checks.bad_value("validation", "a share that leaves rows on both sides", f"{share:g}")
        self.held_out = np.zeros(0, dtype=np.int64)
        if count:
            chosen = np.random.default_rng([estimator.seed_, n, 1]).choice(
                n, count, replace=False, shuffle=False
            )
            self.held_out = np.sort(chosen)
        self._learned: dict[str, Any] = {}
        self._first = first

    def _place(self, first: Block) -> tuple[torch.device, torch.dtype]:
        estimator, X = self.estimator, first.X
        names = list(map(str, X.columns)) if isinstance(X, pd.DataFrame) else self.source.feature_names
        estimator.n_features_in_ = self.source.n_features
        estimator.__dict__.pop("feature_names_in_", None)
        if names is not None:
            estimator.feature_names_in_ = np.array(names, dtype=object)
        self.places = tables.categorical_columns(
            estimator.categorical_features, X, names, self.source.n_features
        )
        wanted = _inputs.wanted_dtype(estimator.dtype)
        own = torch.float64
        if isinstance(X, Tensor) and not self.places:
            own = X.dtype if X.dtype in (torch.float32, torch.float64) else torch.float32
        elif isinstance(X, np.ndarray) and X.dtype == np.float32 and not self.places:
            own = torch.float32
        self.own = own
        given = X.device if isinstance(X, Tensor) and estimator.device is None else None
        return given or _checks.device("device", estimator.device), wanted or own

    # ---- the pass for statistics

    def learn(self, tell: Any) -> None:
        """One pass over the rows of this rank; the ranks of a launch put together what they find."""
        estimator, ranks = self.estimator, current()
        _checks.one_of("scaling", estimator.scaling, SCALINGS)
        labels = is_classifier(estimator)
        mine = ranks.share(self.source.n_rows)
        self._factors: Tensor | None = None
        if labels and getattr(estimator, "class_weight", None) is not None:
            found = ranks.together(lambda: self._pass(mine, lambda share: None, only_labels=True))
            self._set_classes(self._together(found))
            self._factors = self._class_factors()
        seen = self._together(ranks.together(lambda: self._pass(mine, tell)))
        if not seen.heaviest > 0:
            raise _checks.bad_value(
                "sample_weight", "some positive weight", "none", "weight at least one sample"
            )
        if labels and self._factors is None:
            self._set_classes(seen)
        self._set_columns(seen)
        self._set_targets(seen)
        self.heaviest = seen.heaviest if self._weighted else 1.0

    @property
    def _weighted(self) -> bool:
        return self._first.weight is not None or getattr(self.estimator, "class_weight", None) is not None

    def _pass(self, mine: slice, tell: Any, *, only_labels: bool = False) -> _Seen:
        seen, labels = _Seen(), is_classifier(self.estimator)
        size = rows_per_block(self.source.n_rows, 8 * self.source.n_features, _PASS_BYTES)
        for block in self._raw(size, mine):
            self._see(seen, block, labels, only_labels)
            tell((block.start + len(block) - mine.start) / max(1, mine.stop - mine.start))
        return seen

    def _raw(self, size: int, share: slice) -> Iterator[Block]:
        """Blocks as they come, without rows that are held out or have the weight 0."""
        for block in self.source.read(size, share.start, share.stop):
            yield from _counting(kept_rows(block, self.held_out))

    def _see(self, seen: _Seen, block: Block, labels: bool, only_labels: bool) -> None:
        weight = (
            None
            if block.weight is None
            else torch.as_tensor(np.asarray(_cpu(block.weight)), dtype=torch.float64)
        )
        if labels:
            y = _labels(block.y)
            kinds, index = np.unique(y, return_inverse=True)
            mass = np.bincount(
                index.reshape(-1), weights=None if weight is None else weight.numpy(), minlength=len(kinds)
            )
            for label, own in zip(kinds.tolist(), mass.tolist(), strict=True):
                seen.classes[label] = seen.classes.get(label, 0.0) + own
            self._kind = (
                np.result_type(getattr(self, "_kind", kinds.dtype), kinds.dtype)
                if kinds.dtype.kind != "O"
                else kinds.dtype
            )
            if only_labels:
                seen.heaviest = 1.0
                return
            if self._factors is not None:
                own = self._factors[torch.from_numpy(np.searchsorted(self.estimator.classes_, y))]
                weight = own if weight is None else weight * own
        else:
            Y, one_axis = _inputs.check_targets(
                "y",
                block.y,
                len(block),
                _inputs.Place(torch.device("cpu"), self.dtype, False, torch.device("cpu"), self.dtype),
            )
            if seen.targets is not None and Y.shape[1] != len(seen.targets.mean):
                raise _checks.bad_value(
                    "y", f"{len(seen.targets.mean)} columns in every block", f"{Y.shape[1]}"
                )
            part = Moments.of(Y, weight)
            seen.targets = part if seen.targets is None else seen.targets.merge(part)
            seen.one_axis = one_axis
        seen.heaviest = max(seen.heaviest, 1.0 if weight is None else float(weight.max()))
        part = Moments.of(self._numbers(block.X, learning=True).cpu(), weight)
        seen.numbers = part if seen.numbers is None else seen.numbers.merge(part)
        for place in self.places:
            column = (
                block.X.iloc[:, place]
                if isinstance(block.X, pd.DataFrame)
                else pd.Series(np.asarray(_cpu(block.X))[:, place])
            )
            known = seen.levels.setdefault(place, {})
            for level, own in tables.level_masses(column, None if weight is None else weight.numpy()).items():
                known[level] = known.get(level, 0.0) + own
            if len(known) > tables.MOST_LEVELS + 1:
                tables.ordered_levels(column.name, set(known) - {None}, False)

    def _together(self, seen: _Seen) -> _Seen:
        """What all ranks have seen."""
        ranks = current()
        if ranks.alone:
            return seen
        seen.numbers = seen.numbers or Moments.none(self.source.n_features)
        if not is_classifier(self.estimator):
            y = np.asarray(_cpu(self._first.y))
            seen.targets = seen.targets or Moments.none(1 if y.ndim == 1 else y.shape[1])
        for name in ("numbers", "targets"):
            part = getattr(seen, name)
            if part is not None:
                setattr(seen, name, part.reduced(ranks))
        texts = ranks.gather(repr((seen.levels, seen.classes, seen.heaviest)))
        seen.levels, seen.classes, seen.heaviest = {}, {}, 0.0
        for text in texts:
            levels, classes, heaviest = ast.literal_eval(text)
            for place, masses in levels.items():
                _added(seen.levels.setdefault(place, {}), masses)
            _added(seen.classes, classes)
            seen.heaviest = max(seen.heaviest, heaviest)
        return seen

    # ---- what it leaves on the estimator

    def _set_classes(self, seen: _Seen) -> None:
        if len(seen.classes) < 2:
            got = f"1 class ({next(iter(seen.classes), None)!r})"
            raise _checks.bad_value("y", "at least 2 classes", got, "pass samples of another class too")
        ordered = sorted(seen.classes)
        classes = np.array(ordered, dtype=object if self._kind.kind == "O" else None)
        self.estimator.classes_ = classes if classes.dtype.kind in "OU" else classes.astype(self._kind)
        self._masses = torch.tensor([seen.classes[label] for label in ordered], dtype=torch.float64)
        self._learned["classes_"] = self.estimator.classes_

    def _set_columns(self, seen: _Seen) -> None:
        estimator, numbers = self.estimator, seen.numbers
        assert numbers is not None
        levels: list[list[Any] | None] = [None] * self.source.n_features
        names = getattr(estimator, "feature_names_in_", range(self.source.n_features))
        for place, masses in seen.levels.items():
            levels[place] = tables.ordered_levels(names[place], set(masses) - {None}, None in masses)
        estimator.categories_ = levels if self.places else None
        plain = [j for j in range(self.source.n_features) if levels[j] is None]
        gaps = [j for j in plain if numbers.gaps[j] > 0]
        estimator.missing_indicator_ = gaps
        centered = bool(getattr(estimator._kernel_class, "shift_invariant", True))
        index = torch.tensor(plain, dtype=torch.int64)
        means, deviations = numbers.mean[index], numbers.deviation[index]
        if estimator.scaling == "none":
            columns = Columns(means if centered else torch.zeros_like(means), torch.ones_like(means))
        else:
            varies = deviations > 4 * torch.finfo(self.own).eps * numbers.largest[index]
            columns = Columns.scaled(means, deviations, varies, estimator.scaling)
        shares = [float(1 - numbers.weight[j] / numbers.total) for j in gaps]
        for place, known in enumerate(levels):
            shares += [seen.levels[place][level] / float(numbers.total) for level in known or ()]
        indicators = torch.tensor(shares, dtype=torch.float64) * (1.0 if centered else 0.0)
        estimator.column_means_ = torch.cat([columns.means, indicators]).to(self.device)
        estimator.column_scales_ = torch.cat([columns.scales, torch.ones_like(indicators)]).to(self.device)

    def _set_targets(self, seen: _Seen) -> None:
        estimator = self.estimator
        center = bool(estimator.center_targets)
        if seen.targets is None:
            masses = self._masses
            if self._factors is not None:
                masses = masses * self._factors
            means = 2 * masses / masses.sum() - 1
            ones = torch.ones_like(means)
            scale = Targets.measured(means, ones, ones, center=center, labels=True, dtype=self.dtype)
        else:
            moments = seen.targets
            scale = Targets.measured(
                moments.mean,
                moments.deviation,
                moments.largest,
                center=center,
                labels=False,
                dtype=self.dtype,
            )
            estimator.n_outputs_, estimator._one_axis_ = len(moments.mean), seen.one_axis
            self._learned |= {"n_outputs_": len(moments.mean), "_one_axis_": seen.one_axis}
        estimator.target_means_, estimator.target_scales_ = (
            scale.means.to(self.device),
            scale.scales.to(self.device),
        )
        estimator.target_extent_ = [scale.largest, scale.resolution]
        self._scale = estimator._scale_of_targets()

    def _class_factors(self) -> Tensor:
        """What the weights of the rows of each class are multiplied with."""
        count = len(self._masses)
        one_each = Samples(torch.zeros(count, 0), torch.zeros(count, 0), torch.arange(count), self._masses)
        weight = self.estimator._reweighted(one_each).weight
        assert weight is not None
        return weight / self._masses

    # ---- rows as the machine takes them

    def _numbers(self, X: Any, *, learning: bool = False) -> Tensor:
        """Columns as numbers, codes and NaN, on the device; while it learns, categories are NaN."""
        if isinstance(X, pd.DataFrame) or self.places:
            levels: list[list[Any] | None] | None = self.estimator.categories_ if not learning else None
            if levels is None:
                levels = [[] if place in self.places else None for place in range(self.source.n_features)]
            array = X if isinstance(X, pd.DataFrame) else np.asarray(_cpu(X))
            return torch.from_numpy(tables.as_numbers(array, levels, [], None)[0]).to(self.device)
        if isinstance(X, Tensor):
            return X.to(device=self.device, dtype=self.own)
        return torch.from_numpy(np.array(X, dtype=str(self.own)[6:])).to(self.device)

    def prepared(self, block: Block) -> Samples:
        """Rows as the machine takes them; those of weight zero are not there."""
        estimator = self.estimator
        block = next(_counting(block), None) or Block(block.start, block.X[:0], block.y[:0], block.weight[:0])  # type: ignore[index]
        X = self._numbers(block.X)
        place = _inputs.Place(self.device, self.dtype, False, self.device, self.dtype)
        Y, labels = estimator._targets("y", block.y, len(X), place, self._learned, None)
        weight = (
            None
            if block.weight is None
            else torch.as_tensor(np.asarray(_cpu(block.weight)), dtype=torch.float64).to(self.device)
        )
        if self._factors is not None and labels is not None:
            own = self._factors[labels].to(self.device)
            weight = own if weight is None else weight * own
        samples = Samples(X, Y, labels, weight)
        placed = estimator._placed(X, self.dtype)
        return replace(samples, X=placed, Y=self._scale.scaled(Y, self.dtype), restored=self._scale.restored)

    def rows(self) -> StreamedRows:
        """All rows that are trained on."""
        estimator = self.estimator
        return StreamedRows(
            self.source,
            self.prepared,
            shape=(len(estimator.column_means_), len(estimator.target_means_)),
            kind=(self.dtype, self.device),
            largest_weight=self.heaviest,
            held_out=self.held_out,
        )

    def given(self, X: Any, y: Any, sample_weight: Any) -> Samples:
        """Samples to validate on that were passed to `fit`."""
        if X is None or y is None:
            raise _checks.bad_value("X_val, y_val", "both", "one of them", "pass samples and their targets")
        estimator = self.estimator
        X, place = estimator._rows(X, reset=False, device=self.device, dtype=self.dtype)
        samples = estimator._samples("_val", X, y, sample_weight, place, self._learned)
        placed = estimator._placed(samples.X, self.dtype)
        return replace(
            samples, X=placed, Y=self._scale.scaled(samples.Y, self.dtype), restored=self._scale.restored
        )

    def validation(self) -> Samples | None:
        """The rows that are held out."""
        return self.prepared(self.source.take(self.held_out)) if len(self.held_out) else None


def _counting(block: Block) -> Iterator[Block]:
    """The rows of positive weight, if there are any."""
    if block.weight is not None:
        keep = np.asarray(_cpu(block.weight)) > 0
        if not keep.all():
            block = kept_rows(block, mask=keep)
    if len(block):
        yield block


def _cpu(values: Any) -> Any:
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else values


def _labels(y: Any) -> np.ndarray:
    array = np.asarray(_cpu(y))
    array = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
    if array.ndim != 1:
        raise _checks.bad_value("y", "labels with one axis", f"shape {array.shape}", "pass one label per row")
    check_classification_targets(array)
    return array


def _added(known: dict[Any, float], more: dict[Any, float]) -> None:
    for key, value in more.items():
        known[key] = known.get(key, 0.0) + value
