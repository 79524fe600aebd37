"""How a column of a profile is shown: what tables, figures and pages need to know of the probe that measured it."""

from __future__ import annotations

from dataclasses import dataclass

from agop.probe import Probe
from agop.probes import PROBES


@dataclass(frozen=True)
class Shown:
    """How a column is shown: its label, what it says, its axis, where collapse lies, and at which level it was measured."""

    label: str
    meaning: str = ""
    scale: str = "linear"
    towards: str | float | None = None
    level: str = "stage"

    @classmethod
    def of(cls, probe: Probe, column: str, goal: str | float | None) -> Shown:
        """As the probe says; a column of a probe with several has its own name as label."""
        label = probe.label if len(probe.columns) == 1 else column
        return cls(label, probe.meaning, probe.scale, goal, probe.level)


def look_of(column: str) -> Shown:
    """How a column of this name is shown: as the probe of that name says, else plainly."""
    if column in PROBES:
        probe = PROBES[column]
        return Shown.of(probe, column, None if callable(probe.towards) else probe.towards)
    return Shown(column)
