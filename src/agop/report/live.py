"""A figure on a page: drawn by matplotlib, with the numbers of its curves beside it, so that a few lines of script can say them.

Whoever draws a figure need not know of this: labelled lines and bars are what can be pointed at.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure

from agop.report import style, svg
from agop.report.curves import Curve, csv_of, curves_of, panel_told, place_of, shares

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
    panels = {axes: found for axes in figure.axes if axes.get_visible() and (found := curves_of(axes))}
    _tag(figure, panels)
    single = len([axes for axes in figure.axes if axes.get_visible()]) == 1
    layouts, places = [], []
    for number in range(1 if own_size or single else 2):
        if not own_size and (single or number):
            words = any(curve.along == "y" for found in panels.values() for curve in found)
            _narrow(figure, rows_of_words=words)
        _lay_out(figure)
        layouts.append(_svg(figure, f"{name}-{number}-", "narrow" if number else "wide"))
        places.append([place_of(figure, axes, curves) for axes, curves in panels.items()])
    if len(layouts) == 1:
        layouts[0].set("class", "layout")
    told = [panel_told(axes, found, run, keys or {}) for axes, found in panels.items()]
    points = {"panels": told, "places": places}
    return Live(tuple(Markup(svg.markup(one)) for one in layouts), points, csv_of(panels), subtitle)


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
        left = number % columns == 0 or not shares(axes)
        bottom = number + columns >= len(grid) or not shares(axes, "x")
        axes.tick_params(labelleft=left, labelbottom=bottom)
    figure.set_size_inches(NARROW, panel * rows + 0.6)
    return panel


def _svg(figure: Figure, prefix: str, kind: str) -> Any:
    root = svg.inline(figure, prefix)
    root.set("class", f"layout {kind}")
    root.set("style", f"max-width: {1.35 * figure.get_size_inches()[0] * 72 / 16:.1f}rem")
    root.set("aria-hidden", "true")
    return root


def _tag(figure: Figure, panels: Mapping[Axes, list[Curve]]) -> None:
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


__all__ = ["NARROW", "Live", "live"]
