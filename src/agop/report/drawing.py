"""Draws the figures that studies describe (`agop.experiments.drawing`) from their gathered tables and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from agop._checks import bad_value, one_of
from agop.experiments.drawing import Above, Curve, Drawing, Line, Pick
from agop.report import figures, style
from agop.report.array_drawing import energy, filters, gram, matrix
from agop.report.series import mark, series_figure

Tables = Mapping[str, pd.DataFrame]
"""Gathered tables of one data set, by name."""

Arrays = Callable[[str, str], Mapping[str, np.ndarray]]
"""From a table of units and a file: the arrays of the first unit; none, if there are none."""


@dataclass(frozen=True)
class Plate:
    """A figure that was drawn: file stem, section of the page, heading, what it shows and how to read it, the tables it came from."""

    stem: str
    section: str
    heading: str
    caption: str
    how: str
    tables: tuple[str, ...]
    figure: Figure
    own_size: bool = False


def plates(drawing: Drawing, tables: Tables, arrays: Arrays, data: str) -> Iterator[Plate]:
    """The figures of a drawing that the tables of one data set allow: none, one, or one for each value it is split by.

    Raises
    ------
    ValueError
        One sentence, for a kind of drawing or a column that there isn't, or words about a column that has several values.
    """
    if drawing.file:
        draw = _ARRAYS[one_of("kind of drawing", drawing.kind, _ARRAYS)]
        found = arrays(drawing.table, drawing.file)
        if found:
            words = _Words(drawing, data, [])
            yield Plate(
                words("stem"), drawing.section, words("title"), words("caption"), _HOW[drawing.kind], (), draw(drawing, found, words),
                own_size=True,
            )  # fmt: skip
        return
    draw_frame = _FRAMES[one_of("kind of drawing", drawing.kind, _FRAMES)]
    if any(name not in tables for name in drawing.requires):
        return
    for one, own in _split(drawing, tables):
        rows = {name: _chosen(one, own[name]) for name in one.tables if name in own}
        if not any(len(table) for table in rows.values()) or not _has_needed(one, rows):
            continue
        words = _Words(one, data, list(rows.values()))
        yield Plate(
            words("stem"), one.section, words("title"), words("caption"), _how(one), tuple(rows), draw_frame(one, rows, words)
        )  # fmt: skip


def _split(drawing: Drawing, tables: Tables) -> Iterator[tuple[Drawing, Tables]]:
    if not drawing.split:
        yield drawing, tables
    elif drawing.table in tables:
        column = _column(drawing, tables[drawing.table], drawing.split)
        for value in dict.fromkeys(column):
            yield replace(drawing, where={drawing.split: value, **drawing.where}), tables


def _has_needed(drawing: Drawing, rows: Tables) -> bool:
    if not drawing.needs:
        return True
    wanted = replace(drawing, where=drawing.needs)
    return any(len(_chosen(wanted, table)) > 0 for table in rows.values())


def _chosen(drawing: Drawing, table: pd.DataFrame) -> pd.DataFrame:
    """The rows of a table that the drawing asks for."""
    for column, wanted in drawing.where.items():
        table = table[_matching(_column(drawing, table, column), wanted)]
    return table


def _matching(values: pd.Series, wanted: Any) -> pd.Series:
    if isinstance(wanted, Above):
        return values > wanted.value
    if isinstance(wanted, Pick):
        one_of("pick", wanted.which, ("first", "middle", "last", "before last"))
        if wanted.which == "before last":
            return values < values.max()
        place = {"first": values.min(), "last": values.max(), "middle": (values.max() + 1) // 2}
        return values == place[wanted.which]
    return values.isin(wanted) if isinstance(wanted, tuple) else values == wanted


def _column(drawing: Drawing, table: pd.DataFrame, column: str) -> pd.Series:
    if column not in table:
        there = ", ".join(map(str, table.columns))
        raise bad_value(f"drawing {drawing.stem!r}", f"a column of its table ({there})", repr(column))
    return table[column]


class _Words:
    """The words of a drawing, with the data set and every column that has one value in the rows that are drawn."""

    def __init__(self, drawing: Drawing, data: str, tables: Sequence[pd.DataFrame]) -> None:
        self._drawing = drawing
        self._known: dict[str, Any] = {}
        for table in tables:
            for column in table:
                if table[column].nunique(dropna=False) == 1:
                    self._known.setdefault(str(column), table[column].iloc[0])
        self._known["data"] = data

    def level(self, line: Line) -> Line:
        """A line with the number of its column."""
        if not isinstance(line.value, str):
            return line
        if line.value not in self._known:
            expected = "a number, or a column with one value"
            raise bad_value(f"lines of drawing {self._drawing.stem!r}", expected, repr(line.value))
        return replace(line, value=float(self._known[line.value]))

    def __call__(self, part: str) -> str:
        try:
            return str(getattr(self._drawing, part)).format_map(self._known)
        except (KeyError, ValueError, IndexError) as error:
            expected = "words about {data} or a column with one value"
            got = f"{getattr(self._drawing, part)!r} ({' '.join(str(error).split())})"
            raise bad_value(f"{part} of drawing {self._drawing.stem!r}", expected, got) from None


def _stages(drawing: Drawing, rows: Tables, words: _Words) -> Figure:
    table = rows[drawing.table]
    _column(drawing, table, drawing.y)
    return figures.stage_curves(table, drawing.y, title=words("title"))


def _accuracy(drawing: Drawing, rows: Tables, words: _Words) -> Figure:
    return figures.accuracy_curves(rows[drawing.table], title=words("title"), subtitle=words("subtitle"))


@dataclass
class _Series:
    """The curves of a figure: their rows one below the other, their looks, and which of them go without a name."""

    rows: list[pd.DataFrame]
    marks: dict[str, style.Mark]
    unnamed: list[str]

    def add(self, name: str, rows: pd.DataFrame, look: style.Mark, *, named: bool) -> None:
        while name in self.marks:
            name += " "  # blanks tell curves of one name apart and do not show
        self.rows.append(rows.assign(series_=name))
        self.marks[name] = look
        if not named:
            self.unnamed.append(name)


def _series(drawing: Drawing, rows: Tables, words: _Words) -> Figure:
    found = _Series([], {}, [])
    for place, (value, curve, own) in enumerate(_curves(drawing, rows)):
        _add(found, drawing, value, curve, own, place)
    return series_figure(
        pd.concat(found.rows), "x_", "y_", "series_", title=words("title"), subtitle=words("subtitle"),
        labels=drawing.labels, log=drawing.log, names=list(found.marks), marks=found.marks, unnamed=found.unnamed,
        lines=[words.level(line) for line in drawing.lines],
    )  # fmt: skip


@dataclass(frozen=True)
class _Value:
    """A value of the series column: its words, its place among the others, and whether it is the first seed's."""

    words: str
    place: int
    look: style.Mark | None = None
    first: bool = True


def _curves(drawing: Drawing, rows: Tables) -> Iterator[tuple[_Value | None, Curve, pd.DataFrame]]:
    """Every curve with its rows: by value of the series column, then by curve."""
    own = {
        place: (curve, rows[curve.table or drawing.table])
        for place, curve in enumerate(drawing.drawn)
        if (curve.table or drawing.table) in rows and curve.y in rows[curve.table or drawing.table]
    }
    if not own:
        columns = ", ".join(sorted({curve.y for curve in drawing.drawn}))
        raise bad_value(f"drawing {drawing.stem!r}", "columns of its tables", columns)
    if not drawing.series:
        yield from ((None, curve, table) for curve, table in own.values())
        return
    for value, mask in _values(drawing, rows[drawing.table]):
        yield from ((value, curve, table[mask]) for curve, table in own.values())


def _values(drawing: Drawing, table: pd.DataFrame) -> Iterator[tuple[_Value, pd.Series]]:
    """The values of the series column (of each seed), in the order in which they are drawn, and their rows."""
    columns = [drawing.series] if isinstance(drawing.series, str) else list(drawing.series)
    for column in columns:
        _column(drawing, table, column)
    keys = pd.Series(list(table[columns].itertuples(index=False, name=None)), index=table.index)
    order = list(dict.fromkeys(keys))
    if isinstance(drawing.names, Mapping):
        order = [(value,) for value in drawing.names if (value,) in order]
    elif columns == ["stage"]:
        order = [(stage,) for stage in style.stages(value for (value,) in order)]
    looks = style.stages(value for (value,) in order) if columns == ["stage"] else {}
    seen: set[Any] = set()
    for key, seed in _keys(order, keys, table["seed"] if drawing.each_seed else None):
        mask = (keys == key) if seed is None else (keys == key) & (table["seed"] == seed)
        yield _Value(_name(drawing, key), order.index(key), looks.get(key[0]), key not in seen), mask
        seen.add(key)


def _keys(
    order: Sequence[tuple[Any, ...]], keys: pd.Series, seeds: pd.Series | None
) -> Iterator[tuple[tuple[Any, ...], Any]]:
    if seeds is None:
        yield from ((key, None) for key in order)
    else:
        yield from (pair for pair in dict.fromkeys(zip(keys, seeds, strict=True)) if pair[0] in order)


def _name(drawing: Drawing, key: tuple[Any, ...]) -> str:
    if isinstance(drawing.names, Mapping):
        return drawing.names[key[0]]
    return drawing.names.format(*key) if drawing.names else ", ".join(map(str, key))


def _add(
    found: _Series, drawing: Drawing, value: _Value | None, curve: Curve, rows: pd.DataFrame, place: int
) -> None:
    shown = rows.assign(x_=_column(drawing, rows, drawing.x) + drawing.x_add, y_=rows[curve.y])
    if curve.floor is not None:
        shown["y_"] = shown["y_"].clip(lower=curve.floor)
    if not curve.gaps:
        shown = shown.dropna(subset="y_")
    words = [value.words] if value is not None else []
    name = ", ".join([*words, curve.name] if curve.name or not words else words) or curve.y
    colour = place if value is None else value.place
    look = (
        mark(colour, marker=curve.marker, line=curve.line)
        if value is None or value.look is None
        else value.look
    )
    found.add(name, shown, look, named=curve.named and (value is None or value.first))


_HOW = {
    "series": "A curve is the mean over seeds, the band around it one standard deviation",
    "stages": "A curve is a stage, the band around it one standard deviation over seeds.",
    "accuracy": "Higher is better; test below training is overfitting.",
    "gram": "A row is a stage, a column a layer; collapsed classes are red squares on blue.",
    "matrix": "Red is 1, white 0, blue −1; matrices that look alike say the same of pairs of points.",
    "filters": "The first filter is what a patch is most looked at through.",
    "energy": "Where a map is bright, a change of the pixel changes the prediction most.",
}
"""How each kind of drawing is read."""


def _how(drawing: Drawing) -> str:
    if drawing.kind != "series":
        return _HOW[drawing.kind]
    words = "A curve is a seed" if drawing.each_seed else _HOW["series"]
    axes = {"": "", "x": "; the horizontal axis is logarithmic", "y": "; the vertical axis is logarithmic"}
    return f"{words}{axes.get(drawing.log, '; both axes are logarithmic')}."


_FRAMES: dict[str, Callable[[Drawing, Tables, _Words], Figure]] = {
    "series": _series,
    "stages": _stages,
    "accuracy": _accuracy,
}
_ARRAYS: dict[str, Callable[[Drawing, Mapping[str, np.ndarray], _Words], Figure]] = {
    "gram": gram,
    "matrix": matrix,
    "filters": filters,
    "energy": energy,
}
