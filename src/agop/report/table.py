"""The per-layer table of a page: every number twice, as a reader sees it and as a browser sorts it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real

import pandas as pd

from agop.report import style
from agop.report.charts import look_in
from agop.report.record import RunRecord

_HEADINGS = {
    "train_accuracy": "train accuracy",
    "test_accuracy": "test accuracy",
    "seconds": "seconds",
    "agop_route": "AGOP route",
    "clipped": "clipped eigenvalues",
}
_ON_PAPER = ("name", "train_accuracy", "test_accuracy", "nfa", "share_projection")


@dataclass(frozen=True)
class Column:
    """A column's heading, the stage it belongs to (or ""), whether it holds numbers, and whether paper can do without it."""

    heading: str
    stage: str
    numeric: bool
    detail: bool = False


@dataclass(frozen=True)
class Cell:
    """A cell as text, and as the number it sorts by (None for text and for undefined values)."""

    text: str
    value: float | None


@dataclass(frozen=True)
class Row:
    """One layer of one run."""

    run: int
    layer: int
    cells: list[Cell]


def layer_table(records: Sequence[RunRecord]) -> tuple[list[Column], list[Row]]:
    """Columns (run if there are several, layer, measures by stage, what the runs say by layer) and rows."""
    wide = [_wide(record) for record in records]
    names = list(dict.fromkeys(name for columns in wide for name in columns))
    names = [name for name in names if any(name in there and there[name].notna().any() for there in wide)]
    columns = [Column("layer", "", True)]
    for name in names:
        numeric = all(pd.api.types.is_numeric_dtype(there[name]) for there in wide if name in there)
        column, stage = name
        detail = not (stage or column in _ON_PAPER)
        columns.append(Column(_heading(records, column, stage), stage, numeric, detail))
    if len(records) > 1:
        columns.insert(0, Column("run", "", False))
    rows = []
    for index, (record, there) in enumerate(zip(records, wide, strict=True)):
        for layer in sorted({int(layer) for values in there.values() for layer in values.index}):
            values = {name: there[name].get(layer) for name in names if name in there}
            cells = [Cell(str(layer), float(layer)), *(_cell(name, values.get(name)) for name in names)]
            if len(records) > 1:
                cells.insert(0, Cell(record.name, None))
            rows.append(Row(index, layer, cells))
    return columns, rows


def _wide(record: RunRecord) -> dict[tuple[str, str], pd.Series]:
    """Values by layer of every (measure, stage), then of every (column, "") of the layers table."""
    found: dict[tuple[str, str], pd.Series] = {}
    for measure in record.measures:
        by_stage = record.profile.pivot_table(index="layer", columns="stage", values=measure, aggfunc="mean")
        found |= {(measure, stage): by_stage[stage] for stage in style.stages(map(str, by_stage))}
    if not record.layers.empty:
        layers = record.layers.set_index("layer")
        found |= {(str(column), ""): layers[column] for column in layers}
    return found


def _heading(records: Sequence[RunRecord], column: str, stage: str) -> str:
    if stage or any(column in record.layer_measures for record in records):
        return f"{look_in(records, column).heading} {stage}".strip()
    return _HEADINGS.get(column, column.replace("_", " "))


def _cell(column: tuple[str, str], value: object) -> Cell:
    name = column[0]
    if isinstance(value, Real) and not isinstance(value, bool):
        number = float(value)
        if number != number:
            return Cell("–", None)
        if name.endswith("accuracy"):
            return Cell(f"{number:.4f}", number)
        if name == "seconds":
            return Cell(f"{number:.2f}", number)
        return Cell(f"{number:,.0f}" if number.is_integer() else f"{number:.3g}", number)
    return Cell("–" if value is None else str(value), None)
