"""Interactive charts of one or several runs: plotly figures whose traces say whose they are."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

from agop.report import style
from agop.report.record import RunRecord
from agop.report.style import Mark


def measure_chart(records: Sequence[RunRecord], measure: str) -> go.Figure:
    """A measure against the layer: a curve per run and stage, logarithmic if anything is positive."""
    figure = go.Figure()
    name = style.measure_name(measure)
    values: list[float] = []
    for index, record in enumerate(records):
        if measure not in record.profile:
            continue
        for stage, mark in style.STAGES.items():
            rows = record.profile[record.profile["stage"] == stage].groupby("layer")[measure].mean().dropna()
            if len(rows):
                figure.add_trace(_trace(rows, record, index, stage, mark, len(records), "%{y:.3g}"))
                values += [float(value) for value in rows if value > 0]
    _layout(figure, name)
    if values:
        figure.update_yaxes(type="log")  # title and ticks depend on what is shown: see report.js
    return figure


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
    label = series if n_runs == 1 else f"{record.name}: {series}"
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
