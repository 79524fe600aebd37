"""What can be pointed at in a figure: its curves and bars, where they are on the page, and their numbers as JSON and CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import quote

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.container import BarContainer, ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter


@dataclass(eq=False)
class Curve:
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


def shares(axes: Axes, along: Literal["x", "y"] = "y") -> bool:
    """Whether other panels have the same axis."""
    groups = axes.get_shared_x_axes() if along == "x" else axes.get_shared_y_axes()
    return len(groups.get_siblings(axes)) > 1


def curves_of(axes: Axes) -> list[Curve]:
    """What can be pointed at: bars, and lines in the coordinates of the data; if any is named, only what is named."""
    found = [curve for curve in (*_bars(axes), *_lines(axes)) if np.isfinite(curve.y.astype(float)).any()]
    named = [curve for curve in found if curve.name]
    return named or found


def _bars(axes: Axes) -> Iterator[Curve]:
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
            yield Curve(_name(container.get_label()), colour, x, y, list(container), along, labels)


def _lines(axes: Axes) -> Iterator[Curve]:
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
            yield Curve(name, to_hex(line.get_color()), x, y, [line], along, _ticks(axes.xaxis))


def _name(label: Any) -> str:
    text = str(label)
    return "" if text.startswith("_") else text


def _ticks(axis: Any) -> dict[int, str]:
    """The names of the ticks, if the axis has names instead of numbers."""
    formatter = axis.get_major_formatter()
    if not isinstance(formatter, FixedFormatter):
        return {}
    return {round(float(place)): str(name) for place, name in zip(axis.get_majorticklocs(), formatter.seq)}


def place_of(figure: Figure, axes: Axes, curves: list[Curve]) -> dict[str, Any]:
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


def panel_told(
    axes: Axes, curves: list[Curve], run: int, keys: Mapping[str, tuple[int, str]]
) -> dict[str, Any]:
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
            if shares(axes)
            else ""
        )
    return " ".join(x.split()), " ".join(y.split())


def _title(axes: Axes) -> str:
    return " ".join(filter(None, (axes.get_title(loc) for loc in ("left", "center", "right"))))


def csv_of(panels: Mapping[Axes, list[Curve]]) -> str:
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
