"""Objects of the package as tables of a notebook: compact, in the reader's light or dark scheme, every column within reach."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape


@dataclass(frozen=True)
class Cell:
    """What a cell says, what it says when the pointer rests on it, and how deep its ground is, from 0 to 1."""

    text: str
    title: str = ""
    shade: float | None = None


UNDEFINED = "–"
_DEEPEST = 0.4
"""Opacity of the deepest ground: text in the reader's own colour keeps its contrast on it, in light and in dark."""

_STYLE = (
    "<style>.agop-table{overflow-x:auto;max-width:100%}.agop-table table{border-collapse:collapse;font-variant-numeric:tabular-nums}"
    ".agop-table th,.agop-table td{padding:.2em .6em;text-align:right;white-space:nowrap;border-bottom:1px solid rgba(128,128,128,.35);"
    "color:inherit;background-color:transparent}.agop-table th{font-weight:600;vertical-align:bottom}.agop-table .word{text-align:left}"
    ".agop-table td[title]{text-decoration:underline dotted;cursor:help}.agop-table p{margin:.3em 0}</style>"
)


def table(
    head: str, columns: Sequence[str], rows: Iterable[Sequence[Cell | str]], notes: Iterable[str] = ()
) -> str:
    """An HTML table with a line above it and lines below it; every text is escaped."""
    cells = [[cell if isinstance(cell, Cell) else Cell(cell) for cell in row] for row in rows]
    words = [not any(_is_number(row[place].text) for row in cells) for place in range(len(columns))]
    headings = "".join(
        f'<th scope="col"{_CLASS if word else ""}>{escape(name)}</th>' for name, word in zip(columns, words)
    )
    body = "".join(
        "<tr>" + "".join(_cell(cell, word) for cell, word in zip(row, words)) + "</tr>" for row in cells
    )
    drawn = f"<table><thead><tr>{headings}</tr></thead><tbody>{body}</tbody></table>" if cells else ""
    told = "".join(f"<p>{escape(note)}</p>" for note in notes)
    return f'{_STYLE}<div class="agop-table" tabindex="0"><p>{escape(head)}</p>{drawn}{told}</div>'


_CLASS = ' class="word"'


def _cell(cell: Cell, word: bool) -> str:
    shade = (
        "" if cell.shade is None else f' style="background-color:rgba(0,114,178,{_DEEPEST * cell.shade:.2f})"'
    )
    title = f' title="{escape(cell.title)}"' if cell.title else ""
    return f"<td{_CLASS if word else ''}{title}{shade}>{escape(cell.text)}</td>"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def shades(values: Sequence[float], *, log: bool = False) -> list[float | None]:
    """How deep the ground of each value is: none where it is undefined, from 0 at the smallest to 1 at the largest.

    >>> shades([1.0, 10.0, 100.0, float("nan")], log=True)
    [0.0, 0.5, 1.0, None]
    """
    heights = [_height(value, log) for value in values]
    known = [height for height in heights if height is not None]
    low, high = (min(known), max(known)) if known else (0.0, 0.0)
    return [
        None if height is None else 0.0 if high == low else (height - low) / (high - low)
        for height in heights
    ]


def _height(value: float, log: bool) -> float | None:
    if not math.isfinite(value) or (log and value <= 0):
        return None
    return math.log(value) if log else value


def number(value: float) -> str:
    """A number in a cell.

    >>> number(0.123456), number(float("nan"))
    ('0.123', '–')
    """
    return UNDEFINED if value != value else f"{value:.3g}"
