"""The page of one run, or of several side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from agop.report import charts, images, measured, network_figures, style
from agop.report.iterations import iteration_drawings
from agop.report.patches import patch_drawings
from agop.report.pictures import Drawing, Picture, picture, pictures
from agop.report.record import RunRecord
from agop.report.rendering import page
from agop.report.table import layer_table

_NOTHING = pd.Series(dtype=float)


def render(records: Sequence[RunRecord]) -> str:
    """The page for one run, or for several side by side."""
    columns, rows = layer_table(records)
    layers = [row.layer for row in rows]
    shown = [_run(index, record) for index, record in enumerate(records)]
    by_layer = _charts(records)
    own = [one for run in shown for part in ("pictures", "patches", "curves") for one in run[part]]
    return page(
        "report.html.j2",
        [*by_layer, *own],
        title=records[0].title if len(records) == 1 else f"{len(records)} runs side by side",
        records=shown,
        charts=by_layer,
        series=_series(records),
        columns=columns,
        rows=rows,
        first_layer=min(layers, default=1),
        last_layer=max(layers, default=1),
        gram_level=3 if len(records) == 1 else 4,
    )


def _run(index: int, record: RunRecord) -> dict[str, Any]:
    gram = record.gram
    config = record.config
    return {
        "index": index,
        "name": record.name,
        "title": record.title,
        "headline": record.headline,
        "facts": record.facts,
        "notes": record.notes,
        "command": f"{config.get('command', 'agop')} --out runs/again",
        "versions": config.get("versions", {}),
        "machine": config.get("machine", {}),
        "colour": style.run_colour(index),
        "gram": images.gram_images(gram) if gram is not None else {},
        "classes": [gram.class_names[label] for label in dict.fromkeys(gram.labels.tolist())] if gram else [],
        "gram_points": len(gram.labels) if gram else 0,
        "pictures": pictures(network_figures.drawings(record.path, record.shown), index),
        "patches": pictures([*iteration_drawings(record), *patch_drawings(record)], index),
        "whole": measured.of_whole(record),
        "curves": pictures(measured.curve_drawings(record), index),
    }


def _charts(records: Sequence[RunRecord]) -> list[Picture]:
    """The figures by layer: measures of stages, measures of layers, accuracy."""
    stages = dict.fromkeys(name for record in records for name in record.measures)
    layers = dict.fromkeys(name for record in records for name in measured.charted_layers(record))
    result = [_measure_chart(records, name, charts.measure_chart(records, name)) for name in stages]
    result += [
        _measure_chart(records, name, charts.layer_chart(records, name))
        for name in layers
        if name not in stages
    ]
    accuracy = charts.accuracy_chart(records)
    if accuracy is not None:
        how = f"A curve is {_a_curve(records, 'split')}; higher is better, and test below training is overfitting."
        meaning = "share of points with the right label"
        result.append(
            _chart(Drawing("accuracy", "Accuracy by layer", meaning, how, charts.nothing), accuracy)
        )
    return result


def _measure_chart(records: Sequence[RunRecord], name: str, drawn: charts.Drawn) -> Picture:
    look = charts.look_in(records, name)
    a_curve = _a_curve(records, "stage") if look.level == "stage" else _a_curve(records, "")
    how = f"A point is a layer, a curve {a_curve}; {style.reading(look)}."
    heading = f"{look.heading} by layer"
    return _chart(Drawing(style.file_stem(name), heading, look.meaning, how, charts.nothing), drawn)


def _chart(drawing: Drawing, drawn: charts.Drawn) -> Picture:
    return picture(drawing, figure=drawn[0], keys=drawn[1])


def _a_curve(records: Sequence[RunRecord], of: str) -> str:
    """What a curve is of."""
    if len(records) == 1:
        return f"a {of}" if of else "the subject"
    return f"a run (colour) and {of} (marker)" if of else "a run"


def _series(records: Sequence[RunRecord]) -> list[dict[str, str]]:
    """The switches: every stage and split that some run has, with its colour and symbol; of several runs colours tell these."""
    stages = style.stages(name for record in records for name in record.profile["stage"])
    splits = [
        name
        for name in style.SPLITS
        if any(record.layers.get(f"{name}_accuracy", _NOTHING).notna().any() for record in records)
    ]
    marks = style.SPLITS | stages
    return [
        {
            "name": name,
            "colour": marks[name].colour if len(records) == 1 else style.INK,
            "symbol": marks[name].symbol,
        }
        for name in [*stages, *splits]
    ]
