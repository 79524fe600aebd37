"""Figures as data: which tables, which rows and columns of them, and in which words. `agop.report.drawing` draws them.

Titles, captions and stems are templates: `{data}` is the name of the data set, and every column that has one value only in the rows that
are drawn stands for that value (`{layer}`, `{width:g}`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from agop._checks import bad_value


@dataclass(frozen=True)
class Pick:
    """Rows by their place in a column of numbers: "first", "middle", "last" value of it, or all "before last"."""

    which: str


@dataclass(frozen=True)
class Above:
    """Rows whose value is larger."""

    value: float


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One curve, or, where the drawing has a series column, one per value of it.

    Attributes
    ----------
    y
        The column.
    name
        What stands beside the curve; behind the name of the series where there are both.
    table
        The table, if it isn't the drawing's.
    marker, line
        Whether points are marked, and joined by a line.
    named
        Whether the name is shown.
    gaps
        Whether an undefined value interrupts the line.
    floor
        Smaller values are drawn here, so that they stay on a logarithmic axis.
    """

    y: str
    name: str = ""
    table: str = ""
    marker: bool = True
    line: bool = True
    named: bool = True
    gaps: bool = True
    floor: float | None = None


@dataclass(frozen=True)
class Line:
    """A level that curves are compared with: a thin line across the figure, and words beside it.

    Attributes
    ----------
    value
        A number, or a column that has one value in the rows that are drawn, such as "log2_classes".
    label
        The words.
    axis
        Which axis the level is a value of: "y" is a horizontal line, "x" a vertical one.
    """

    value: float | str
    label: str
    axis: Literal["x", "y"] = "y"


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """One figure for each data set.

    Attributes
    ----------
    kind
        "series": named curves, means over seeds with one standard deviation around them; "stages": a measure at the three stages of a
        layer; "accuracy": by layer, on training and test points; "gram": class-sorted Gram matrices; "matrix": a grid of matrices;
        "filters" and "energy": top eigenvectors of patch matrices, and where in images their energy lies, as
        `agop.experiments.patch_pictures` writes both.
    stem
        The name of the file.
    section
        The heading of the page under which it stands; sections come in the order of the drawings.
    title, subtitle, caption
        Words in the figure and below it.
    table
        The gathered table, or, for the kinds that draw a file, the unit's table.
    curves, y
        What is drawn; `y` alone is one curve of the drawing's table, for "stages" the measure.
    x, labels, log, x_add
        The column of the horizontal axis, what stands at the two axes, which of them are logarithmic ("", "x", "y", "xy"), and what is
        added to x (1 where it counts from 0 and is logarithmic).
    lines
        Levels to compare the curves with; of "series" only.
    series
        A column (or several) with a curve for each of its values.
    names
        For series: a format such as "layer {}", or names by value, in their order; values without one aren't drawn.
    each_seed
        A curve for every seed instead of their mean.
    where
        Rows: column and value (a tuple: one of them), or `Pick`, `Above`.
    needs
        The figure is left out unless some row has these values.
    requires
        Tables without which it is left out, too.
    split
        A column: a figure for each of its values.
    file, arrays
        Of the kinds that draw no table: the unit's .npz, and rows of (array, its title); none for filters and energies: all matrices.
    data
        "each" data set has its figure, or there is one for "all" of them (with a column `data`).
    part
        The part of the study.

    Raises
    ------
    ValueError
        One sentence, for lines in another kind of figure than "series".
    """

    kind: str = "series"
    stem: str
    section: str
    title: str
    caption: str
    subtitle: str = ""
    table: str = ""
    curves: tuple[Curve, ...] = ()
    y: str = ""
    x: str = "layer"
    labels: tuple[str, str] = ("layer", "")
    log: str = "y"
    x_add: float = 0
    lines: tuple[Line, ...] = ()
    series: str | tuple[str, ...] = ()
    names: str | Mapping[Any, str] = ""
    each_seed: bool = False
    where: Mapping[str, Any] = field(default_factory=dict)
    needs: Mapping[str, Any] = field(default_factory=dict)
    requires: tuple[str, ...] = ()
    split: str = ""
    file: str = ""
    arrays: tuple[tuple[tuple[str, str], ...], ...] = ()
    data: str = "each"
    part: str = ""

    def __post_init__(self) -> None:
        """Refuse what would not be drawn."""
        if self.lines and self.kind != "series":
            raise bad_value(
                "lines", "none where the kind is not 'series'", f"{len(self.lines)} of {self.kind!r}"
            )

    @property
    def tables(self) -> tuple[str, ...]:
        """The gathered tables that it is drawn from."""
        if self.file:
            return ()
        return tuple(dict.fromkeys(curve.table or self.table for curve in self.drawn))

    @property
    def drawn(self) -> tuple[Curve, ...]:
        """Its curves."""
        return self.curves or (Curve(y=self.y),)
