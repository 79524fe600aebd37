"""How stages and runs look, in every figure and on the page: one palette, readable with any colour vision."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.colors import ListedColormap

from agop.profiles.shown import Shown

INK, MUTED, GRID, PAPER = "#1a1a1a", "#595959", "#dcdcdc", "#ffffff"


@dataclass(frozen=True)
class Mark:
    """One series: a colour (Okabe and Ito's hues, darkened to 4.5:1 on white) and a shape that doubles it."""

    colour: str
    marker: str  # matplotlib
    symbol: str  # the same shape on the page
    line: Any  # matplotlib


STAGES = {
    "input": Mark("#0067a5", "o", "circle", "-"),
    "projected": Mark("#b84a00", "s", "square", "-"),
    "output": Mark("#007a5a", "^", "triangle-up", "-"),
}
"""The three stages of a layer."""

_FURTHER = (
    Mark("#8a6d00", "D", "diamond", "-"),
    Mark("#6a3d9a", "v", "triangle-down", "-"),
    Mark("#a3223c", "P", "cross", "-"),
    Mark("#00677f", "X", "x", "-"),
    Mark("#4d5a00", "p", "pentagon", "-"),
)
"""Stages of other names, in the order in which they come."""

LAYER = Mark(INK, "D", "diamond", "-")
"""What a layer has one value of."""

GOAL = "#8a8a8a"
"""The thin line where collapse lies."""

SPLITS = {
    "train": Mark("#595959", "o", "circle", ":"),
    "test": Mark("#8f3f71", "D", "diamond", "-"),
}
"""Accuracy on training and test points."""

RUNS = ("#0067a5", "#b84a00", "#007a5a", "#8f3f71", "#8a6d00", "#1a1a1a", "#6a3d9a")
"""The colours of runs that share a page, whatever is drawn of them; series of one run differ by shape and line."""

LINES = ("-", "--", ":", "-.")
"""The lines of the series of a run where the colour says which run."""

RC: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 14,
    "axes.labelsize": 10,
    "axes.labelpad": 6,
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


def stages(names: Iterable[str]) -> dict[str, Mark]:
    """The looks of these stages: the three of a layer first, then the others, each with a mark of its own while there are any.

    >>> list(stages(["gate", "output", "input"]))
    ['input', 'output', 'gate']
    """
    present = dict.fromkeys(names)
    others = [name for name in present if name not in STAGES]
    known = {name: mark for name, mark in STAGES.items() if name in present}
    return known | {name: _FURTHER[index % len(_FURTHER)] for index, name in enumerate(others)}


def run_colour(index: int) -> str:
    """The colour of the run with this number on a page of several."""
    return RUNS[index % len(RUNS)]


def of(name: str) -> str:
    """The gid of what belongs to a curve of this name: the band around it, the word at its end."""
    return f"of:{name}"


def axis_title(look: Shown) -> str:
    """What an axis says: the short heading of a measure, or its label with an arrow to where collapse lies."""
    return look.heading if look.short or not look.arrow else f"{look.label}, {look.arrow}"


def reading(look: Shown) -> str:
    """How to read a measure, in half a sentence.

    >>> reading(Shown("m", towards="lower")), reading(Shown("m", towards=1.0)), reading(Shown("m"))
    ('lower is more collapsed', 'the dotted line at 1 is collapse', 'higher is more of it')
    """
    if look.goal is not None:
        return f"the dotted line at {look.goal:g} is collapse"
    return {"lower": "lower is more collapsed", "higher": "higher is more collapsed"}.get(
        str(look.towards), "higher is more of it"
    )


def file_stem(name: str) -> str:
    """A measure's name as the name of a file or an anchor.

    >>> file_stem("nc1"), file_stem("a/b c")
    ('nc1', 'a-b-c')
    """
    return re.sub(r"[^\w.]+", "-", name)
