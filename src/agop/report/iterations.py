"""The scores of the iterations of a machine that chooses among them, or of its stages: a figure, from the table of a run."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from agop._csv import read_csv
from agop.report import style
from agop.report.pictures import Drawing
from agop.report.record import RunRecord

ITERATIONS = "iterations.csv"
_CURVES = {
    "train_accuracy": ("training images", style.SPLITS["train"]),
    "score": ("images that choose", style.STAGES["input"]),
    "test_accuracy": ("test images", style.SPLITS["test"]),
}


def scores_of(folder: Path) -> pd.DataFrame | None:
    """The table of iterations or stages, whose first column numbers them; None if the run has none."""
    path = folder / ITERATIONS
    return read_csv(path) if path.exists() else None


def iteration_drawings(record: RunRecord) -> list[Drawing]:
    """The scores by iteration or stage, if there are two or more."""
    scores = scores_of(record.path)
    if scores is None or len(scores) < 2:
        return []
    of = str(scores.columns[0])
    meaning = f"accuracy by {of}; the ring is what predicts"
    how = "Higher is better; only the images that choose decided where the ring is."
    title = f"{record.title}: accuracy by {of}"
    return [Drawing(of + "s", f"By {of}", meaning, how, lambda: scores_by(scores, title))]


def scores_by(scores: pd.DataFrame, title: str) -> Figure:
    """Accuracies against the iteration or stage, with a ring around those of the one that predicts."""
    of = str(scores.columns[0])
    with mpl.rc_context(style.RC):
        figure = Figure(figsize=(6.4, 4.2), layout="constrained")
        figure.suptitle(title, x=0.012, ha="left", fontsize=12, fontweight="bold")
        axes = figure.subplots()
        for column, (name, mark) in _CURVES.items():
            rows = scores.dropna(subset=[column]) if column in scores else scores.iloc[:0]
            if len(rows):
                axes.plot(
                    rows[of],
                    rows[column],
                    color=mark.colour,
                    marker=mark.marker,
                    linestyle=mark.line,
                    label=name,
                    clip_on=False,
                )
                chosen = rows[rows["predicts"].astype(bool)]
                axes.plot(
                    chosen[of],
                    chosen[column],
                    "o",
                    markersize=13,
                    markerfacecolor="none",
                    markeredgecolor=mark.colour,
                )
        axes.set(xlabel=of, ylabel="accuracy")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(visible=False, axis="x")
        axes.legend(frameon=False, fontsize=9)
    return figure
