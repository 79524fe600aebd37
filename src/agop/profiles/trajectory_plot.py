"""The figure of a trajectory: a measure by step with a line a layer, or by layer with a line a step."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from agop import _checks
from agop._files import atomic
from agop._plotting import COLUMN, PAGE, STYLES, keeping_text, styled
from agop.profiles.plot import scaled_axis
from agop.view import STAGES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MARKERS = "os^DvPX*"
_FORMATS = (".svg", ".pdf", ".png")
_MOST_LINES = 8
"""Lines that get an entry in the legend and a marker of their own; more are told by a colour bar."""


def plot_trajectory(
    trajectory: Any,
    measure: str | None = None,
    *,
    stage: str | None = None,
    against: str = "step",
    style: str = "screen",
    width: float | None = None,
    path: str | Path | None = None,
) -> Axes:
    """One measure of a `Trajectory`; returns the axes of the first panel, the others are `.figure.axes`.

    Parameters
    ----------
    measure
        Default: the first.
    stage
        One stage; None: a panel for each that has numbers.
    against
        "step": a line a layer; "layer": a line a step.
    style
        "screen", or "paper": a column of a paper, small letters.
    width
        In inches, if it shall be another than 6.4, or 3.3 in a paper; below 5 the letters are those of a paper.
    path
        Also write it, atomically: .svg, .pdf (text stays text) or .png.

    Raises
    ------
    ValueError
        If nothing was recorded, or the measure, the stage, the style or the ending of the file is none.
    """
    import matplotlib.pyplot as plt

    _checks.one_of("against", against, ("step", "layer"))
    _checks.one_of("style", style, STYLES)
    width = (COLUMN if style == "paper" else PAGE) if width is None else _checks.real("width", width, above=1)
    rows = _rows(trajectory, measure, stage)
    name = str(rows["measure"].iloc[0])
    panels = [word for word in dict.fromkeys([*STAGES, *rows["stage"]]) if (rows["stage"] == word).any()]
    small = width < 5
    with styled("paper" if small else style):
        height = max(1.6, 0.62 * width / len(panels) if len(panels) > 1 else 0.62 * width)
        figure, axes = plt.subplots(
            1, len(panels), figsize=(width, height), sharey=True, squeeze=False, layout="constrained"
        )
        for ax, panel in zip(axes[0], panels, strict=True):
            _panel(ax, rows[rows["stage"] == panel], against, panel)
        look = trajectory.look(name)
        scaled_axis(axes[0, 0], look, rows["value"].to_numpy(float))
        _legend(figure, axes[0, -1], rows, against, small)
        if path is not None:
            _write(figure, Path(path))
    keeping_text(figure)
    first: Axes = axes[0, 0]
    return first


def _rows(trajectory: Any, measure: str | None, stage: str | None) -> pd.DataFrame:
    if not len(trajectory):
        raise _checks.bad_value("trajectory", "at least one step", "none", "record one")
    frame = trajectory.to_frame()
    frame = frame[frame["x"].isna() & frame["value"].notna()]
    name = measure if measure is not None else next(iter(frame["measure"]), None)
    _checks.one_of("measure", name, list(dict.fromkeys(frame["measure"])))
    rows = frame[frame["measure"] == name]
    if stage is not None:
        rows = rows[rows["stage"] == _checks.one_of("stage", stage, list(dict.fromkeys(rows["stage"])))]
    return rows


def _lines(rows: pd.DataFrame, against: str) -> list[tuple[Any, str]]:
    """What each line is of, and what it is called."""
    if against == "layer":
        return [(step, f"step {step:g}") for step in sorted(set(rows["step"]))]
    names = rows.drop_duplicates("layer").sort_values("layer")
    return [
        (layer, f"{layer} {name}" if layer else "model")
        for layer, name in zip(names["layer"], names["name"], strict=True)
    ]


def _colours(count: int) -> np.ndarray:
    """From dark to light, so that order is seen and printing in grey keeps it."""
    import matplotlib as mpl

    return mpl.colormaps["viridis"](np.linspace(0, 0.85, max(count, 1)))


def _panel(ax: Axes, rows: pd.DataFrame, against: str, title: str) -> None:
    of, along = ("layer", "step") if against == "step" else ("step", "layer")
    lines = _lines(rows, against)
    for number, ((key, label), colour) in enumerate(zip(lines, _colours(len(lines)), strict=True)):
        line = rows[rows[of] == key].sort_values(along)
        marker = _MARKERS[number] if len(lines) <= _MOST_LINES else None
        if len(line) == 1 and marker is None:
            marker = "."
        ax.plot(
            line[along],
            line["value"],
            color=colour,
            marker=marker,
            markersize=3.5,
            linewidth=1.2,
            label=label,
        )
    ax.set_xlabel(along)
    if title:
        ax.set_title(title, fontsize="medium")
    ax.spines[["top", "right"]].set_visible(False)


def _legend(figure: Figure, ax: Axes, rows: pd.DataFrame, against: str, small: bool) -> None:
    import matplotlib as mpl

    lines = _lines(rows, against)
    if len(lines) <= _MOST_LINES:
        figure.legend(
            *ax.get_legend_handles_labels(), loc="outside right upper", frameon=False, fontsize="small"
        )
        return
    colours = mpl.colors.ListedColormap(_colours(256))
    first, last = float(lines[0][0]), float(lines[-1][0])
    shades = mpl.cm.ScalarMappable(mpl.colors.Normalize(first, last), colours)
    figure.colorbar(
        shades,
        ax=figure.axes,
        label="layer" if against == "step" else "step",
        pad=0.01,
        aspect=18 if small else 25,
    )


def _write(figure: Figure, path: Path) -> None:
    if path.suffix.lower() not in _FORMATS:
        raise _checks.bad_value(
            "path", f"a file {', '.join(_FORMATS)}", repr(str(path)), "choose one of these endings"
        )
    if not path.parent.is_dir():
        raise _checks.bad_value(
            "path", "a file in an existing folder", repr(str(path)), "create the folder first"
        )
    undated: dict[str, dict[str, Any]] = {
        ".png": {"Software": None},
        ".svg": {"Date": None},
        ".pdf": {"CreationDate": None},
    }
    drawn = io.BytesIO()  # on a full disk matplotlib's writers fail with errors of their own
    figure.savefig(drawn, format=path.suffix[1:].lower(), dpi=300, metadata=undated[path.suffix.lower()])
    with atomic(path) as partial:
        partial.write_bytes(drawn.getbuffer())
