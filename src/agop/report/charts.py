"""Interactive charts of one or several runs: plotly figures whose traces say whose they are."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

from agop.profiles.shown import Shown, look_of
from agop.report import style
from agop.report.record import RunRecord
from agop.report.style import Mark
from agop.report.ticks import linear_within


def measure_chart(records: Sequence[RunRecord], measure: str) -> go.Figure:
    """A measure against the layer, on the axis that it asks for: a curve per run and stage."""
    figure = go.Figure()
    marks = style.stages(stage for record in records for stage in record.profile["stage"])
    for index, record in enumerate(records):
        if measure not in record.profile:
            continue
        for stage, mark in marks.items():
            rows = record.profile[record.profile["stage"] == stage].groupby("layer")[measure].mean().dropna()
            if len(rows):
                figure.add_trace(_trace(rows, record, index, stage, mark, len(records), "%{y:.3g}"))
    _axis(figure, look_in(records, measure))
    return figure


def layer_chart(records: Sequence[RunRecord], measure: str) -> go.Figure:
    """A measure of layers against the layer, on the axis that it asks for: a curve per run."""
    figure = go.Figure()
    for index, record in enumerate(records):
        if measure in record.layers:
            rows = record.layers.groupby("layer")[measure].mean().dropna()
            figure.add_trace(_trace(rows, record, index, "", style.LAYER, len(records), "%{y:.3g}"))
    _axis(figure, look_in(records, measure))
    return figure


def look_in(records: Sequence[RunRecord], measure: str) -> Shown:
    """How a measure is shown: as the first run says that knows it."""
    return next((record.shown[measure] for record in records if measure in record.shown), look_of(measure))


def _axis(figure: go.Figure, look: Shown) -> None:
    """Scale, title and goal as the measure asks; plotly knows no axis that is linear about zero: report.js draws that one."""
    _layout(figure, _plain(style.axis_title(look)))
    values = [float(value) for trace in figure.data for value in trace.y]
    within = linear_within(values) if look.scale == "log" else None
    if within is not None:
        figure.update_layout(meta={"linear_within": within})
    elif look.scale == "log" and values and max(values) > 0:
        figure.update_yaxes(type="log")  # title and ticks depend on what is shown: see report.js
    if look.goal is not None and not (figure.layout.yaxis.type == "log" and look.goal <= 0):
        line = {"color": style.GOAL, "dash": "dot", "width": 1}
        figure.add_shape(type="line", xref="paper", x0=0, x1=1, y0=look.goal, y1=look.goal, line=line)


def accuracy_chart(records: Sequence[RunRecord]) -> go.Figure | None:
    """Accuracy against the layer: a curve per run and split; None if no run has any."""
    figure = go.Figure()
    for index, record in enumerate(records):
        for split, mark in style.SPLITS.items():
            column = f"{split}_accuracy"
            if column in record.layers and record.layers[column].notna().any():
                rows = record.layers.groupby("layer")[column].mean().dropna()
                figure.add_trace(_trace(rows, record, index, split, mark, len(records), "%{y:.4f}"))
    if not figure.data:
        return None
    _layout(figure, "accuracy")
    return figure


def _trace(
    rows: pd.Series, record: RunRecord, run: int, series: str, mark: Mark, n_runs: int, number: str
) -> go.Scatter:
    label = series if n_runs == 1 else ": ".join(filter(None, (record.name, series)))
    return go.Scatter(
        x=[int(layer) for layer in rows.index],
        y=[float(value) for value in rows],
        name=label,
        meta={"run": run, "series": series},
        mode="lines+markers",
        line={"color": mark.colour, "width": 2.5, "dash": mark.dash if n_runs == 1 else _dash(run)},
        marker={"symbol": mark.symbol, "size": 9, "line": {"color": style.PAPER, "width": 1}},
        hovertemplate=f"{number}<extra>{_plain(label)}</extra>",
    )


def _dash(run: int) -> str:
    return style.RUN_DASHES[run % len(style.RUN_DASHES)]


def _plain(text: str) -> str:
    """Text that plotly shows as it is: it reads a few HTML tags and template braces in labels."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("%{", "% {")


def _layout(figure: go.Figure, y_title: str) -> None:
    axis = {
        "gridcolor": style.GRID,
        "linecolor": style.MUTED,
        "zeroline": False,
        "ticks": "outside",
        "showline": True,
    }
    figure.update_layout(
        template="none",
        font={"family": "system-ui, sans-serif", "size": 14, "color": style.INK},
        paper_bgcolor=style.PAPER,
        plot_bgcolor=style.PAPER,
        margin={"l": 64, "r": 16, "t": 12, "b": 48},
        height=380,
        showlegend=False,
        hovermode="x unified",
        xaxis={**axis, "title": {"text": "layer"}, "showgrid": False, "tickformat": "d"},
        yaxis={**axis, "title": {"text": y_title, "standoff": 10}, "automargin": True},
    )
