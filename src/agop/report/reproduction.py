"""The page of a reproduction: verdicts with their reasons and files, figures, and what was run; made from its directory alone."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from agop.experiments.claims import FAILS, GROUPS, HOLDS, OPEN
from agop.experiments.drawing import Drawing
from agop.experiments.files import write_text
from agop.experiments.finished import Finished, is_reproduction
from agop.experiments.rundir import held
from agop.experiments.study import Study
from agop.experiments.tables import together
from agop.report import figures
from agop.report.drawing import Plate, plates
from agop.report.pictures import Drawing as Drawn
from agop.report.pictures import Picture, picture
from agop.report.rendering import page
from agop.report.write import FIGURES, PAGE

__all__ = ["is_reproduction", "number", "write_reproduction"]

_COUNTED = {HOLDS: "hold", FAILS: "do not", OPEN: "not decided"}


def write_reproduction(path: str | os.PathLike[str], *, jobs: int = 1) -> Path:
    """Write `figures/STUDY/DATA/*` and `report.html` into the directory of a finished reproduction; returns the page.

    Parameters
    ----------
    jobs
        Processes that draw; with 1, figures are drawn in this one. The files are the same.

    Raises
    ------
    ValueError
        One sentence, if the directory holds no finished reproduction.
    """
    record = Finished.load(path)
    with held(record.folder):
        studies = [_study(record, study, jobs) for study in record.studies]
        text = page(
            "reproduction.html.j2",
            [shown.picture for study in studies for one in study["sets"] for section in one["sections"] for shown in section["pictures"]],
            **{name: record.result[name] for name in ("title", "headline", "facts", "notes")},
            config=record.config, studies=studies,
        )  # fmt: skip
        write_text(record.folder / PAGE, text)
    return record.folder / PAGE


def _study(record: Finished, study: Study, jobs: int) -> dict[str, Any]:
    verdicts = [entry for entry in record.verdicts if entry["study"] == study.name]
    drawn = _draw(record, study, jobs)
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


def _draw(record: Finished, study: Study, jobs: int) -> dict[str, list[Shown]]:
    """Draw and save every figure of a study, by data set; those of all of them together are under their joined names."""
    from joblib import Parallel, delayed

    tasks = list(_tasks(record, study))
    pictures = Parallel(n_jobs=min(jobs, max(1, len(tasks))))(delayed(task)() for task in tasks)
    drawn: dict[str, list[Shown]] = {label: [] for label in record.labels(study.name)}
    for task, found in zip(tasks, pictures, strict=True):
        drawn.setdefault(task.words, []).extend(found)
    return drawn


def _tasks(record: Finished, study: Study) -> Iterator[_Task]:
    """A drawing about one data set each, and then those about all of them."""
    drawings = study.drawings_of(str(record.config["options"]["preset"]))
    for label in record.labels(study.name):
        frames = record.frames(study.name, label)
        for drawing in drawings:
            if drawing.data == "each":
                yield _Task(record, study.name, drawing, (label,), label, _read_by(drawing, frames))
    for drawing in drawings:
        if drawing.data == "all":
            having = _labels(record, study.name, drawing)
            frames = together(record.frames(study.name, label) for label in having)
            if having:
                yield _Task(record, study.name, drawing, tuple(having), "all", _read_by(drawing, frames))


def _read_by(drawing: Drawing, frames: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """The tables that a drawing asks for."""
    asked = {drawing.table, *drawing.tables, *drawing.requires}
    return {name: frame for name, frame in frames.items() if name in asked}


def _labels(record: Finished, study: str, drawing: Drawing) -> list[str]:
    """The data sets that have a table of a drawing."""
    own = [entry for entry in record.tables if entry["study"] == study and entry["name"] in drawing.tables]
    return list(dict.fromkeys(entry["data"] for entry in own))


@dataclass(frozen=True)
class Shown:
    """A figure on the page: its section, the picture, links to its files and to the tables it was drawn from."""

    section: str
    picture: Picture
    links: list[tuple[str, str]]
    tables: list[str]


@dataclass(frozen=True, eq=False)
class _Task:
    """One drawing of some data sets: `folder` is where its figures go, below those of the study."""

    record: Finished
    study: str
    drawing: Drawing
    labels: tuple[str, ...]
    folder: str
    frames: Mapping[str, pd.DataFrame]

    @property
    def words(self) -> str:
        """The data sets, as the page calls them."""
        return ", ".join(self.labels)

    def __call__(self) -> list[Shown]:
        """Draw and save its figures."""
        place = f"{FIGURES}/{self.study}/{self.folder}"
        (self.record.folder / place).mkdir(parents=True, exist_ok=True)
        found = []
        # saving moves what a page shows, so that the page has figures of its own
        for plate, saved in zip(self._plates(), self._plates(), strict=True):
            files = [
                entry["file"]
                for name in plate.tables
                for entry in self.record.tables
                if entry["study"] == self.study and entry["name"] == name and entry["data"] in self.labels
            ]
            found.append(_shown(plate, f"{place}/{plate.stem}", files))
            figures.save(saved.figure, self.record.folder / place, plate.stem)
        return found

    def _plates(self) -> Iterator[Plate]:
        return plates(self.drawing, self.frames, self._arrays, self.words)

    def _arrays(self, table: str, file: str) -> Mapping[str, np.ndarray]:
        return self.record.arrays(self.study, self.labels[0], table, file)


def _shown(plate: Plate, stem: str, tables: list[str]) -> Shown:
    links = [(form.upper(), f"{stem}.{form}") for form in figures.FORMATS]
    drawing = Drawn(
        _id(stem.removeprefix(f"{FIGURES}/")), plate.heading, plate.caption, plate.how, Figure, plate.own_size
    )
    return Shown(plate.section, picture(drawing, figure=plate.figure), links, tables)


def _sections(drawn: Sequence[Shown], study: str, data: str) -> list[dict[str, Any]]:
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
