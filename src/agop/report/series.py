"""Figures of curves that have names: mean over repetitions with one standard deviation around it, names beside the ends of the curves.

A frame holds one row per point: columns for x, y and the name of the series; rows that share x and name are repetitions (seeds).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter, ScalarFormatter

from agop.experiments.drawing import Line
from agop.report import figures, style
from agop.report.style import Mark
from agop.report.ticks import label_log_axis, linear_within

COLOURS = ("#b84a00", "#0067a5", "#007a5a", "#8f3f71", "#8a6d00", "#595959", "#1a1a1a")
MARKERS = ("s", "o", "^", "D", "v", "P", "X")


def mark(index: int, *, marker: bool = True, line: bool = True) -> Mark:
    """The look of the series with this number: a colour and a shape that doubles it."""
    shape = MARKERS[index % len(MARKERS)] if marker else ""
    return Mark(COLOURS[index % len(COLOURS)], shape, "circle", "-" if line else "")


_FEW = 12
"""Up to this span an axis of whole numbers, such as iterations, has ticks at whole numbers only."""


def series_figure(
    frame: pd.DataFrame,
    x: str,
    y: str,
    series: str,
    *,
    title: str,
    subtitle: str,
    labels: tuple[str, str],
    log: str = "y",
    names: Sequence[str] | None = None,
    marks: Mapping[str, Mark] | None = None,
    unnamed: Sequence[str] = (),
    lines: Sequence[Line] = (),
) -> Figure:
    """Curves of `y` against `x`, one per name in the column `series`.

    Parameters
    ----------
    labels
        Of the two axes.
    log
        Which axes are logarithmic: "", "x", "y" or "xy".
    names
        The series to draw, in this order; all by default.
    marks
        Their looks; those of `mark` by default.
    unnamed
        Series without a name beside them.
    lines
        Levels, each a number, drawn below the curves.
    """
    names = (
        list(dict.fromkeys(frame[series]))
        if names is None
        else [n for n in names if (frame[series] == n).any()]
    )
    marks = marks or {name: mark(index) for index, name in enumerate(names)}
    tables = {name: frame[frame[series] == name].groupby(x)[y].agg(["mean", "std"]) for name in names}
    with mpl.rc_context(style.RC):
        figure, axes = figures.plain_axes(title, subtitle)
        values = [float(value) for table in tables.values() for value in table["mean"]]
        positive = linear_within(values) is None
        for name, table in tables.items():
            _curve(axes, table, marks[name], name, log="y" in log and positive)
        for line in lines:
            _level(axes, line)
        axes.set_ylabel(labels[1] + (label_log_axis(axes, values) if "y" in log else ""))
        axes.set_xlabel(labels[0])
        if labels[0] == "layer":
            figures.layer_axis(axes, frame[x])
        else:
            _plain_axis(axes, frame[x], "x" in log)
        figures._direct_labels(
            axes, {name: table["mean"] for name, table in tables.items() if name not in unnamed}, marks
        )
    return figure


def _curve(axes: Axes, table: pd.DataFrame, look: Mark, name: str, *, log: bool) -> None:
    low = table["mean"] - table["std"]
    if (
        log
    ):  # a band that reaches zero has no lower end on a logarithmic axis: it ends a little below the curve
        low = low.clip(lower=float(table["mean"].min()) / 3)
    if table["std"].notna().any():
        high = table["mean"] + table["std"]
        axes.fill_between(
            table.index, low, high, color=look.colour, alpha=0.18, linewidth=0, gid=style.of(name)
        )
    axes.plot(
        table.index, table["mean"], color=look.colour, marker=look.marker, linestyle=look.line,
        markeredgecolor="white", markeredgewidth=0.8, clip_on=False, label=name,
    )  # fmt: skip


def _level(axes: Axes, line: Line) -> None:
    """A thin line across the axes, which reach as far as a horizontal one, and its words at the left or at the top."""
    across, value = line.axis == "y", float(line.value)
    draw = axes.axhline if across else axes.axvline
    draw(value, color=style.GOAL, linewidth=1.0, linestyle="--", zorder=1)
    axes.annotate(
        line.label, (0, value) if across else (value, 1),
        xycoords=("axes fraction", "data") if across else ("data", "axes fraction"),
        xytext=(3, 2 if across else -2), textcoords="offset points", va="bottom" if across else "top",
        color=style.MUTED, fontsize=8,
    )  # fmt: skip


def _plain_axis(axes: Axes, values: pd.Series, log: bool) -> None:
    low, high = float(values.min()), float(values.max())
    if log:
        axes.set_xscale("log")
        axes.set_xlim(low / (high / low) ** 0.03, high * (high / low) ** 0.03)
        ticks = sorted(set(values)) if values.nunique() <= 8 else None
        if ticks is not None:
            axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
            axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        axes.set_xlim(low - 0.03 * (high - low), high + 0.03 * (high - low))
        axes.xaxis.set_major_formatter(ScalarFormatter())
        if high - low <= _FEW and (values == values.round()).all():
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(visible=False, axis="x")
