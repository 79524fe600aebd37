"""Figures of a profile, for papers and slides: PNG, SVG and PDF, the same bytes from the same numbers.

A profile frame has one row per layer and stage (`layer`, `stage`, and a column per measure). Rows that share
layer and stage are repetitions, such as seeds: their mean is drawn, with one standard deviation around it.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator

from agop.experiments.files import atomic
from agop.profiles.shown import Shown, look_of
from agop.report import style
from agop.report.style import Mark
from agop.report.ticks import draw_axis

FORMATS = ("png", "svg", "pdf")


def stage_curves(frame: pd.DataFrame, measure: str, *, title: str, look: Shown | None = None) -> Figure:
    """One measure against the layer, a curve per stage, on the axis that the measure asks for; undefined values are gaps."""
    marks = style.stages(frame["stage"])
    series = {
        stage: frame[frame["stage"] == stage].groupby("layer")[measure].agg(["mean", "std"])
        for stage in marks
    }
    figure, axes = _by_layer(series, marks, look or look_of(measure), title, frame["layer"])
    with mpl.rc_context(style.RC):
        _direct_labels(axes, {stage: table["mean"] for stage, table in series.items()}, marks)
    return figure


def layer_curve(frame: pd.DataFrame, measure: str, *, title: str, look: Shown | None = None) -> Figure:
    """A measure of layers against the layer, on the axis that it asks for."""
    table = frame.groupby("layer")[measure].agg(["mean", "std"])
    marks = {"": style.LAYER}
    return _by_layer({"": table}, marks, look or look_of(measure), title, frame["layer"])[0]


def _by_layer(
    series: Mapping[str, pd.DataFrame], marks: Mapping[str, Mark], look: Shown, title: str, layers: pd.Series
) -> tuple[Figure, Axes]:
    with mpl.rc_context(style.RC):
        figure, axes = plain_axes(title, look.meaning)
        for name, table in series.items():
            _curve(axes, table, marks[name], name)
        draw_axis(axes, look, (value for table in series.values() for value in table["mean"]))
        layer_axis(axes, layers)
    return figure, axes


def accuracy_curves(layers: pd.DataFrame, *, title: str, subtitle: str = "") -> Figure:
    """Accuracy by layer, on training and test points."""
    series = {}
    for split in style.SPLITS:
        column = f"{split}_accuracy"
        if column in layers and layers[column].notna().any():
            series[split] = layers.groupby("layer")[column].agg(["mean", "std"])
    with mpl.rc_context(style.RC):
        figure, axes = plain_axes(title, subtitle)
        for split, table in series.items():
            _curve(axes, table, style.SPLITS[split], split)
        axes.set_ylabel("accuracy")
        lowest = min((table["mean"].min() for table in series.values()), default=0.0)
        axes.set_ylim(max(0.0, lowest - 0.15 * (1.02 - lowest) - 0.005), 1 + 0.06 * (1.02 - lowest))
        layer_axis(axes, layers["layer"])
        _direct_labels(axes, {split: table["mean"] for split, table in series.items()}, style.SPLITS)
    return figure


def gram_grid(
    matrices: Mapping[tuple[int, str], Float[np.ndarray, "n n"]],
    labels: Int[np.ndarray, " n"],
    class_names: Sequence[str],
    *,
    title: str,
) -> Figure:
    """Class-sorted Gram matrices: a row per stage, a column per layer, cosines from -1 (blue) to 1 (red)."""
    layers = sorted({layer for layer, _ in matrices})
    marks = style.stages(stage for _, stage in matrices)
    stages = list(marks)
    with mpl.rc_context(style.RC | {"axes.grid": False}):
        width, height = 1.75 * len(layers) + 1.9, 1.75 * len(stages) + 1.0
        figure = Figure(figsize=(width, height), layout="constrained")
        grid = figure.subplots(len(stages), len(layers), squeeze=False)
        figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
        image = None
        for row, stage in enumerate(stages):
            for column, layer in enumerate(layers):
                axes = grid[row, column]
                _class_ticks(axes, labels, class_names, named=column == 0)
                if (layer, stage) in matrices:
                    image = axes.imshow(
                        matrices[layer, stage],
                        cmap=style.gram_colours(),
                        vmin=-1,
                        vmax=1,
                        interpolation="none",
                    )
                if row == 0:
                    axes.set_title(f"layer {layer}", loc="center", fontsize=10, fontweight="normal", pad=5)
            grid[row, 0].set_ylabel(stage, color=marks[stage].colour, fontweight="bold")
        if image is not None:
            bar = figure.colorbar(image, ax=grid, shrink=0.5, aspect=18, pad=0.02, ticks=[-1, 0, 1])
            bar.set_label("cosine between centred points", color=style.MUTED, fontsize=9)
            bar.outline.set_visible(False)
    return figure


def save(figure: Figure, folder: Path, stem: str) -> None:
    """Write `folder/stem` as PNG, SVG and PDF, atomically and without dates."""
    undated = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
    with mpl.rc_context(style.RC):
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # laid out once, not for every format
    for suffix in FORMATS:
        # drawn in memory: on a full disk matplotlib's writers fail with errors of their own
        drawn = io.BytesIO()
        with mpl.rc_context(style.RC):
            figure.savefig(drawn, format=suffix, dpi=200, metadata=undated[suffix])
        with atomic(folder / f"{stem}.{suffix}") as partial:
            partial.write_bytes(drawn.getbuffer())


def plain_axes(title: str, subtitle: str) -> tuple[Figure, Axes]:
    """An empty figure with a heading, and what it says."""
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    figure.suptitle(title, x=0.012, ha="left", fontsize=12, fontweight="bold")
    axes = figure.subplots()
    axes.set_title(subtitle, fontsize=9, fontweight="normal", color=style.MUTED, pad=6)
    return figure, axes


def _curve(axes: Axes, table: pd.DataFrame, mark: Mark, name: str) -> None:
    axes.plot(
        table.index, table["mean"], color=mark.colour, marker=mark.marker, linestyle=mark.line,
        markeredgecolor="white", markeredgewidth=0.8, clip_on=False, label=name,
    )  # fmt: skip
    if table["std"].notna().any():
        low, high = table["mean"] - table["std"], table["mean"] + table["std"]
        axes.fill_between(
            table.index, low, high, color=mark.colour, alpha=0.18, linewidth=0, gid=style.of(name)
        )


def layer_axis(axes: Axes, layers: pd.Series) -> None:
    """Whole numbers of layers, with a little room on both sides."""
    first, last = int(layers.min()), int(layers.max())
    axes.set_xlabel("layer")
    axes.set_xlim(first - 0.03 * (last - first) - 0.1, last + 0.04 * (last - first) + 0.1)
    if last - first <= 12:
        axes.xaxis.set_major_locator(FixedLocator(range(first, last + 1)))
    else:
        axes.xaxis.set_major_locator(MaxNLocator(nbins=9, integer=True, steps=[1, 2, 5, 10]))
    axes.grid(visible=False, axis="x")


def _direct_labels(axes: Axes, series: Mapping[str, pd.Series], marks: Mapping[str, Mark]) -> None:
    """Write each name beside the end of its curve, moved apart where they would overlap."""
    ends = {name: values.dropna().iloc[-1] for name, values in series.items() if values.notna().any()}
    transform = axes.transData + axes.transAxes.inverted()
    heights = {name: float(transform.transform((1, value))[1]) for name, value in ends.items()}
    heights = {name: height for name, height in heights.items() if np.isfinite(height)}
    order = sorted(heights, key=lambda name: heights[name])
    placed = spread([heights[name] for name in order], gap=0.065)
    for name, height in zip(order, placed, strict=True):
        axes.annotate(
            name, (1, height), xycoords="axes fraction", xytext=(6, 0), textcoords="offset points",
            va="center", color=marks[name].colour, fontweight="bold", fontsize=10, annotation_clip=False, gid=style.of(name),
        )  # fmt: skip


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """The heights nearest (in least squares) to the given increasing ones that are at least `gap` apart.

    >>> [round(h, 3) for h in spread([0.0, 0.0, 0.5], gap=0.1)]
    [-0.05, 0.05, 0.5]
    """
    blocks: list[list[float]] = []  # pool adjacent violators on heights less their ideal offsets
    for index, height in enumerate(heights):
        blocks.append([height - index * gap])
        while len(blocks) > 1 and np.mean(blocks[-2]) > np.mean(blocks[-1]):
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    levels = [float(np.mean(block)) for block in blocks for _ in block]
    return [level + index * gap for index, level in enumerate(levels)]


def _class_ticks(
    axes: Axes, labels: Int[np.ndarray, " n"], class_names: Sequence[str], *, named: bool
) -> None:
    present, starts, counts = np.unique(labels, return_index=True, return_counts=True)
    axes.set_xticks([])
    axes.set_yticks([])
    if named and len(present) <= 20:
        names = [class_names[label] for label in present]
        axes.set_yticks(
            starts + counts / 2 - 0.5, [name if len(name) <= 10 else name[:9] + "…" for name in names]
        )
        axes.tick_params(axis="y", length=0, labelsize=6.5 if len(present) > 6 else 8, pad=2)
    for spine in axes.spines.values():
        spine.set_visible(False)
