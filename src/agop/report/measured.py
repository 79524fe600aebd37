"""What a run measured beside the curves of its stages: measures of layers, of the whole subject, and those that are curves themselves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from agop.profiles.shown import Shown
from agop.report import style
from agop.report.network_figures import DRAWN
from agop.report.pictures import Drawing
from agop.report.record import RunRecord
from agop.report.series import series_figure
from agop.report.ticks import draw_axis

_MOST_CURVES = 7


def charted_layers(record: RunRecord) -> list[str]:
    """The measures of layers that get a chart: those without a figure of their own, and with more than a classifier's one value."""
    return [
        measure
        for measure in record.layer_measures
        if measure not in DRAWN
        and (record.look(measure).level == "layer" or record.layers[measure].notna().sum() > 1)
    ]


@dataclass(frozen=True)
class Whole:
    """A measure of the whole subject: heading, number, what it says."""

    heading: str
    number: str
    meaning: str


def of_whole(record: RunRecord) -> list[Whole]:
    """The measures of the whole subject, in words."""
    if record.whole.empty:
        return []
    values = {str(name): float(value) for name, value in record.whole.select_dtypes("number").iloc[0].items()}
    looks = {name: record.look(name) for name in values}
    return [
        Whole(looks[name].label, "undefined" if value != value else f"{value:.4g}", looks[name].meaning)
        for name, value in values.items()
    ]


def curve_drawings(record: RunRecord) -> list[Drawing]:
    """A figure for each measure that is a curve, and each stage of it: one curve a layer."""
    curves = record.curves.fillna({"stage": ""})
    pairs = dict.fromkeys(zip(curves["measure"], curves["stage"], strict=True))
    return [
        _curve_drawing(
            curves[(curves["measure"] == measure) & (curves["stage"] == stage)], record, measure, stage
        )
        for measure, stage in pairs
    ]


def _curve_drawing(rows: pd.DataFrame, record: RunRecord, measure: str, stage: str) -> Drawing:
    look = record.look(measure)
    heading = " ".join(filter(None, (look.heading, stage)))
    stem = style.file_stem("-".join(filter(None, ("curve", measure, stage))))
    how = f"A curve is a layer; {style.reading(look)}."
    return Drawing(stem, heading, look.meaning, how, lambda: _curves(rows, look, heading))


def _curves(rows: pd.DataFrame, look: Shown, heading: str) -> Figure:
    """The curves of at most seven layers, evenly spaced."""
    layers = np.unique(rows["layer"])
    places = np.unique(np.linspace(0, len(layers) - 1, min(len(layers), _MOST_CURVES)).round().astype(int))
    told = "" if len(places) == len(layers) else f"; {len(places)} of {len(layers)} layers"
    rows = rows[rows["layer"].isin(layers[places])]
    rows = rows.assign(series=["the whole" if layer == 0 else f"layer {layer}" for layer in rows["layer"]])
    figure = series_figure(
        rows, "x", "value", "series", title=heading, subtitle=look.meaning + told, labels=("", ""), log=""
    )
    draw_axis(figure.axes[0], look, rows["value"])
    if (rows["x"] % 1 == 0).all():
        figure.axes[0].xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure
