"""What a run measured beside the curves of its stages: measures of layers, of the whole subject, and those that are curves themselves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from agop.profiles.table import Shown
from agop.report import style
from agop.report.network_figures import DRAWN, Drawing
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
    return [
        Whole(record.look(name).label, "undefined" if value != value else f"{value:.4g}", record.look(name).meaning)
        for name, value in record.whole.select_dtypes("number").iloc[0].items()
    ]


def curve_drawings(record: RunRecord) -> list[Drawing]:
    """A figure for each measure that is a curve, and each stage of it: one curve a layer."""
    found = []
    names = ["measure", "stage"]
    for (measure, stage), rows in record.curves.fillna({"stage": ""}).groupby(names, sort=False):
        look = record.look(str(measure))
        heading = " ".join(filter(None, (look.heading, str(stage))))
        stem = style.file_stem("-".join(filter(None, ("curve", str(measure), str(stage)))))
        found.append(
            Drawing(stem, heading, look.meaning, lambda rows=rows, look=look, heading=heading: _curves(rows, look, heading))
        )
    return found


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
    return figure
