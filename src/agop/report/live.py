"""A figure on a page: drawn by matplotlib, with the numbers of its curves beside it, so that a few lines of script can say them.

Whoever draws a figure need not know of this: labelled lines and bars are what can be pointed at.
"""

from __future__ import annotations

import csv
import io
import math
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import quote

import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import to_hex
from matplotlib.container import BarContainer, ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter

from agop.report import style, svg

NARROW = 4.6
"""Inches: as wide as a telephone shows a figure with letters that can be read."""

_PANEL = 1.9


@dataclass(frozen=True)
class Live:
    """A figure as a page holds it.

    Attributes
    ----------
    layouts
        Its drawing; a second one for narrow screens if it has several panels.
    points
        What can be pointed at, by panel, and where, by layout and panel: see `report/templates/figure.js`.
    table
        The numbers as CSV, in a data URI.
    subtitle
        What stood above the single panel.
    """

    layouts: tuple[Markup, ...]
    points: dict[str, Any]
    table: str
    subtitle: str


@dataclass(eq=False)
class _Curve:
    """Numbers of a figure that have a name, the artists that draw them, and whether they are joined, bars or scattered."""

    name: str
    colour: str
    x: np.ndarray
    y: np.ndarray
    artists: list[Any]
    along: str = "x"
    labels: Mapping[int, str] = field(default_factory=dict)

    def told(self) -> list[Any]:
        """Where along the axis: numbers, or the names of its ticks."""
        along = self.y if self.along == "y" else self.x
        return [self.labels.get(round(value), value) if self.labels else value for value in along.tolist()]


def live(
    figure: Figure,
    name: str,
    keys: Mapping[str, tuple[int, str]] | None = None,
    *,
    run: int = 0,
    own_size: bool = False,
) -> Live:
    """The figure for a page, without its heading, which the page has.

    Parameters
    ----------
    figure
        It is used up: sizes, headings and ids are changed.
    name
        Its name on the page, a prefix of its ids.
    keys
        By the name of a curve the number of its run and its series, where they are not `run` and the name.
    own_size
        Keep its size, whatever the screen: for pictures, whose pixels count.
    """
    subtitle = _without_headings(figure)
    panels = {axes: found for axes in figure.axes if axes.get_visible() and (found := _curves(axes))}
    _tag(figure, panels)
    single = len([axes for axes in figure.axes if axes.get_visible()]) == 1
    layouts, places = [], []
    for number in range(1 if own_size or single else 2):
        if not own_size and (single or number):
            words = any(curve.along == "y" for found in panels.values() for curve in found)
            _narrow(figure, rows_of_words=words)
        _lay_out(figure)
        layouts.append(_svg(figure, f"{name}-{number}-", "narrow" if number else "wide"))
        places.append([_place(figure, axes, curves) for axes, curves in panels.items()])
    if len(layouts) == 1:
        layouts[0].set("class", "layout")
    told = [_told(axes, found, run, keys or {}) for axes, found in panels.items()]
    points = {"panels": told, "places": places}
    return Live(tuple(Markup(svg.markup(one)) for one in layouts), points, _table(panels), subtitle)


def _without_headings(figure: Figure) -> str:
    """Take away what the page says in words of its own; the words above a single panel are returned."""
    figure.suptitle("")
    shown = [axes for axes in figure.axes if axes.get_visible()]
    if len(shown) != 1:
        return ""
    said = [shown[0].get_title(loc) for loc in ("left", "center", "right")]
    for loc in ("left", "center", "right"):
        shown[0].set_title("", loc=loc)
    return " ".join(filter(None, said))


def _lay_out(figure: Figure) -> None:
    """Fix every place, in the points that SVG counts in; it is the same whether the figure was laid out before or not."""
    for axes in figure.axes:
        spec = axes.get_subplotspec()
        if spec is not None:
            axes.set_subplotspec(spec)
    with mpl.rc_context(style.RC):
        figure.set_dpi(72)
        figure.set_layout_engine("constrained")
        figure.draw_without_rendering()
        figure.set_layout_engine("none")


def _narrow(figure: Figure, *, rows_of_words: bool) -> None:
    """Make it as wide as a small screen; panels stand below each other, or in two columns if they are many."""
    grid = [axes for axes in figure.axes if axes.get_visible() and axes.get_subplotspec() is not None]
    width, height = figure.get_size_inches()
    if len(grid) < 2:
        panel = height * (0.8 if width > NARROW else 1.0)
        figure.set_size_inches(min(width, NARROW), panel)
    else:
        layout = grid[0].get_gridspec()
        panel = height / (layout.nrows if layout else 1) * (0.8 if rows_of_words else 0.55)
        panel = _in_columns(figure, grid, max(_PANEL, panel), 2 if len(grid) > 3 else 1)
    for axes in grid:
        axes.set_ylabel(textwrap.fill(axes.get_ylabel(), max(12, int(panel * 10))))


def _in_columns(figure: Figure, grid: list[Axes], panel: float, columns: int) -> float:
    """Put the panels into so many columns; returns their height."""
    rows = -(-len(grid) // columns)
    places = figure.add_gridspec(rows, columns)
    for number, axes in enumerate(grid):
        axes.set_subplotspec(places[number // columns, number % columns])
        left = number % columns == 0 or not _shared(axes)
        bottom = number + columns >= len(grid) or not _shared(axes, "x")
        axes.tick_params(labelleft=left, labelbottom=bottom)
    figure.set_size_inches(NARROW, panel * rows + 0.6)
    return panel


def _shared(axes: Axes, along: Literal["x", "y"] = "y") -> bool:
    groups = axes.get_shared_x_axes() if along == "x" else axes.get_shared_y_axes()
    return len(groups.get_siblings(axes)) > 1


def _svg(figure: Figure, prefix: str, kind: str) -> Any:
    root = svg.inline(figure, prefix)
    root.set("class", f"layout {kind}")
    root.set("style", f"max-width: {1.35 * figure.get_size_inches()[0] * 72 / 16:.1f}rem")
    root.set("aria-hidden", "true")
    return root


def _tag(figure: Figure, panels: Mapping[Axes, list[_Curve]]) -> None:
    """Number the curves, with what goes with them (bands, names beside their ends), and mark what stays as it is in the dark."""
    number = 0
    for axes, curves in panels.items():
        for curve in curves:
            beside = [
                artist
                for artist in (*axes.texts, *axes.collections)
                if artist.get_gid() == f"of:{curve.name}"
            ]
            for artist in (*curve.artists, *beside):
                artist.set_gid(f"curve-{number}")
            number += 1
    for axes in figure.axes:
        raw = [artist for artist in axes.collections if isinstance(artist, QuadMesh)]
        for artist in (*raw, *(axes.texts if axes.images else ())):
            artist.set_gid(svg.RAW)


def _curves(axes: Axes) -> list[_Curve]:
    """What can be pointed at: bars, and lines in the coordinates of the data; if any is named, only what is named."""
    found = [curve for curve in (*_bars(axes), *_lines(axes)) if np.isfinite(curve.y.astype(float)).any()]
    named = [curve for curve in found if curve.name]
    return named or found


def _bars(axes: Axes) -> Iterator[_Curve]:
    for container in axes.containers:
        if isinstance(container, BarContainer) and len(container):
            along = "y" if container.orientation == "horizontal" else "x"
            boxes = [patch.get_bbox() for patch in container]
            # bars beside each other at one place belong to it
            middle = np.round(
                [(box.y0 + box.y1) / 2 if along == "y" else (box.x0 + box.x1) / 2 for box in boxes]
            )
            ends = np.array(
                [patch.get_width() if along == "y" else patch.get_height() for patch in container]
            )
            x, y = (ends, middle) if along == "y" else (middle, ends)
            colour = to_hex(container[0].get_facecolor())
            labels = _ticks(axes.yaxis if along == "y" else axes.xaxis)
            yield _Curve(_name(container.get_label()), colour, x, y, list(container), along, labels)


def _lines(axes: Axes) -> Iterator[_Curve]:
    names = {
        id(container[0]): container.get_label()
        for container in axes.containers
        if isinstance(container, ErrorbarContainer)
    }
    for line in axes.lines:
        if line.get_transform() is axes.transData or line.get_transform() == axes.transData:
            x, y = (np.asarray(values, dtype=float) for values in line.get_data(orig=False))
            name = _name(names.get(id(line), line.get_label()))
            along = "point" if line.get_linestyle() == "None" else "x"
            yield _Curve(name, to_hex(line.get_color()), x, y, [line], along, _ticks(axes.xaxis))


def _name(label: Any) -> str:
    text = str(label)
    return "" if text.startswith("_") else text


def _ticks(axis: Any) -> dict[int, str]:
    """The names of the ticks, if the axis has names instead of numbers."""
    formatter = axis.get_major_formatter()
    if not isinstance(formatter, FixedFormatter):
        return {}
    return {round(float(place)): str(name) for place, name in zip(axis.get_majorticklocs(), formatter.seq)}


def _place(figure: Figure, axes: Axes, curves: list[_Curve]) -> dict[str, Any]:
    """Where a panel and its points are, in the coordinates of the SVG."""
    height = float(figure.bbox.height)
    box = axes.get_window_extent()

    def shown(values: np.ndarray) -> list[float | None]:
        return [round(float(value), 1) if math.isfinite(value) else None for value in values]

    points = [axes.transData.transform(np.column_stack([curve.x, curve.y])) for curve in curves]
    return {
        "box": shown(np.array([box.x0, height - box.y1, box.x1, height - box.y0])),
        "x": [shown(places[:, 0]) for places in points],
        "y": [shown(height - places[:, 1]) for places in points],
    }


def _told(axes: Axes, curves: list[_Curve], run: int, keys: Mapping[str, tuple[int, str]]) -> dict[str, Any]:
    """What a panel says: its heading, its axes, and the numbers of its curves."""
    along, across = _words(axes)
    if curves[0].along == "y":
        along, across = across, along
    return {
        "title": _title(axes),
        "words": [along, across],
        "along": curves[0].along,
        "curves": [
            {
                "name": curve.name.strip(),
                "run": keys.get(curve.name, (run, ""))[0],
                "series": keys.get(curve.name, (run, curve.name))[1],
                "colour": curve.colour[1:],
                "at": [_number(value) for value in curve.told()],
                "value": [_number(value) for value in (curve.x if curve.along == "y" else curve.y).tolist()],
            }
            for curve in curves
        ],
    }


def _number(value: Any) -> Any:
    """A number with six digits, as JSON knows them."""
    if not isinstance(value, float):
        return value
    return float(f"{value:.6g}") if math.isfinite(value) else None


def _words(axes: Axes) -> tuple[str, str]:
    figure = axes.figure
    x = axes.get_xlabel() or (figure.get_supxlabel() if isinstance(figure, Figure) else "")
    y = axes.get_ylabel() or (figure.get_supylabel() if isinstance(figure, Figure) else "")
    if not y:  # panels that share an axis are told once what it is
        y = (
            next((other.get_ylabel() for other in figure.axes if other.get_ylabel()), "")
            if _shared(axes)
            else ""
        )
    return " ".join(x.split()), " ".join(y.split())


def _title(axes: Axes) -> str:
    return " ".join(filter(None, (axes.get_title(loc) for loc in ("left", "center", "right"))))


def _table(panels: Mapping[Axes, list[_Curve]]) -> str:
    """Every point as a row: panel and series, where there are several, and the values at the axes."""
    if not panels:
        return ""
    titled, named = len(panels) > 1, any(curve.name for curves in panels.values() for curve in curves)
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    x, y = _words(next(iter(panels)))
    writer.writerow([*(["panel"] if titled else []), *(["series"] if named else []), x or "x", y or "y"])
    for axes, curves in panels.items():
        for curve in curves:
            own = curve.told()
            xs, ys = (curve.x.tolist(), own) if curve.along == "y" else (own, curve.y.tolist())
            for pair in zip(xs, ys, strict=True):
                head = [*([_title(axes)] if titled else []), *([curve.name.strip()] if named else [])]
                writer.writerow([*head, *(_plain(value) for value in pair)])
    return "data:text/csv;charset=utf-8," + quote(stream.getvalue(), safe=",.-:()")


def _plain(value: Any) -> Any:
    """Whole numbers without their point; nothing where there is no value."""
    if not isinstance(value, float):
        return value
    if not math.isfinite(value):
        return ""
    return int(value) if value.is_integer() and abs(value) < 1e15 else repr(value)


__all__ = ["NARROW", "Live", "live"]
