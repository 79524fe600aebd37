"""The report: one HTML file with everything in it, that asks no network for anything."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from agop import __version__
from agop.report import charts, citation, images, measured, network_figures, style
from agop.report.iterations import iteration_drawings
from agop.report.patches import patch_drawings
from agop.report.record import RunRecord
from agop.report.table import layer_table

_NOTHING = pd.Series(dtype=float)


def render(records: Sequence[RunRecord]) -> str:
    """The page for one run, or for several side by side."""
    environment = Environment(
        loader=PackageLoader("agop.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["cosine"] = images.cosine
    columns, rows = layer_table(records)
    layers = [row.layer for row in rows]
    folder = Path(__file__).parent / "templates"
    return environment.get_template("report.html.j2").render(
        title=records[0].title if len(records) == 1 else f"{len(records)} runs side by side",
        records=[_run(index, record) for index, record in enumerate(records)],
        charts=_charts(records),
        series=_series(records),
        columns=columns,
        rows=rows,
        first_layer=min(layers, default=1),
        last_layer=max(layers, default=1),
        cite=citation,
        gram_level=3 if len(records) == 1 else 4,
        version=__version__,
        css=Markup((folder / "report.css").read_text(encoding="utf-8")),
        js=Markup((folder / "report.js").read_text(encoding="utf-8")),
        plotly=Markup(get_plotlyjs()),
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
        "dash": style.RUN_DASHES[index % len(style.RUN_DASHES)],
        "gram": images.gram_images(gram) if gram is not None else {},
        "classes": [gram.class_names[label] for label in dict.fromkeys(gram.labels.tolist())] if gram else [],
        "gram_points": len(gram.labels) if gram else 0,
        "pictures": network_figures.pictures(network_figures.drawings(record.path, record.shown)),
        "patches": network_figures.pictures([*iteration_drawings(record), *patch_drawings(record)]),
        "whole": measured.of_whole(record),
        "curves": network_figures.pictures(measured.curve_drawings(record)),
    }


def _charts(records: Sequence[RunRecord]) -> list[dict[str, Any]]:
    """Identifier, heading, meaning and plotly JSON of every chart."""
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
        result.append(
            _chart("accuracy", "Accuracy by layer", "share of points with the right label", accuracy)
        )
    return result


def _measure_chart(records: Sequence[RunRecord], name: str, figure: go.Figure) -> dict[str, Any]:
    look = charts.look_in(records, name)
    return _chart(style.file_stem(name), f"{look.heading} by layer", look.meaning, figure)


def _chart(name: str, heading: str, meaning: str, figure: go.Figure) -> dict[str, Any]:
    return {"id": name, "heading": heading, "meaning": meaning, "figure": json.loads(figure.to_json())}


def _series(records: Sequence[RunRecord]) -> list[dict[str, str]]:
    """The switches: every stage and split that some run has, with its colour and symbol."""
    stages = style.stages(name for record in records for name in record.profile["stage"])
    splits = [
        name
        for name in style.SPLITS
        if any(record.layers.get(f"{name}_accuracy", _NOTHING).notna().any() for record in records)
    ]
    marks = style.SPLITS | stages
    return [
        {"name": name, "colour": marks[name].colour, "symbol": marks[name].symbol}
        for name in [*stages, *splits]
    ]
