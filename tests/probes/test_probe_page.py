"""The page of the measures says what the registry says."""

from __future__ import annotations

import re
from pathlib import Path

from agop.probes import PROBES

PAGE = Path(__file__).parents[2] / "docs" / "measures.md"
DIRECTIONS = {"lower": "→ lower", "higher": "→ higher", None: ""}


def rows():
    """The table of every probe, a line a probe."""
    return [_row(name, PROBES[name]) for name in PROBES.own]


def _row(name, probe):
    towards = probe.towards
    goal = "of the data" if callable(towards) else DIRECTIONS.get(towards, f"→ {towards}")
    needs = ", ".join(sorted({need.kind for need in probe.needed}))
    cells = [f"`{name}`", probe.label, probe.level, needs, probe.scale, goal, probe.meaning]
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def test_the_page_has_the_table_of_the_registry():
    assert "\n".join(rows()) in PAGE.read_text(encoding="utf-8")


def test_the_table_of_calls_has_every_measure_of_classes_with_its_range():
    text = PAGE.read_text(encoding="utf-8")
    named = [name for name, line in PROBES.lines.items() if "probes.classes" in line] or list(PROBES.own)
    for name in named:
        (line,) = re.findall(rf"^\| `{name}` \| `.*$", text, re.MULTILINE)
        assert f"| {PROBES[name].range} |" in line
