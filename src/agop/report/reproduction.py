"""The page of a reproduction: verdicts with their reasons and files, figures, and what was run; made from its directory alone."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from agop import __version__
from agop._checks import bad_value
from agop.datasets.npz import DAMAGED, read_arrays
from agop.experiments.files import read_json, write_text
from agop.experiments.manifest import check_tables
from agop.experiments.reproduce import KIND, VERDICTS, table_file
from agop.experiments.rundir import CONFIG, RESULT
from agop.experiments.units import described
from agop.report import citation, figures
from agop.report.plates import Plate, deep_rfm_plates, gram_plates
from agop.report.plates_networks import network_plates
from agop.report.plates_theory import kernel_plate, theory_plates
from agop.report.write import FIGURES, PAGE

SECTIONS = ("Deep RFM", "Networks", "Theory", "Beyond the paper", "Controls")
_GROUPS = {"C": "Claims of the paper", "B": "Beyond the paper", "N": "Controls"}
_MOST_BYTES = 2**30
_RASTER = ("gram-", "kernel-matrices")


def write_reproduction(path: str | os.PathLike[str]) -> Path:
    """Write `figures/DATA/*` and `report.html` into the directory of a finished reproduction; returns the page.

    Raises
    ------
    ValueError
        One sentence, if the directory holds no finished reproduction.
    """
    folder = Path(path)
    config = read_json(folder / CONFIG)
    if config.get("kind") != KIND or not (folder / RESULT).is_file():
        raise bad_value(
            "run",
            "the directory of a finished reproduction",
            repr(str(path)),
            "finish it with `agop reproduce`",
        )
    result = read_json(folder / RESULT)
    check_tables(folder, result, f"delete {str(folder / RESULT)!r} and run `agop reproduce` again")
    units = {unit: described(folder / unit) for unit in result["units"]}
    verdicts = read_json(folder / VERDICTS)["verdicts"]
    sets = []
    for data in dict.fromkeys(entry["data"] for entry in verdicts):
        own = [entry for entry in verdicts if entry["data"] == data]
        mine = {unit: what for unit, what in units.items() if what["data"] == data}
        sets.append(
            {
                "name": data,
                "groups": _groups(own),
                "sections": _sections(_draw(folder, data, mine), folder, data),
            }
        )
    environment = Environment(
        loader=PackageLoader("agop.report", "templates"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    css = Path(__file__).parent / "templates" / "report.css"
    page = environment.get_template("reproduction.html.j2").render(
        title=result["title"], headline=result["headline"], facts=result["facts"], notes=result["notes"],
        config=config, sets=sets, cite=citation, version=__version__, css=Markup(css.read_text(encoding="utf-8")),
    )  # fmt: skip
    write_text(folder / PAGE, page)
    return folder / PAGE


def is_reproduction(path: str | os.PathLike[str]) -> bool:
    """Whether a directory says that it is one of `agop reproduce`."""
    config = Path(path) / CONFIG
    return config.is_file() and read_json(config).get("kind") == KIND


def _draw(folder: Path, data: str, units: Mapping[str, Mapping[str, Any]]) -> list[Plate]:
    """Draw and save every figure of a data set."""
    names = {
        f"{what['table']}/{file.stem}"
        for unit, what in units.items()
        for file in (folder / unit).glob("*.csv")
    }
    files = {name: folder / table_file(data, name) for name in sorted(names)}
    tables = {name: pd.read_csv(file) for name, file in files.items() if file.is_file()}
    grams = {
        variant: arrays
        for variant, words in (("ReLU", "deep-rfm/relu"), ("cosine", "deep-rfm/cosine"))
        if (arrays := _first(folder, units, words, "gram.npz"))
    }
    drawn = [*deep_rfm_plates(tables, data), *gram_plates(grams, data), *network_plates(tables, data)]
    drawn += theory_plates(tables, data)
    kernels = _first(folder, units, "theory/kernel", "kernels.npz")
    if kernels:
        drawn.append(kernel_plate(kernels, data))
    (folder / FIGURES / data).mkdir(parents=True, exist_ok=True)
    for plate in drawn:
        figures.save(plate.figure, folder / FIGURES / data, plate.stem)
    return drawn


def _first(
    folder: Path, units: Mapping[str, Mapping[str, Any]], table: str, file: str
) -> Mapping[str, np.ndarray]:
    """The arrays of the first unit of a table; none if there is no such unit, or it wrote none."""
    for unit, what in units.items():
        path = folder / unit / file
        if what["table"] == table and path.is_file():
            try:
                return read_arrays(path, _MOST_BYTES)
            except DAMAGED as error:
                reason = " ".join(str(error).split())[:200]
                raise bad_value(
                    "run", f"a readable {file}", f"{str(path)!r} ({reason})", "delete that unit"
                ) from None
    return {}


def _sections(drawn: list[Plate], folder: Path, data: str) -> list[dict[str, Any]]:
    sections = []
    for section in SECTIONS:
        own = [_picture(plate, folder, data) for plate in drawn if plate.section == section]
        if own:
            sections.append(
                {"name": section, "id": f"{data}-{section.lower().replace(' ', '-')}", "pictures": own}
            )
    return sections


def _picture(plate: Plate, folder: Path, data: str) -> dict[str, Any]:
    suffix, kind = ("png", "png") if plate.stem.startswith(_RASTER) else ("svg", "svg+xml")
    stem = f"{FIGURES}/{data}/{plate.stem}"
    encoded = base64.b64encode((folder / f"{stem}.{suffix}").read_bytes()).decode()
    return {
        "caption": plate.caption,
        "uri": f"data:image/{kind};base64,{encoded}",
        "links": [(s.upper(), f"{stem}.{s}") for s in figures.FORMATS],
        "tables": [table_file(data, name) for name in plate.tables],
        "wide": plate.stem.startswith("gram-"),
    }


def _groups(verdicts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    groups = []
    for letter, heading in _GROUPS.items():
        rows = [_row(entry) for entry in verdicts if entry["id"][0] == letter]
        if rows:
            groups.append({"heading": heading, "rows": rows})
    return groups


def _row(entry: dict[str, Any]) -> dict[str, Any]:
    expected, verdict = entry["expected"], entry["verdict"]
    surprise = expected is not None and verdict not in (expected, "not decided")
    return entry | {
        "number": number(entry["mean"], entry["std"]),
        "bound": f"{'≤' if entry['relation'] == '<=' else '≥'} {entry['threshold']:g}",
        "class": verdict.replace(" ", "-"),
        "surprise": surprise,
        "per_seed": ", ".join(f"seed {seed}: {_short(value)}" for seed, value in entry["values"].items()),
    }


def number(mean: float | None, std: float | None) -> str:
    """Mean ± standard deviation as a reader sees it.

    >>> number(0.43891, 0.0352), number(None, None), number(1e-11, 5e-12)
    ('0.439 ± 0.035', '–', '1e-11 ± 5e-12')
    """
    if mean is None:
        return "–"
    return _short(mean) if std is None else f"{_short(mean)} ± {std:.2g}".replace("-0.", "−0.")


def _short(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"
