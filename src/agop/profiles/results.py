"""What probes find in evidence, gathered into the tables of a `Profile`."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import pandas as pd

from agop import _checks
from agop.evidence import Evidence
from agop.measurement import Measurement
from agop.probe import Curve, Probe
from agop.probe import Results as Found
from agop.probes import PROBES
from agop.profiles.scores import Scores
from agop.profiles.shown import Shown
from agop.profiles.table import Profile

_CURVES = ("measure", "layer", "name", "stage", "x", "value", "spread")


class Results:
    """Values of probes by stage, by layer and of the whole; evidence is let go unless a probe of the whole needs it."""

    def __init__(self, probes: Sequence[Probe]) -> None:
        self.probes = list(probes)
        self._asked = [probe.name for probe in probes]
        if "nc1" in self._asked and "drops" not in self._asked:
            self.probes.append(PROBES["drops"])
        self._by_level = {
            level: [probe for probe in self.probes if probe.level == level]
            for level in ("stage", "layer", "subject")
        }
        self.stages: list[dict[str, Any]] = []
        self.layers: list[dict[str, Any]] = []
        self.whole: dict[str, Any] = {}
        self.curves: list[dict[str, Any]] = []
        self.notes: list[str] = []
        self.scores: Scores | None = None
        self._kept: list[Evidence] = []
        self._goals: dict[str, str | float | None] = {}
        self._covers = ""
        self._without_share: list[str] = []

    def add_layer(self, layer: Evidence) -> None:
        """Measure a layer and its stages."""
        self.notes.extend(layer.notes)
        for stage in layer.at("stage"):
            row: dict[str, Any] = {"layer": layer.number, "name": layer.name, "stage": stage.name}
            self._measure(self._by_level["stage"], stage, row, f"{layer.name}, {stage.name}", layer, stage)
            self.stages.append(row)
        about: dict[str, Any] = {"layer": layer.number, "name": layer.name, **layer.about}
        self._measure(self._by_level["layer"], layer, about, layer.name, layer, None)
        self.layers.append(about)
        if self._by_level["subject"]:
            self._kept.append(layer)

    def add_subject(self, subject: Evidence) -> None:
        """Measure the whole, with the layers that were added as its parts."""
        self.notes.extend(subject.notes)
        self._covers = str(subject.about.get("covers", ""))
        self.scores = subject.about.get("scores")
        whole = subject.with_parts(tuple(self._kept))
        for probe in self._by_level["subject"]:
            self._measure([probe], self._without_lacking(probe, whole), self.whole, "", None, None)

    def _without_lacking(self, probe: Probe, subject: Evidence) -> Evidence:
        """The subject without layers that lack what a path needs, unless the probe wants all of them; told."""
        path = [need for need in probe.needed if need.kind not in ("function", "inputs")]
        lacking = [part for part in subject.parts if not all(part.has(need) for need in path)]
        if not lacking or probe.every_layer or len(lacking) == len(subject.parts):
            return subject
        names = ", ".join(part.name for part in lacking)
        self.notes.append(f"{probe.name} is of the layers without {names}: they lack what it needs")
        return subject.with_parts(tuple(part for part in subject.parts if part not in lacking))

    def _measure(
        self,
        probes: Sequence[Probe],
        evidence: Evidence,
        row: dict[str, Any],
        where: str,
        layer: Evidence | None,
        stage: Evidence | None,
    ) -> None:
        for probe in probes:
            if not _applies(probe, evidence):
                if probe.name in self._asked:
                    row |= dict.fromkeys(probe.columns, float("nan"))
                continue
            if probe.name not in self._goals:
                self._goals[probe.name] = probe.goal(evidence)
            for column, value in _results(probe, evidence).items():
                if isinstance(value, Curve):
                    self._add_curve(column, value, layer, stage)
                    continue
                row[column] = float(value)
                if column == "share_projection" and _cancels(value):
                    self._without_share.append(where)
                if value.undefined_because and probe.name in self._asked:
                    place = f"{where}: " if where else ""
                    self.notes.append(f"{place}{column} is undefined: {value.undefined_because}")

    def _add_curve(self, column: str, curve: Curve, layer: Evidence | None, stage: Evidence | None) -> None:
        at = {
            "measure": column,
            "layer": 0 if layer is None else layer.number,
            "name": "" if layer is None else layer.name,
            "stage": "" if stage is None else stage.name,
        }
        spread = [float("nan")] * len(curve.x) if curve.spread is None else curve.spread
        self.curves += [
            {**at, "x": float(x), "value": float(y), "spread": float(s)}
            for x, y, s in zip(curve.x, curve.value, spread, strict=True)
        ]

    def profile(self, subject: str) -> Profile:
        """The profile of everything that was added."""
        if not self.stages and not self.layers and not self.whole:
            raise _checks.bad_value("subject", "at least one layer", "none")
        if self._without_share and "drops" not in self._asked:
            names = ", ".join(self._without_share)
            self.notes.append(f"share_projection is undefined where NC1 hardly falls: {names}")
        curves = pd.DataFrame(self.curves, columns=list(_CURVES))
        drawn = set(curves["measure"])
        layers = pd.DataFrame(self.layers, columns=None if self.layers else ["layer", "name"])
        whole = pd.DataFrame([self.whole] if self.whole else [])
        measures = tuple(
            column
            for probe in self._by_level["stage"]
            for column in probe.columns
            if column not in drawn or any(column in row for row in self.stages)
        )
        stages = pd.DataFrame(
            self.stages, columns=None if self.stages else ["layer", "name", "stage", *measures]
        )
        shown = {
            column: Shown.of(probe, column, self._goals.get(probe.name))
            for probe in self.probes
            for column in probe.columns
            if column in layers or column in stages or column in whole or column in drawn
        }
        subject = f"{subject}, {self._covers}" if self._covers else subject
        return Profile(stages, subject, measures, self.notes, layers, whole, curves, shown, self.scores)


def _cancels(share: Measurement) -> bool:
    """Whether a share of a fall is undefined although NC1 falls a little: one would look for it."""
    return not share.defined and share.details.get("fall", 0) > 0


def _results(probe: Probe, evidence: Evidence) -> Found:
    """What the probe finds; it may be anybody's, and if it raises, the others' values are not lost."""
    try:
        return probe.results(evidence)
    except Exception as error:  # noqa: BLE001 - told in a warning and in the notes
        reason = f"it raised {type(error).__name__}: {' '.join(str(error).split())[:200]}"
        warnings.warn(f"{probe.name} at {evidence.name}: {reason}", RuntimeWarning, stacklevel=5)
        return probe.undefined(reason)


def _applies(probe: Probe, evidence: Evidence) -> bool:
    return any(column in evidence.known for column in probe.columns) or probe.applies(evidence)
