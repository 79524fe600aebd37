"""Figures of a run on a table: what counts, predicted against true, confusion, calibration, directions, the search."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from agop.report import style

_HONEST, _TEST = style.STAGES["input"], style.SPLITS["test"]
_MOST_BARS = 20
_MOST_CLASSES = 20
_MOST_POINTS = 5000
_BINS = 10
PROBABILITY = "probability of "


def _figure(title: str, width: float = 6.4, height: float = 4.2) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.suptitle(title, x=0.012, ha="left", fontsize=12, fontweight="bold")
    return figure, figure.subplots()


def importances(columns: pd.DataFrame, title: str) -> Figure:
    """Bars of the importances, the largest first."""
    rows = columns.dropna(subset=["importance"]).sort_values("importance", ascending=False, kind="stable")
    shown, rest = rows.head(_MOST_BARS), rows.iloc[_MOST_BARS:]
    with mpl.rc_context(style.RC):
        figure, axes = _figure(title, height=0.26 * len(shown) + 1.4)
        axes.barh(range(len(shown)), shown["importance"], color=_HONEST.colour, height=0.7)
        _rows(axes, [str(name) for name in shown["column"]])
        more = f"; {len(rest)} more columns: {rest['importance'].sum():.3f}" if len(rest) else ""
        axes.set_xlabel(f"share of the AGOP's trace{more}")
        axes.grid(visible=False, axis="y")
    return figure


def directions(table: pd.DataFrame, title: str) -> Figure:
    """A panel of bars for each of the top eigenvectors: its largest entries."""
    numbers = sorted(table["direction"].unique())
    most = min(12, int(table.groupby("direction")["column"].size().max()))
    with mpl.rc_context(style.RC):
        figure = Figure(figsize=(3.2 * len(numbers) + 1.0, 0.26 * most + 1.7), layout="constrained")
        figure.suptitle(title, x=0.012, ha="left", fontsize=12, fontweight="bold")
        panels = figure.subplots(1, len(numbers), squeeze=False)[0]
        for axes, number in zip(panels, numbers, strict=True):
            rows = table[table["direction"] == number]
            rows = rows.reindex(rows["weight"].abs().sort_values(ascending=False, kind="stable").index).head(
                most
            )
            colours = [
                _HONEST.colour if weight > 0 else style.STAGES["projected"].colour
                for weight in rows["weight"]
            ]
            axes.barh(range(len(rows)), rows["weight"], color=colours, height=0.7)
            _rows(axes, [str(name) for name in rows["column"]], most=22)
            axes.axvline(0, color=style.MUTED, linewidth=0.8)
            axes.set_xlim(-1.05, 1.05)
            axes.grid(visible=False, axis="y")
            axes.set_title(
                f"{number}: {100 * rows['share'].iloc[0]:.0f} % of the trace",
                fontsize=9.5,
                fontweight="normal",
            )
            axes.set_xlabel("entry")
    return figure


def predicted_against_true(parts: Mapping[str, pd.DataFrame], title: str) -> Figure:
    """A point a row: the prediction against the truth, and the line on which they are equal."""
    with mpl.rc_context(style.RC):
        figure, axes = _figure(title, 5.4, 5.0)
        for name, rows in parts.items():
            mark = _TEST if name == "test" else _HONEST
            rows = rows.iloc[
                np.unique(np.linspace(0, len(rows) - 1, min(len(rows), _MOST_POINTS)).astype(int))
            ]
            axes.plot(
                rows["true"], rows["predicted"], mark.marker, color=mark.colour, markersize=3, alpha=0.5, markeredgewidth=0,
                label="held-out rows" if name == "test" else "honest", rasterized=len(rows) > 1000,
            )  # fmt: skip
        both = pd.concat(list(parts.values()))
        low, high = float(both["true"].min()), float(both["true"].max())
        axes.plot([low, high], [low, high], color=style.MUTED, linewidth=1)
        axes.set(xlabel="true", ylabel="predicted")
        if len(parts) > 1:
            axes.legend(frameon=False, fontsize=9, markerscale=2)
    return figure


def confusion(rows: pd.DataFrame, title: str) -> Figure:
    """Of the rows of each class (down), the share predicted as each class (across), with the counts."""
    classes = [str(name).removeprefix(PROBABILITY) for name in rows if str(name).startswith(PROBABILITY)]
    true, found = rows["true"].astype(str), rows["predicted"].astype(str)
    counts = pd.crosstab(true, found).reindex(index=classes, columns=classes, fill_value=0).to_numpy()
    if len(classes) > _MOST_CLASSES:
        order = np.sort(np.argsort(-counts.sum(1), kind="stable")[:_MOST_CLASSES])
        classes, counts = [classes[k] for k in order], counts[np.ix_(order, order)]
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    size = 0.5 * len(classes)
    with mpl.rc_context(style.RC | {"axes.grid": False}):
        figure, axes = _figure(title, max(4.6, size + 3.2), max(3.6, size + 2.2))
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        if len(classes) <= 12:
            for row in range(len(classes)):
                for column in range(len(classes)):
                    colour = style.PAPER if shares[row, column] > 0.6 else style.INK
                    axes.text(
                        column,
                        row,
                        f"{counts[row, column]:,}",
                        ha="center",
                        va="center",
                        color=colour,
                        fontsize=9,
                    )
        names = [_short(name, 16) for name in classes]
        axes.set_xticks(range(len(classes)), names, rotation=90 if max(map(len, names)) > 5 else 0)
        axes.set_yticks(range(len(classes)), names)
        axes.set(xlabel="predicted", ylabel="true")
    return figure


def calibration_table(rows: pd.DataFrame) -> pd.DataFrame:
    """In ten bins of equally many rows: mean probability, share that came true, its standard error, rows.

    Of two classes the probability of the second; of more, of the class that is predicted.
    """
    names = [name for name in rows if str(name).startswith(PROBABILITY)]
    shares, true = rows[names].to_numpy(float), rows["true"].astype(str).to_numpy()
    classes = np.array([str(name).removeprefix(PROBABILITY) for name in names])
    place = np.full(len(rows), 1) if len(names) == 2 else shares.argmax(1)
    said, came = shares[np.arange(len(rows)), place], (true == classes[place]).astype(float)
    order = np.argsort(said, kind="stable")
    bins = [part for part in np.array_split(order, min(_BINS, max(1, len(rows) // 10))) if len(part)]
    made = [
        (said[part].mean(), came[part].mean(), came[part].std() / len(part) ** 0.5, len(part))
        for part in bins
    ]
    return pd.DataFrame(made, columns=["said", "came", "error", "rows"])


def calibration(parts: Mapping[str, pd.DataFrame], title: str) -> Figure:
    """What came true against what was said, one standard error on each side."""
    with mpl.rc_context(style.RC):
        figure, axes = _figure(title, 5.2, 4.8)
        axes.plot([0, 1], [0, 1], color=style.MUTED, linewidth=1)
        for name, rows in parts.items():
            mark, table = (_TEST if name == "test" else _HONEST), calibration_table(rows)
            axes.errorbar(
                table["said"], table["came"], yerr=table["error"], color=mark.colour, marker=mark.marker, capsize=2,
                label="held-out rows" if name == "test" else "honest",
            )  # fmt: skip
        axes.set(
            xlabel="probability said", ylabel="share that came true", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02)
        )
        if len(parts) > 1:
            axes.legend(frameon=False, fontsize=9)
    return figure


def search(table: pd.DataFrame, title: str) -> Figure:
    """The honest score of the best candidate of each recursion that was judged on all folds, and the best so far."""
    whole = table[table["n_folds"] == table["n_folds"].max()]
    best = whole.groupby("recursion")["mean_test_score"].max().sort_index()
    with mpl.rc_context(style.RC):
        figure, axes = _figure(title)
        axes.plot(
            best.index + 1, best, _HONEST.marker, color=_HONEST.colour, markersize=5, label="of a recursion"
        )
        axes.step(
            best.index + 1, best.cummax(), where="post", color=style.INK, linewidth=1.5, label="best so far"
        )
        axes.set(xlabel="recursion", ylabel="honest score")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(frameon=False, fontsize=9, loc="lower right")
    return figure


def _rows(axes: Axes, names: list[str], most: int = 32) -> None:
    axes.set_yticks(range(len(names)), [_short(name, most) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)


def _short(name: str, most: int) -> str:
    name = name.replace("$", r"\$")  # matplotlib would set a formula
    return name if len(name) <= most else name[: most - 1] + "…"
