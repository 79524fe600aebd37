"""The page of a reproduction: verdicts with their reasons and files, figures, and what was run; made from its directory alone."""

from __future__ import annotations

import base64
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from agop import __version__
from agop.experiments.claims import FAILS, GROUPS, HOLDS, OPEN
from agop.experiments.drawing import Drawing
from agop.experiments.files import write_text
from agop.experiments.finished import Finished, is_reproduction
from agop.experiments.rundir import held
from agop.experiments.study import Study
from agop.experiments.tables import together
from agop.report import citation, figures
from agop.report.drawing import Plate, plates
from agop.report.write import FIGURES, PAGE

__all__ = ["is_reproduction", "number", "write_reproduction"]

_COUNTED = {HOLDS: "hold", FAILS: "do not", OPEN: "not decided"}


def write_reproduction(path: str | os.PathLike[str]) -> Path:
    """Write `figures/STUDY/DATA/*` and `report.html` into the directory of a finished reproduction; returns the page.

    Raises
    ------
    ValueError
        One sentence, if the directory holds no finished reproduction.
    """
    record = Finished.load(path)
    with held(record.folder):
        studies = [_study(record, study) for study in record.studies]
        environment = Environment(
            loader=PackageLoader("agop.report", "templates"), autoescape=True, undefined=StrictUndefined,
            trim_blocks=True, lstrip_blocks=True,
        )  # fmt: skip
        css = Path(__file__).parent / "templates" / "report.css"
        page = environment.get_template("reproduction.html.j2").render(
            **{name: record.result[name] for name in ("title", "headline", "facts", "notes")},
            config=record.config, studies=studies, cite=citation, version=__version__,
            css=Markup(css.read_text(encoding="utf-8")),
        )  # fmt: skip
        write_text(record.folder / PAGE, page)
    return record.folder / PAGE


def _study(record: Finished, study: Study) -> dict[str, Any]:
    verdicts = [entry for entry in record.verdicts if entry["study"] == study.name]
    drawn = _draw(record, study)
    labels = dict.fromkeys([*(entry["data"] for entry in verdicts), *(data for data in drawn if drawn[data])])
    return {
        "name": study.name,
        "id": _id(study.name),
        "title": study.title,
        "question": study.question,
        "cite": str(study.cite),
        "counts": _counts(verdicts),
        "sets": [
            {
                "name": data,
                "id": _id(study.name, data),
                "groups": _groups([entry for entry in verdicts if entry["data"] == data]),
                "sections": _sections(drawn.get(data, ()), study.name, data),
            }
            for data in labels
        ],
    }


def _counts(verdicts: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """How many verdicts of each kind there are, a row for each group of claims."""
    rows = []
    for group, heading in GROUPS.items():
        found = Counter(entry["verdict"] for entry in verdicts if entry["group"] == group)
        if found:
            rows.append({"heading": heading, "counts": [found[word] for word in _COUNTED]})
    return rows


def _draw(record: Finished, study: Study) -> dict[str, list[Picture]]:
    """Draw and save every figure of a study, by data set; those of all of them together are under their joined names."""
    drawings = study.drawings_of(str(record.config["options"]["preset"]))
    labels = record.labels(study.name)
    drawn: dict[str, list[Picture]] = {}
    for label in labels:
        own = [drawing for drawing in drawings if drawing.data == "each"]
        drawn[label] = _pictures(record, study.name, own, (label,))
    for drawing in drawings:
        if drawing.data == "all":
            having = _labels(record, study.name, drawing)
            pictures = _pictures(record, study.name, [drawing], having, "all") if having else []
            drawn.setdefault(", ".join(having), []).extend(pictures)
    return drawn


def _labels(record: Finished, study: str, drawing: Drawing) -> list[str]:
    """The data sets that have a table of a drawing."""
    own = [entry for entry in record.tables if entry["study"] == study and entry["name"] in drawing.tables]
    return list(dict.fromkeys(entry["data"] for entry in own))


@dataclass(frozen=True)
class Picture:
    """A figure as the page shows it: section, caption, image, links to its files and to the tables it was drawn from."""

    section: str
    caption: str
    uri: str
    links: list[tuple[str, str]]
    tables: list[str]
    wide: bool


def _pictures(
    record: Finished, study: str, drawings: Sequence[Drawing], labels: Sequence[str], folder: str = ""
) -> list[Picture]:
    """Draw and save the figures about some data sets."""
    frames = together(record.frames(study, label) for label in labels)
    place = f"{FIGURES}/{study}/{folder or labels[0]}"
    (record.folder / place).mkdir(parents=True, exist_ok=True)

    def arrays(table: str, file: str) -> Mapping[str, np.ndarray]:
        return record.arrays(study, labels[0], table, file)

    found = []
    for drawing in drawings:
        for plate in plates(drawing, frames, arrays, ", ".join(labels)):
            figures.save(plate.figure, record.folder / place, plate.stem)
            files = [
                entry["file"]
                for name in plate.tables
                for entry in record.tables
                if entry["study"] == study and entry["name"] == name and entry["data"] in labels
            ]
            found.append(_picture(plate, record.folder, f"{place}/{plate.stem}", files))
    return found


def _picture(plate: Plate, folder: Path, stem: str, tables: list[str]) -> Picture:
    suffix, kind = ("png", "png") if plate.raster else ("svg", "svg+xml")
    encoded = base64.b64encode((folder / f"{stem}.{suffix}").read_bytes()).decode()
    links = [(form.upper(), f"{stem}.{form}") for form in figures.FORMATS]
    uri = f"data:image/{kind};base64,{encoded}"
    return Picture(plate.section, plate.caption, uri, links, tables, plate.wide)


def _sections(drawn: Sequence[Picture], study: str, data: str) -> list[dict[str, Any]]:
    """The figures by section, in the order in which sections come."""
    return [
        {
            "name": section,
            "id": _id(study, data, section),
            "pictures": [picture for picture in drawn if picture.section == section],
        }
        for section in dict.fromkeys(picture.section for picture in drawn)
    ]


def _id(*words: str) -> str:
    """An anchor of the page."""
    return re.sub(r"[^a-z0-9_]+", "-", "-".join(words).lower())


def _groups(verdicts: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    groups = []
    for group, heading in GROUPS.items():
        rows = [_row(entry) for entry in verdicts if entry["group"] == group]
        if rows:
            groups.append({"name": group, "heading": heading, "rows": rows})
    return groups


def _row(entry: Mapping[str, Any]) -> dict[str, Any]:
    expected, verdict = entry["expected"], entry["verdict"]
    surprise = expected is not None and verdict not in (expected, "not decided")
    return {
        **entry,
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
