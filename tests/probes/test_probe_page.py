"""The page of the measures says what the registry says."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

from agop.probes import DEFAULTS, PROBES

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "measures.md").read_text(encoding="utf-8")


def test_the_page_as_it_is_built_has_a_row_for_every_probe():
    spec = importlib.util.spec_from_file_location("probe_table", DOCS / "probe_table.py")
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    assert '"probe_table",' in (DOCS / "conf.py").read_text(encoding="utf-8")
    source = [PAGE]
    made.fill(None, "measures", source)
    assert made.PLACE in PAGE
    assert made.PLACE not in source[0]
    rows = re.findall(r"^\| `(\w+)` \|[^`]*\| (stage|layer|subject) \|", source[0], re.MULTILINE)
    assert rows == [(name, PROBES[name].level) for name in PROBES.own]
    assert {line.replace(r"\|", "").count("|") for line in made.table().splitlines()} == {8}


def test_the_table_of_calls_has_every_measure_of_features_with_its_range():
    for name in DEFAULTS["features"]:
        (line,) = re.findall(rf"^\| `{name}` \| `.*$", PAGE, re.MULTILINE)
        assert f"| {PROBES[name].range} |" in line
