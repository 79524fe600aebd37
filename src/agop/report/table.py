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
    names = list(dict.fromkeys(name for table in wide for name in table.columns))
    names = [name for name in names if any(name in table and table[name].notna().any() for table in wide)]
    columns = [Column("layer", "", True)]
    for name in names:
        numeric = all(pd.api.types.is_numeric_dtype(table[name]) for table in wide if name in table)
        column, stage = name
        detail = not (stage or column in _ON_PAPER)
        columns.append(Column(_heading(records, column, stage), stage, numeric, detail))
    if len(records) > 1:
        columns.insert(0, Column("run", "", False))
    rows = []
    for index, (record, table) in enumerate(zip(records, wide, strict=True)):
        for layer, entry in table.iterrows():
            cells = [Cell(str(layer), float(str(layer))), *(_cell(name, entry.get(name)) for name in names)]
            if len(records) > 1:
                cells.insert(0, Cell(record.name, None))
            rows.append(Row(index, int(str(layer)), cells))
    return columns, rows


def _wide(record: RunRecord) -> pd.DataFrame:
    """One row per layer; columns (measure, stage), then (column, "") of the layers table."""
    parts: list[dict[tuple[str, str], pd.Series]] = []
    for measure in record.measures:
        by_stage = record.profile.pivot_table(index="layer", columns="stage", values=measure, aggfunc="mean")
        parts.append({(measure, stage): by_stage[stage] for stage in style.stages(by_stage)})
    if not record.layers.empty:
        layers = record.layers.set_index("layer")
        parts.append({(str(column), ""): layers[column] for column in layers})
    series = {name: values for part in parts for name, values in part.items()}
    table = pd.concat(list(series.values()), axis=1) if series else pd.DataFrame()
    table.columns = pd.Index(list(series), tupleize_cols=False)
    return table


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
