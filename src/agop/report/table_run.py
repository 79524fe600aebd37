"""The record, figures and page of a run on a table, from its directory alone."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from agop._checks import bad_value
from agop.experiments.files import write_text
from agop.report import figures, table_figures
from agop.report.pictures import Drawing, picture
from agop.report.rendering import page
from agop.report.run_head import RunHead, head_of, opened

PAGE, FIGURES = "report.html", "figures"
_NEEDED = {
    "columns": ("column", "taken_for", "importance", "left_out", "note"),
    "scores": ("measure", "honest", "none"),
    "honest": ("row", "true", "predicted"),
    "directions": ("direction", "share", "column", "weight"),
    "search": ("recursion", "mean_test_score", "n_folds", "weight"),
}
_TEXTS = ("column", "taken_for", "left_out", "note", "measure")
_VALUES = ("true", "predicted")
"""Read as texts: the class "01" is not the number 1."""


@dataclass(frozen=True, eq=False)
class TableRecord(RunHead):
    """One finished run on a table.

    Attributes
    ----------
    columns, scores, directions, search
        The tables of these names.
    parts
        True and predicted values: "honest", and "test" if rows were held out.
    """

    columns: pd.DataFrame
    scores: pd.DataFrame
    directions: pd.DataFrame
    search: pd.DataFrame
    parts: Mapping[str, pd.DataFrame]

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> TableRecord:
        """Read the directory of a finished run.

        Raises
        ------
        ValueError
            One sentence, if it is no run, not finished, or damaged.
        """
        folder, config, result = opened(path)
        tables = {name: _read(folder / f"{name}.csv", needed) for name, needed in _NEEDED.items()}
        parts = {"honest": tables["honest"]}
        if (folder / "test.csv").exists():
            parts["test"] = _read(folder / "test.csv", _NEEDED["honest"])
        return cls(
            **head_of(folder, config, result),
            columns=tables["columns"],
            scores=tables["scores"],
            directions=tables["directions"],
            search=tables["search"],
            parts=parts,
        )

    @property
    def has_classes(self) -> bool:
        """Whether classes are predicted."""
        return any(str(name).startswith(table_figures.PROBABILITY) for name in self.parts["honest"])


def _read(path: Path, needed: tuple[str, ...]) -> pd.DataFrame:
    try:
        table = pd.read_csv(
            path, dtype=dict.fromkeys((*_TEXTS, *_VALUES), object), keep_default_na=False, na_values=[""]
        )
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise bad_value(
            "run", f"a readable {path.name}", f"{str(path)!r} ({reason})", "run it again elsewhere"
        ) from None
    if not any(str(name).startswith(table_figures.PROBABILITY) for name in table):
        try:
            table = table.astype({name: float for name in _VALUES if name in table})
        except ValueError as error:
            raise bad_value(
                "run", f"numbers in {path.name}", f"{str(path)!r} ({error})", "run it again elsewhere"
            ) from None
    missing = [name for name in needed if name not in table]
    if missing:
        raise bad_value(
            "run", f"{missing[0]} in {path.name}", f"none in {str(path)!r}", "run it again elsewhere"
        )
    return table


def drawings(record: TableRecord) -> dict[str, list[Drawing]]:
    """The figures, by the section of the page that they are in."""
    parts, title = record.parts, record.title
    if record.has_classes:
        judged = [
            Drawing(
                "confusion",
                "Confusion",
                "rows of each class, by the class that is predicted; honest predictions",
                "A row is what is true, a column what is said; the darker the diagonal, the better.",
                lambda: table_figures.confusion(parts["honest"], f"{title}: confusion"),
            ),
            Drawing(
                "calibration",
                "Calibration",
                "how often what was said came true: of the second class if there are two, else of the predicted class; one standard error",
                "On the line what is said is what comes true; below it the model is too sure.",
                lambda: table_figures.calibration(parts, f"{title}: calibration"),
            ),
        ]
    else:
        judged = [
            Drawing(
                "predicted",
                "Predicted against true",
                "a point a row, and the line on which both are equal",
                "The nearer a point lies to the line, the better its row is predicted.",
                lambda: table_figures.predicted_against_true(parts, f"{title}: predicted against true"),
            )
        ]
    counted = [
        Drawing(
            "importances",
            "Importances",
            "how much the prediction changes along a column, as a share; categories and dates count once",
            "A longer bar is a column that the prediction depends on more; all bars sum to 1.",
            lambda: table_figures.importances(record.columns, f"{title}: what counts"),
        )
    ]
    if len(record.directions):
        counted.append(
            Drawing(
                "directions",
                "Top directions",
                "the combinations of columns along which the prediction changes most: eigenvectors of the AGOP, in standardised units",
                "Columns with long bars count together in this direction; bars on opposite sides work against each other.",
                lambda: table_figures.directions(record.directions, f"{title}: top directions"),
            )
        )
    searched = []
    if record.search["recursion"].nunique() > 1:
        searched = [
            Drawing(
                "search",
                "Search",
                "the honest score (minus the loss, unless a scorer was asked for) of the best candidate of each recursion "
                "that reached the last heat",
                "A point is a recursion; where the line no longer rises, searching longer did not help.",
                lambda: table_figures.search(record.search, f"{title}: search"),
            )
        ]
    return {"judged": judged, "counted": counted, "searched": searched}


def write_table_report(path: str | os.PathLike[str]) -> Path:
    """Write `figures/*` and `report.html` into the directory of a finished run on a table; returns the page.

    Raises
    ------
    ValueError
        One sentence, if the directory holds no finished run.
    """
    record = TableRecord.load(path)
    folder = record.path / FIGURES
    folder.mkdir(exist_ok=True)
    shown: dict[str, list[Any]] = {}
    for section, found in drawings(record).items():
        shown[section] = []
        for drawing in found:
            figure = drawing.make()
            figures.save(figure, folder, drawing.stem)
            shown[section].append(picture(drawing, figure=figure))
    columns = [_column(row) for _, row in record.columns.iterrows()]
    text = page(
        "table.html.j2",
        [one for section in shown.values() for one in section],
        **shown,
        record=record,
        scores=_scores(record),
        columns=columns,
        told=[name for name in ("left_out", "note") if any(row[name] for row in columns)],
        command=f"{record.config.get('command', 'agop')} --out runs/again",
    )
    write_text(record.path / PAGE, text)
    return record.path / PAGE


def _scores(record: TableRecord) -> list[dict[str, str]]:
    rows = []
    for _, row in record.scores.iterrows():
        rows.append(
            {
                "measure": str(row["measure"]),
                **{name: with_error(row, name) for name in ("honest", "test", "none") if name in row},
            }
        )
    return rows


def with_error(row: pd.Series, name: str) -> str:
    """A number with its standard error; a dash where there is none."""
    value, error = row[name], row.get(f"{name} error", float("nan"))
    if value != value:
        return "–"
    if error != error or name == "none":
        return "0" if abs(value) < 5e-4 else f"{value:.4g}"
    return f"{value:.4g} ± {error:.2g}"


def _column(row: pd.Series) -> dict[str, str]:
    text = {
        name: "" if row[name] != row[name] else str(row[name])
        for name in ("column", "taken_for", "left_out", "note")
    }
    importance = row["importance"]
    return {**text, "importance": "–" if importance != importance else f"{importance:.3f}"}
