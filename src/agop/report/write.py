"""Figures and page of a finished run, from nothing but its directory: they can be made again at any time."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from agop._checks import bad_value, shown
from agop.experiments.files import write_text
from agop.report import figures, measured, network_figures, style
from agop.report.iterations import iteration_drawings
from agop.report.page import render
from agop.report.patches import patch_drawings
from agop.report.record import RunRecord
from agop.report.run_head import TABLE_RUN, kind_of_run
from agop.report.table_run import FIGURES, PAGE, write_table_report

__all__ = ["FIGURES", "PAGE", "write_comparison", "write_report"]


def write_report(path: str | os.PathLike[str]) -> Path:
    """Write `figures/*` and `report.html` into the directory of a finished run; returns the page.

    Raises
    ------
    ValueError
        One sentence, if the directory holds no finished run.

    """
    if kind_of_run(path) == TABLE_RUN:
        return write_table_report(path)
    record = RunRecord.load(path)
    folder = record.path / FIGURES
    folder.mkdir(exist_ok=True)
    for measure in record.measures:
        look = record.look(measure)
        title = f"{record.title}: {look.heading} by layer"
        figure = figures.stage_curves(record.profile, measure, title=title, look=look)
        figures.save(figure, folder, style.file_stem(measure))
    for measure in measured.charted_layers(record):
        look = record.look(measure)
        title = f"{record.title}: {look.heading} by layer"
        figure = figures.layer_curve(record.layers, measure, title=title, look=look)
        figures.save(figure, folder, style.file_stem(measure))
    if any(f"{split}_accuracy" in record.layers for split in style.SPLITS):
        title = f"{record.title}: accuracy by layer"
        figures.save(figures.accuracy_curves(record.layers, title=title), folder, "accuracy")
    if record.gram is not None:
        title = f"{record.title}: cosines between class-sorted points"
        grid = figures.gram_grid(
            record.gram.matrices, record.gram.labels, record.gram.class_names, title=title
        )
        figures.save(grid, folder, "gram")
    drawn = network_figures.drawings(record.path, record.shown)
    for drawing in [
        *drawn,
        *iteration_drawings(record),
        *patch_drawings(record),
        *measured.curve_drawings(record),
    ]:
        figures.save(drawing.make(), folder, drawing.stem)
    write_text(record.path / PAGE, render([record]))
    return record.path / PAGE


def write_comparison(paths: Sequence[str | os.PathLike[str]], out: str | os.PathLike[str]) -> Path:
    """Write one page for several finished runs; returns it.

    Raises
    ------
    ValueError
        One sentence, if a directory holds no finished run.

    """
    if isinstance(paths, str) or not isinstance(paths, Sequence) or not paths:
        raise bad_value("runs", "the directories of one run or several", shown(paths))
    page = Path(out)
    records = [RunRecord.load(path) for path in paths]
    names = [record.name for record in records]
    records = [
        replace(record, name=str(record.path)) if names.count(record.name) > 1 else record
        for record in records
    ]
    page.parent.mkdir(parents=True, exist_ok=True)
    write_text(page, render(records))
    return page
