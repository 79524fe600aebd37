"""Figures by layer for the page, of one or several runs: a run alone as in its files, runs side by side in a colour each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

from agop.profiles.shown import Shown, look_of
from agop.report import figures, style
from agop.report.record import RunRecord
from agop.report.style import Mark
from agop.report.ticks import draw_axis

Keys = dict[str, tuple[int, str]]
"""By the name of a curve the number of its run, and its series."""

Drawn = tuple[Figure, Keys]

_NO_TITLE = ""


def nothing() -> Figure:
    """For figures that were drawn already."""
    return Figure()


def look_in(records: Sequence[RunRecord], measure: str) -> Shown:
    """How a measure is shown: as the first run says that knows it."""
    return next((record.shown[measure] for record in records if measure in record.shown), look_of(measure))


def measure_chart(records: Sequence[RunRecord], measure: str) -> Drawn:
    """A measure of stages against the layer, on the axis that it asks for: a curve per run and stage."""
    look = look_in(records, measure)
    if len(records) == 1:
        return figures.stage_curves(records[0].profile, measure, title=_NO_TITLE, look=look), {}
    marks = style.stages(stage for record in records for stage in record.profile["stage"])
    tables = {
        (run, stage): rows.groupby("layer")[measure].mean()
        for run, record in enumerate(records)
        if measure in record.profile
        for stage in marks
        if len(rows := record.profile[record.profile["stage"] == stage])
    }
    return _side_by_side(records, tables, marks, look)


def layer_chart(records: Sequence[RunRecord], measure: str) -> Drawn:
    """A measure of layers against the layer, on the axis that it asks for: a curve per run."""
    look = look_in(records, measure)
    if len(records) == 1:
        return figures.layer_curve(records[0].layers, measure, title=_NO_TITLE, look=look), {}
    tables = {
        (run, ""): record.layers.groupby("layer")[measure].mean()
        for run, record in enumerate(records)
        if measure in record.layers
    }
    return _side_by_side(records, tables, {"": style.LAYER}, look)


def accuracy_chart(records: Sequence[RunRecord]) -> Drawn | None:
    """Accuracy against the layer: a curve per run and split; None if no run has any."""
    tables = {
        (run, split): record.layers.groupby("layer")[column].mean()
        for run, record in enumerate(records)
        for split in style.SPLITS
        if (column := f"{split}_accuracy") in record.layers and record.layers[column].notna().any()
    }
    if not tables:
        return None
    if len(records) == 1:
        return figures.accuracy_curves(records[0].layers, title=_NO_TITLE), {}
    return _side_by_side(records, tables, style.SPLITS, Shown("accuracy"))


def _side_by_side(
    records: Sequence[RunRecord],
    tables: Mapping[tuple[int, str], pd.Series],
    marks: Mapping[str, Mark],
    look: Shown,
) -> Drawn:
    """One colour a run; its series differ by their markers and lines."""
    keys: Keys = {}
    lines = {name: style.LINES[number % len(style.LINES)] for number, name in enumerate(marks)}
    with mpl.rc_context(style.RC):
        figure, axes = figures.plain_axes(_NO_TITLE, "")
        for (run, series), values in tables.items():
            defined = values.dropna()
            name = ": ".join(filter(None, (records[run].name, series)))
            keys[name] = (run, series)
            axes.plot(
                defined.index, defined, color=style.run_colour(run), marker=marks[series].marker, linestyle=lines[series],
                markeredgecolor="white", markeredgewidth=0.8, clip_on=False, label=name,
            )  # fmt: skip
        draw_axis(axes, look, (value for values in tables.values() for value in values))
        figures.layer_axis(axes, pd.Series([layer for values in tables.values() for layer in values.index]))
    return figure, keys
