"""Figures of a network: where its layers collapse the classes, how that came with training, and what was there before.

Tables as `agop network` and `agop profile` write them: `layers` (by layer), `through` (by epoch, layer and stage),
`through_layers` (by epoch and layer), `epochs` (by epoch); those of an untrained network beside them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from agop._csv import read_csv
from agop.probes.drops import share_of_fall
from agop.profiles.shown import Shown, look_of
from agop.report import style
from agop.report.pictures import Drawing
from agop.report.ticks import draw_axis, label_log_axis

_PROJECTION, _NONLINEARITY = style.STAGES["projected"].colour, style.STAGES["output"].colour
_TRAINED, _UNTRAINED = style.INK, "#a6a6a6"
_MANY = 12


DRAWN = ("nfa", "drop_projection", "drop_nonlinearity", "share_projection")
"""Measures of layers that have a figure of their own here."""

_NOT_BY_EPOCH = ("nc2", "trace_within_share", "trace_between_share")


def drawings(folder: Path, looks: Mapping[str, Shown] | None = None) -> list[Drawing]:
    """The figures that the tables in the directory of a run allow, in the order in which they tell the story.

    `looks` says how the measures are shown.
    """
    tables = {
        name: read_csv(folder / f"{name}.csv")
        for name in (
            "profile", "layers", "untrained", "untrained_layers", "through", "through_layers", "epochs"
        )
        if (folder / f"{name}.csv").exists()
    }  # fmt: skip
    layers, untrained = tables.get("layers"), tables.get("untrained_layers")
    found: list[Drawing] = []
    if layers is None:
        return found
    if "drop_projection" in layers and layers["drop_projection"].notna().any():
        text = (
            "how far log NC1 falls in each layer, at the projection and at the nonlinearity; below 0 it rises"
        )
        how = "Where the bars of the projections are the longer ones, it is the linear maps that collapse the classes."
        found.append(
            Drawing("drops", "What collapses the classes", text, how, lambda: drops(layers, untrained))
        )
    if "through" in tables and tables["through"]["epoch"].nunique() > 1:
        found += [
            _through_training(tables["through"], measure, (looks or {}).get(measure) or look_of(measure))
            for measure in tables["profile"].select_dtypes("number").columns.drop("layer")
            if measure in tables["through"] and measure not in _NOT_BY_EPOCH
        ]
    if "nfa" in layers and layers["nfa"].notna().any():
        text = "correlation of WᵀW with the square root of the AGOP; 1 is perfect"
        how = "Near 1 a layer keeps the directions along which the output changes; the untrained network shows what chance gives."
        by_epoch = tables.get("through_layers")
        found.append(
            Drawing("nfa", "Neural feature ansatz", text, how, lambda: ansatz(layers, untrained, by_epoch))
        )
    shares = {"trace_within_share", "trace_between_share"} <= set(tables.get("through", ()))
    if shares and "epochs" in tables and tables["through"]["epoch"].nunique() > 1:
        through, epochs = tables["through"], tables["epochs"]
        text = "variance within and between classes at the input of the last layer, the loss, the accuracy"
        how = "Collapse comes where the variance within classes goes to 0, often long after the training accuracy is 1."
        found.append(Drawing("training", "Training", text, how, lambda: training(through, epochs)))
    return found


def _through_training(through: pd.DataFrame, measure: str, look: Shown) -> Drawing:
    return Drawing(
        f"training-{style.file_stem(measure)}",
        "Stages through training" if measure == "nc1" else f"{look.heading} through training",
        f"{look.heading} of the {'three ' if measure == 'nc1' else ''}stages of every layer while the network learns",
        f"A panel is a layer, a curve a stage; {style.reading(look)}.",
        lambda: stages_through(through, measure, look),
    )


def drops(layers: pd.DataFrame, untrained: pd.DataFrame | None) -> Figure:
    """Bars by layer: orders of magnitude that NC1 falls at the projection and at the nonlinearity."""
    panels = [("trained", layers)] + ([("untrained", untrained)] if untrained is not None else [])
    with mpl.rc_context(style.RC):
        figure = Figure(figsize=(3.4 * len(panels) + 1.6, 4.2), layout="constrained")
        figure.suptitle(
            "Where NC1 falls: at each layer's projection, or at its nonlinearity?",
            x=0.012,
            ha="left",
            fontsize=12,
            fontweight="bold",
        )
        axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for ax, (name, table) in zip(axes, panels, strict=True):
            _drop_bars(ax, table, name)
        axes[0].set_ylabel("orders of magnitude (log10) that NC1 falls")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    return figure


def _drop_bars(ax: Axes, table: pd.DataFrame, name: str) -> None:
    rows = table.dropna(subset=["drop_projection", "drop_nonlinearity"])
    places = rows["layer"].to_numpy(float)
    size = 0.4
    ax.bar(
        places - size / 2, rows["drop_projection"], size, color=_PROJECTION, label="at the projection S Vᵀ"
    )
    ax.bar(
        places + size / 2, rows["drop_nonlinearity"], size, color=_NONLINEARITY, label="at the nonlinearity"
    )
    ax.axhline(0, color=style.INK, linewidth=0.8)
    _layer_ticks(ax)
    ax.grid(visible=False, axis="x")
    projection, rest = rows["drop_projection"].sum(), rows["drop_nonlinearity"].sum()
    if projection + rest <= 0:
        told = "NC1 does not fall"
    elif not share_of_fall(float(projection), float(rest)).defined:
        told = "NC1 hardly falls"
    elif rest >= 0:
        told = f"{100 * projection / (projection + rest):.0f} % of the drop is at the projections"
    else:
        told = f"projections {projection:.2f}, nonlinearities −{-rest:.2f}"
    ax.set_title(f"{name}: {told}", fontsize=9.5, fontweight="normal", color=style.MUTED, pad=6)


def _layer_ticks(ax: Axes) -> None:
    ax.set_xlabel("layer")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=_MANY))


def stages_through(through: pd.DataFrame, measure: str = "nc1", look: Shown | None = None) -> Figure:
    """Small multiples: a panel per layer, a measure of its stages against the epoch, all on the axis that the measure asks for."""
    look = look or look_of(measure)
    marks = style.stages(through["stage"])
    layers = sorted(through["layer"].unique())
    shown = (
        layers
        if len(layers) <= _MANY
        else [layers[i] for i in np.linspace(0, len(layers) - 1, _MANY).astype(int)]
    )
    columns = min(len(shown), 3 if len(shown) <= 6 else 4)
    n_rows = -(-len(shown) // columns)
    with mpl.rc_context(style.RC):
        figure = Figure(figsize=(2.5 * columns + 1.0, 2.1 * n_rows + 0.8), layout="constrained")
        title = f"{look.heading} of the stages of each layer while the network learns"
        figure.suptitle(title, x=0.012, ha="left", fontsize=12, fontweight="bold")
        grid = figure.subplots(n_rows, columns, sharex=True, sharey=True, squeeze=False)
        for ax, layer in zip(grid.flat, shown, strict=False):
            rows = through[through["layer"] == layer]
            for stage, mark in marks.items():
                curve = rows[rows["stage"] == stage].sort_values("epoch")
                ax.plot(
                    curve["epoch"],
                    curve[measure],
                    color=mark.colour,
                    marker=mark.marker,
                    markersize=3,
                    label=stage,
                )
            ax.set_title(f"layer {layer}", fontsize=10, fontweight="normal", pad=4)
            ax.grid(visible=False, axis="x")
        for ax in list(grid.flat)[len(shown) :]:
            ax.set_visible(False)
        draw_axis(grid[0, 0], look, through[measure])
        label = grid[0, 0].get_ylabel()
        grid[0, 0].set_ylabel("")
        figure.supxlabel("epoch", fontsize=10)
        figure.supylabel(label, fontsize=10)
        handles, labels = grid[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper right", ncols=3, frameon=False, fontsize=9)
    return figure


def ansatz(layers: pd.DataFrame, untrained: pd.DataFrame | None, through: pd.DataFrame | None) -> Figure:
    """The NFA correlation: by layer, trained and untrained; and through training, a curve per layer."""
    curves = through is not None and through["epoch"].nunique() > 1
    with mpl.rc_context(style.RC):
        figure = Figure(figsize=(8.6 if curves else 5.4, 3.9), layout="constrained")
        title = "Neural feature ansatz: do the weights keep what the gradients point at?"
        figure.suptitle(title, x=0.012, ha="left", fontsize=12, fontweight="bold")
        axes = figure.subplots(1, 2 if curves else 1, sharey=True, squeeze=False)[0]
        _ansatz_by_layer(axes[0], layers, untrained)
        if curves and through is not None:
            _ansatz_through(axes[1], through)
        axes[0].set_ylabel("correlation of WᵀW with √AGOP")
        low = min(float(table["nfa"].min()) for table in (layers, untrained, through) if table is not None)
        axes[0].set_ylim(min(0.0, low - 0.05), 1.03)
    return figure


def _ansatz_by_layer(ax: Axes, layers: pd.DataFrame, untrained: pd.DataFrame | None) -> None:
    rows = layers.dropna(subset="nfa").reset_index(drop=True)
    for name, table, colour, marker in (
        ("trained", rows, _TRAINED, "o"),
        ("untrained", untrained, _UNTRAINED, "s"),
    ):
        if table is not None:
            values = rows[["layer"]].merge(table[["layer", "nfa"]], how="left")["nfa"]
            ax.plot(rows["layer"], values, color=colour, marker=marker, label=name)
    _layer_ticks(ax)
    ax.legend(loc="lower left", frameon=False, fontsize=9)
    ax.set_title("by layer", fontsize=9.5, fontweight="normal", color=style.MUTED, pad=6)


def _ansatz_through(ax: Axes, through: pd.DataFrame) -> None:
    layers = sorted(through.dropna(subset="nfa")["layer"].unique())
    colours = mpl.colormaps["viridis"](np.linspace(0, 0.85, len(layers)))
    for layer, colour in zip(layers, colours, strict=True):
        rows = through[through["layer"] == layer].sort_values("epoch")
        ax.plot(rows["epoch"], rows["nfa"], color=colour, marker="o", markersize=3, label=f"layer {layer}")
    if len(layers) <= _MANY:
        ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=9)
    ax.set_xlabel("epoch")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    told = "through training" + ("" if len(layers) <= _MANY else ": first layers dark, last ones light")
    ax.set_title(told, fontsize=9.5, fontweight="normal", color=style.MUTED, pad=6)


def training(through: pd.DataFrame, epochs: pd.DataFrame) -> Figure:
    """Three panels against the epoch: shares of variance between (B), within (W) classes, loss, accuracy."""
    last = through[(through["layer"] == through["layer"].max()) & (through["stage"] == "input")]
    last = last.sort_values("epoch")
    with mpl.rc_context(style.RC):
        figure = Figure(figsize=(9.6, 3.4), layout="constrained")
        figure.suptitle("Training", x=0.012, ha="left", fontsize=12, fontweight="bold")
        shares, loss, accuracy = figure.subplots(1, 3)
        _labelled(
            shares, last["epoch"],
            {"tr Σ_B / tr Σ_T": (last["trace_between_share"], _PROJECTION, "o"),
             "tr Σ_W / tr Σ_T": (last["trace_within_share"], style.STAGES["input"].colour, "s")},
        )  # fmt: skip
        shares.set(ylim=(-0.03, 1.03))
        shares.set_title(
            "variance between (B), within (W) classes", fontsize=9.5, fontweight="normal", color=style.MUTED
        )
        loss.plot(epochs["number"], epochs["loss"], color=_TRAINED, linewidth=1.5, label="loss")
        if epochs["loss"].max() > 10 * epochs["loss"].min() > 0:
            label_log_axis(loss, epochs["loss"])
        loss.set_title("training loss", fontsize=9.5, fontweight="normal", color=style.MUTED)
        tested = epochs.dropna(subset="test_accuracy")
        accuracy.plot(epochs["number"], epochs["accuracy"], color=_TRAINED, linewidth=1.5, label="training")
        if len(tested):
            mark = style.SPLITS["test"]
            accuracy.plot(
                tested["number"],
                tested["test_accuracy"],
                color=mark.colour,
                marker=mark.marker,
                markersize=4,
                label="test",
            )
        accuracy.set(ylim=(0, 1.03))
        accuracy.legend(loc="best", frameon=False, fontsize=9)
        accuracy.set_title("accuracy", fontsize=9.5, fontweight="normal", color=style.MUTED)
        for ax in (shares, loss, accuracy):
            ax.set_xlabel("epoch")
            ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
            ax.grid(visible=False, axis="x")
    return figure


def _labelled(ax: Axes, x: pd.Series, curves: dict[str, tuple[pd.Series, str, str]]) -> None:
    for name, (values, colour, marker) in curves.items():
        ax.plot(x, values, color=colour, marker=marker, markersize=4, label=name)
        end = float(values.iloc[-1])
        # beside the end of its curve, on the side of the middle, where the other curve is not
        ax.annotate(
            name, (x.iloc[-1], end), xytext=(0, -20 if end > 0.5 else 20), textcoords="offset points",
            ha="right", va="top" if end > 0.5 else "bottom", color=colour, fontsize=8.5, fontweight="bold", gid=style.of(name),
        )  # fmt: skip


__all__: Sequence[str] = ["ansatz", "drawings", "drops", "stages_through", "training"]
