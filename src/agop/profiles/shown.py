"""How a column of a profile is shown: what tables, figures and pages need to know of the probe that measured it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from agop.probe import Probe
from agop.probes import PROBES

_ARROWS = {"lower": "collapse ↓", "higher": "collapse ↑"}


@dataclass(frozen=True)
class Shown:
    """How a column is shown: its label, what it says, its axis, where collapse lies, at which level it was measured, a short heading."""

    label: str
    meaning: str = ""
    scale: str = "linear"
    towards: str | float | None = None
    level: str = "stage"
    short: str = ""

    @property
    def heading(self) -> str:
        """A heading as short as there is one."""
        return self.short or self.label

    @property
    def arrow(self) -> str:
        """Where collapse lies, if that is a direction, as a word with an arrow."""
        return _ARROWS.get(self.towards, "") if isinstance(self.towards, str) else ""

    @property
    def goal(self) -> float | None:
        """Where collapse lies, if that is a number."""
        if isinstance(self.towards, float | int) and math.isfinite(self.towards):
            return float(self.towards)
        return None

    @classmethod
    def of(cls, probe: Probe, column: str, goal: str | float | None) -> Shown:
        """As the probe says; a column of a probe with several has its own name as label."""
        label, short = (probe.label, probe.short) if len(probe.columns) == 1 else (column, "")
        return cls(label, probe.meaning, probe.scale, goal, probe.level, short)

    @classmethod
    def read(cls, entry: Any) -> Shown:
        """From what `dataclasses.asdict` made of one and a file kept; it may be anybody's.

        Raises
        ------
        ValueError, KeyError, TypeError
            If it is none.
        """
        if not isinstance(entry, dict):
            raise TypeError("an entry that is no table")
        texts = [entry[name] for name in ("label", "meaning", "scale", "level")] + [entry.get("short", "")]
        if not all(isinstance(text, str) for text in texts):
            raise ValueError("texts that are none")
        label, meaning, scale, level, short = texts
        towards = entry["towards"]
        if towards is not None and not isinstance(towards, str | float | int):
            raise ValueError("a goal that is none")
        return cls(label, meaning, scale, towards, level, short)


def look_of(column: str) -> Shown:
    """How a column of this name is shown: as the probe of that name says, else plainly."""
    probe = PROBES.get(column)
    if isinstance(probe, Probe):
        return Shown.of(probe, column, None if callable(probe.towards) else probe.towards)
    return Shown(column)
