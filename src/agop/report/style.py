"""How stages and runs look, in every figure and on the page: one palette, readable with any colour vision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.colors import ListedColormap

INK, MUTED, GRID, PAPER = "#1a1a1a", "#595959", "#dcdcdc", "#ffffff"


@dataclass(frozen=True)
class Mark:
    """One series: a colour (Okabe and Ito's hues, darkened to 4.5:1 on white) and a shape that doubles it."""

    colour: str
    marker: str  # matplotlib
    symbol: str  # plotly
    dash: str  # plotly
    line: Any  # matplotlib


STAGES = {
    "input": Mark("#0067a5", "o", "circle", "solid", "-"),
    "projected": Mark("#b84a00", "s", "square", "solid", "-"),
    "output": Mark("#007a5a", "^", "triangle-up", "solid", "-"),
}
"""The three stages of a layer."""

SPLITS = {
    "train": Mark("#595959", "o", "circle", "dot", ":"),
    "test": Mark("#8f3f71", "D", "diamond", "solid", "-"),
}
"""Accuracy on training and test points."""

RUN_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
"""How runs differ when several share a chart: stages keep their colours."""

MEASURES = {"nc1": "NC1", "nc2": "NC2", "nc3": "NC3", "nc4": "NC4", "nc5": "NC5", "nfa": "NFA"} | {
    "trace_within_share": "tr Σ_W / tr Σ_T",
    "trace_between_share": "tr Σ_B / tr Σ_T",
}
"""Measures by column name."""

MEANINGS = {
    "nc1": "spread within classes over spread between classes; 0 is full collapse",
    "nc2": "distance of the class means from a simplex ETF; 0 is an exact one",
    "trace_within_share": "share of the variance that is within classes; 0 is full collapse",
    "trace_between_share": "share of the variance that is between classes; 1 is full collapse",
    "nfa": "correlation of the layer's feature matrix with its AGOP; 1 is perfect",
}
"""What a measure says, in a few words."""

RC: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 14,
    "axes.labelsize": 10,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "text.color": INK,
    "lines.linewidth": 2,
    "lines.markersize": 6,
    "figure.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "svg.fonttype": "none",
    "svg.hashsalt": "agop",
    "pdf.fonttype": 42,
}
"""matplotlib settings; used within a context, never set globally."""


def gram_colours() -> ListedColormap:
    """Blue for -1, white for 0, red for 1, in few enough steps that the images stay small."""
    return ListedColormap(mpl.colormaps["RdBu_r"](np.linspace(0, 1, 41)))


def measure_name(column: str) -> str:
    """The name of a measure as a reader knows it."""
    return MEASURES.get(column, column)
