"""`profile`: measure every stage of every layer of a subject; `Profile`: the table that comes out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from agop import _checks
from agop.collapse.moments import ClassMoments
from agop.collapse.registry import MEASURES
from agop.profiles.deep_rfm import is_deep_rfm
from agop.view import STAGES, LayerView

DEFAULT_MEASURES = ("nc1", "nc2")
FORMAT_VERSION = 1


@dataclass(frozen=True, eq=False)
class Profile:
    """Measurements by layer and stage, with what was left undefined and why.

    Attributes
    ----------
    table : DataFrame
        One row a layer and stage: `layer` (from 1), `name`, `stage` ("input", "projected", "output"), one column a measure (NaN where
        undefined).
    subject : str
        What was profiled.
    measures : tuple of str
        The measures, by their names in `agop.collapse.registry.MEASURES`.
    notes : list of str
        Undefined values with the reason, classes left out, fallbacks.
    """

    table: pd.DataFrame
    subject: str
    measures: tuple[str, ...]
    notes: list[str] = field(default_factory=list)

    def to_frame(self) -> pd.DataFrame:
        """The table, as a copy."""
        return self.table.copy()

    def __str__(self) -> str:
        wide = self.table.pivot(index="layer", columns="stage", values=list(self.measures))
        order = [(m, s) for m in self.measures for s in STAGES if (m, s) in wide.columns]
        text = wide[order].to_string(float_format=lambda value: f"{value:.3g}")
        return "\n".join([f"Profile of {self.subject}", text, *(f"note: {note}" for note in self.notes)])

    def save(self, path: str | Path) -> None:
        """Write the profile as one JSON document (see `load`)."""
        document = {
            "format": "agop.Profile",
            "version": FORMAT_VERSION,
            "subject": self.subject,
            "measures": list(self.measures),
            "notes": self.notes,
            "table": json.loads(self.table.to_json(orient="split", double_precision=15)),
        }
        Path(path).write_text(json.dumps(document, indent=1))

    @classmethod
    def load(cls, path: str | Path) -> Profile:
        """Read a profile that `save` wrote; raises `ValueError` with one sentence for any other file."""
        try:
            document = json.loads(Path(path).read_text())
            version = document["version"] if document["format"] == "agop.Profile" else None
        except (ValueError, KeyError, TypeError):
            raise _checks.bad_value(
                "path", "a profile written by Profile.save", f"another file ({path})"
            ) from None
        if version != FORMAT_VERSION:
            raise _checks.bad_value(
                "path", f"a profile of format version {FORMAT_VERSION}", f"version {version!r}"
            )
        table = pd.DataFrame(document["table"]["data"], columns=document["table"]["columns"])
        measures = tuple(document["measures"])
        table[list(measures)] = table[list(measures)].astype(float)
        return cls(table, document["subject"], measures, document["notes"])


def profile(
    subject: Any,
    X: Any,
    y: Any,
    *,
    layers: Iterable[int] | None = None,
    measures: Sequence[str] | None = None,
) -> Profile:
    """Measure every stage of every layer of `subject` on labelled samples.

    Parameters
    ----------
    subject
        A fitted Deep RFM, or an iterable of `LayerView`.
    X, y
        Samples, and their labels (numbers or strings).
    layers
        Layers to keep, counted from 1; all if None.
    measures
        Names from `agop.collapse.registry.MEASURES` that need class moments only. Default: "nc1" and "nc2".

    Returns
    -------
    Profile

    Raises
    ------
    ValueError, TypeError
        If the subject has no views, the labels do not match, or a measure is unknown.
    """
    names = tuple(DEFAULT_MEASURES if measures is None else measures)
    usable = [name for name, measure in MEASURES.items() if set(measure.needs) <= {"moments"}]
    for name in names:
        _checks.one_of("measures", name, usable)
    classes, index = np.unique(np.asarray(y), return_inverse=True)
    labels = torch.from_numpy(index.astype(np.int64).reshape(-1))
    wanted = None if layers is None else {_checks.integer("layers", layer, at_least=1) for layer in layers}
    rows: list[dict[str, Any]] = []
    notes: list[str] = []
    for number, view in enumerate(_views(subject, X), start=1):
        if wanted is not None and number not in wanted:
            continue
        for stage, features in view.stages().items():
            rows.append(_row(number, view.name, stage, features, labels, len(classes), names, notes))
    if not rows:
        raise _checks.bad_value("layers", "layers of the subject", repr(layers))
    return Profile(pd.DataFrame(rows), type(subject).__name__, names, notes)


def _views(subject: Any, X: Any) -> Iterable[LayerView]:
    if is_deep_rfm(subject):
        return subject.views(X)
    if isinstance(subject, Iterable):
        return subject
    raise _checks.bad_type("subject", "a fitted Deep RFM or an iterable of LayerView", type(subject).__name__)


def _row(
    number: int,
    name: str,
    stage: str,
    features: Tensor,
    labels: Tensor,
    n_classes: int,
    measures: Sequence[str],
    notes: list[str],
) -> dict[str, Any]:
    _checks.same_length("X", len(features), "y", len(labels))
    moments = ClassMoments.of(features, labels.to(features.device), n_classes)
    row: dict[str, Any] = {"layer": number, "name": name, "stage": stage}
    for measure in measures:
        value = MEASURES[measure](moments)
        row[measure] = float(value)
        if value.undefined_because:
            notes.append(f"{name}, {stage}: {measure} is undefined: {value.undefined_because}")
    return row
