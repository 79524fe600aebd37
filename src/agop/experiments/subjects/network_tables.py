"""What a run of a network has found out so far: it goes into the checkpoint, and at last into tables and a trajectory."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import pandas as pd

from agop.experiments import measured
from agop.profiles.scores import Scores
from agop.profiles.shown import Shown
from agop.profiles.table import Profile
from agop.profiles.trajectory import Trajectory


class Tables:
    """What the run has found out so far; all of it goes into the checkpoint as text."""

    def __init__(self) -> None:
        self.epochs: list[dict[str, Any]] = []
        self.stages: list[pd.DataFrame] = []
        self.layers: list[pd.DataFrame] = []
        self.more: dict[str, list[pd.DataFrame]] = {}
        self.notes: dict[str, None] = {}
        self.shown: dict[str, Shown] = {}
        self.scores: list[dict[str, Any]] = []

    def add(self, number: int, found: Profile) -> None:
        """The profile after an epoch."""
        self.stages.append(found.table.assign(epoch=number))
        self.layers.append(found.layers.assign(epoch=number))
        for name, frame in measured.tables(found).items():
            self.more.setdefault(name, []).append(frame.assign(epoch=number))
        self.notes.update(dict.fromkeys(found.notes))
        self.shown |= found.shown
        if found.scores is not None:
            self.scores.append(asdict(found.scores) | {"epoch": number})

    def text(self) -> dict[str, str]:
        """As metadata of a safetensors file."""
        return {
            "epochs": json.dumps(self.epochs),
            "stages": json.dumps([frame.to_dict("list") for frame in self.stages]),
            "layers": json.dumps([frame.to_dict("list") for frame in self.layers]),
            "more": json.dumps(
                {name: [f.to_dict("list") for f in there] for name, there in self.more.items()}
            ),
            "notes": json.dumps(list(self.notes)),
            "scores": json.dumps(self.scores),
            "shown": json.dumps({column: asdict(look) for column, look in self.shown.items()}),
        }

    @classmethod
    def of(cls, text: Mapping[str, str]) -> Tables:
        """From what `text` gave, also that of 0.1.0."""
        tables = cls()
        tables.epochs = json.loads(text["epochs"])
        tables.stages = [pd.DataFrame(columns) for columns in json.loads(text["stages"])]
        tables.layers = [pd.DataFrame(columns) for columns in json.loads(text["layers"])]
        more = json.loads(text.get("more", "{}"))
        tables.more = {name: [pd.DataFrame(columns) for columns in there] for name, there in more.items()}
        tables.notes = dict.fromkeys(json.loads(text["notes"]))
        tables.scores = json.loads(text.get("scores", "[]"))
        shown = json.loads(text.get("shown", "{}"))
        tables.shown = {column: Shown.read(entry) for column, entry in shown.items()}
        return tables

    def trajectory(self) -> Trajectory:
        """What was measured, epoch by epoch; accuracy and loss are those of the weights after it, on the points that were measured."""
        made, scores = Trajectory(), {entry["epoch"]: entry for entry in self.scores}
        for stages, layers in zip(self.stages, self.layers, strict=True):
            number = int(stages["epoch"].iloc[0])
            answers = {key: value for key, value in scores.get(number, {}).items() if key != "epoch"}
            more = {}
            for name, there in self.more.items():
                rows = pd.concat(there)
                more[name] = rows[rows["epoch"] == number].drop(columns="epoch").reset_index(drop=True)
            measures = tuple(str(name) for name in stages if name not in ("layer", "name", "stage", "epoch"))
            found = Profile(
                stages.drop(columns="epoch"), "", measures, [], layers.drop(columns="epoch"), shown=self.shown,
                scores=Scores(**answers) if answers else None, **more,
            )  # fmt: skip
            row = next(row for row in self.epochs if row["number"] == number)
            test = {"test_accuracy": row["test_accuracy"]} if row["test_accuracy"] is not None else {}
            made.add(found, number, **test)
        return made
