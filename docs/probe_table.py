"""The table of every probe for the page of measures, made from the registry when the pages are built."""

from __future__ import annotations

from typing import Any

from agop.probe import Probe
from agop.probes import PROBES

PLACE = "<!-- the table of every probe -->"
"""Where the table goes; a line of a page."""

_HEADINGS = ("name", "label", "level", "needs", "axis", "collapse", "what it says")
_DIRECTIONS = {"lower": "→ lower", "higher": "→ higher", None: ""}


def table() -> str:
    """The probes of the package in Markdown, a row a probe."""
    rows = [_HEADINGS, ("---",) * len(_HEADINGS), *(_cells(name, PROBES[name]) for name in PROBES.own)]
    return "\n".join("| " + " | ".join(cell.replace("|", r"\|") for cell in row) + " |" for row in rows)


def _cells(name: str, probe: Probe) -> tuple[str, ...]:
    needs = ", ".join(sorted({need.kind for need in probe.needed}))
    return (f"`{name}`", probe.label, probe.level, needs, probe.scale, _goal(probe), probe.meaning)


def _goal(probe: Probe) -> str:
    if callable(probe.towards):
        return "→ a number of the data"
    return _DIRECTIONS.get(probe.towards, f"→ {probe.towards}")


def fill(app: Any, page: str, source: list[str]) -> None:
    """Put the table into a page that Sphinx has read."""
    source[0] = source[0].replace(PLACE, table())


def setup(app: Any) -> dict[str, bool]:
    """As an extension of Sphinx."""
    app.connect("source-read", fill)
    return {"parallel_read_safe": True}
