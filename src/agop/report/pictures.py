"""What a page shows as a figure: how it is drawn, in which words, and the same on the page."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup
from matplotlib.figure import Figure

from agop.report.live import live


@dataclass(frozen=True)
class Drawing:
    """One figure: its file name, heading, what it shows in a sentence, and in another how to read it.

    `own_size` is for pictures, whose pixels count.
    """

    stem: str
    heading: str
    meaning: str
    how: str
    make: Callable[[], Figure]
    own_size: bool = False


@dataclass(frozen=True)
class Picture:
    """A figure on a page: its anchor, its words, its drawings by layout, the numbers for the hand (`points`) and for a file (`table`)."""

    name: str
    heading: str
    meaning: str
    how: str
    layouts: tuple[Markup, ...]
    points: dict[str, Any]
    table: str


def picture(
    drawing: Drawing,
    *,
    run: int = 0,
    keys: Mapping[str, tuple[int, str]] | None = None,
    figure: Figure | None = None,
    of: str = "",
) -> Picture:
    """The figure for a page.

    Parameters
    ----------
    run, keys
        As `agop.report.live.live` takes them.
    figure
        One that was drawn already; it is used up.
    of
        Tells figures of the same name apart.
    """
    name = f"{drawing.stem}{of}"
    figure = drawing.make() if figure is None else figure
    drawn = live(figure, f"{name}-", keys, run=run, own_size=drawing.own_size)
    more = drawn.subtitle if drawn.subtitle not in drawing.meaning else ""
    meaning = "; ".join(filter(None, (drawing.meaning, more)))
    return Picture(name, drawing.heading, meaning, drawing.how, drawn.layouts, drawn.points, drawn.table)


def pictures(drawings: Iterable[Drawing], run: int = 0) -> list[Picture]:
    """The figures of a run, for a page."""
    return [picture(drawing, run=run, of=f"-{run}" if run else "") for drawing in drawings]
