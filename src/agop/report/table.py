"""The per-layer table of a page: every number twice, as a reader sees it and as a browser sorts it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real

import pandas as pd

from agop.report import style
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
        stage = name.split("/")[1] if "/" in name else ""
        columns.append(Column(_heading(name), stage, numeric, not (stage or name in _ON_PAPER)))
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
    """One row per layer; columns `measure/stage`, then those of the layers table."""
    parts = []
    for measure in record.measures:
        by_stage = record.profile.pivot_table(index="layer", columns="stage", values=measure, aggfunc="mean")
        stages = [stage for stage in style.STAGES if stage in by_stage]
        parts.append(by_stage[stages].rename(columns={stage: f"{measure}/{stage}" for stage in stages}))
    if not record.layers.empty:
        parts.append(record.layers.set_index("layer"))
    return pd.concat(parts, axis=1) if parts else pd.DataFrame()


def _heading(name: str) -> str:
    if "/" in name:
        measure, stage = name.split("/")
        return f"{style.measure_name(measure)} {stage}"
    return _HEADINGS.get(name, name.replace("_", " "))


def _cell(name: str, value: object) -> Cell:
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
