"""From a profile to the tables of a run, and back to what was asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from agop.probe import Probe
from agop.probes import PROBES
from agop.profiles.profile import chosen_probes
from agop.profiles.shown import Shown
from agop.profiles.table import Profile
from agop.profiles.views import source_of


def check(subject: Any, measures: Sequence[str] | None) -> None:
    """Refuse measures that the subject can't give before anything is fitted; one sentence."""
    chosen_probes(source_of(subject), measures)


def tables(profile: Profile) -> dict[str, pd.DataFrame]:
    """The tables of the whole and of curves by the names of their files, if there is anything in them."""
    return {
        name: frame for name, frame in (("whole", profile.whole), ("curves", profile.curves)) if len(frame)
    }


def shown(looks: Mapping[str, Shown], frames: Iterable[pd.DataFrame]) -> dict[str, Shown]:
    """How the measures in these tables are shown."""
    frames = list(frames)
    columns = {str(column) for frame in frames for column in frame}
    columns |= {str(name) for frame in frames if "x" in frame for name in frame.get("measure", ())}
    return {column: look for column, look in looks.items() if column in columns}


def with_asked(layers: pd.DataFrame, profile: Profile, asked: Sequence[str] | None) -> pd.DataFrame:
    """A table by layer with the measures of layers that were asked for by name."""
    probes = [PROBES[name] for name in asked or ()]
    columns = [
        column
        for probe in probes
        if probe.level == "layer"
        for column in probe.columns
        if column in profile.layers
    ]
    measured = profile.layers.set_index("layer")[columns]
    taken = {column: f"{column} (measure)" for column in columns if column in layers}
    return layers.join(measured.rename(columns=taken), on="layer")


def without_classifiers(stages: pd.DataFrame) -> pd.DataFrame:
    """The table by layer and stage without measures that only a classifier has: no curves over layers."""
    return stages.drop(columns=_of_classifiers(stages))


def with_classifiers(layers: pd.DataFrame, stages: pd.DataFrame) -> pd.DataFrame:
    """The table by layer with the measures of the stage that a classifier reads."""
    read = stages[stages["stage"] == "input"].set_index("layer")
    defined = [column for column in _of_classifiers(stages) if read[column].notna().any()]
    return layers.join(read[defined], on="layer") if defined else layers


def _of_classifiers(stages: pd.DataFrame) -> list[str]:
    """The columns of measures that read a classifier; those of plug-ins only where no more than one layer has values."""

    def at_one(column: str) -> bool:
        return stages.loc[stages[column].notna(), "layer"].nunique() <= 1

    reading = [str(column) for column in stages if _reads(str(column))]
    return [column for column in reading if column in PROBES.own or at_one(column)]


def _reads(column: str) -> bool:
    probe = PROBES.get(column)
    return isinstance(probe, Probe) and any(need.kind in ("weight", "decisions") for need in probe.needed)
