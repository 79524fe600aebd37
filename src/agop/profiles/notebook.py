"""A profile as a table of a notebook: a row a layer, a shade a value, and why a value is missing where the pointer rests on it."""

from __future__ import annotations

from typing import Any

import pandas as pd

from agop._tables import Cell, number, shades, table
from agop.view import STAGES


def profile_html(profile: Any) -> str:
    """The measures of stages and of layers of a `Profile`, one row a layer; then the whole, and what is to be known."""
    columns: dict[str, list[Cell]] = {}
    layers = profile.layers.set_index("layer")
    if len(layers):
        columns["layer"] = [Cell(str(layer)) for layer in layers.index]
        columns["name"] = [Cell(str(name)) for name in layers["name"]]
    stages = dict.fromkeys(
        [*(s for s in STAGES if s in set(profile.table.get("stage", ()))), *profile.table.get("stage", ())]
    )
    for measure in profile.measures:
        for stage in stages:
            rows = profile.table[profile.table["stage"] == stage].set_index("layer")[measure]
            columns[f"{measure} {stage}"] = _cells(profile, measure, rows.reindex(layers.index), stage)
    for name in profile.layers.columns.drop(["layer", "name"], errors="ignore"):
        if pd.api.types.is_numeric_dtype(layers[name]) and name != "features":
            columns[str(name)] = _cells(profile, str(name), layers[name], "")
        else:
            columns[str(name)] = [Cell("" if pd.isna(value) else str(value)) for value in layers[name]]
    head = f"Profile of {profile.subject}" + (f": {profile.scores}" if profile.scores is not None else "")
    warning = profile.scores.warning if profile.scores is not None else ""
    told = [f"warning: {warning}"] if warning else []
    if not profile.whole.empty:
        told += [f"{name}: {number(float(value))}" for name, value in profile.whole.iloc[0].items()]
    told += [f"note: {note}" for note in profile.notes]
    return table(head, list(columns), list(zip(*columns.values())), told)


def _cells(profile: Any, measure: str, values: pd.Series, stage: str) -> list[Cell]:
    log = profile.look(measure).scale == "log"
    names = profile.layers.set_index("layer")["name"]
    numbers = [float(value) for value in values]
    return [
        Cell(
            number(value),
            _reason(profile, measure, str(names[layer]), stage) if value != value else "",
            shade,
        )
        for layer, value, shade in zip(values.index, numbers, shades(numbers, log=log), strict=True)
    ]


def _reason(profile: Any, measure: str, name: str, stage: str) -> str:
    """Why a value is undefined, as the notes say."""
    where = f"{name}, {stage}: " if stage else f"{name}: "
    begin = f"{where}{measure} is undefined: "
    of_all = f"{measure} is undefined "
    for note in profile.notes:
        if note.startswith(begin):
            return note.removeprefix(begin)
        if note.startswith(of_all):
            return note
    return "not measured here"
