"""All of a study at a tiny size: run it, and check that it ends in verdicts and figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agop.experiments.claims import FAILS, HOLDS, OPEN
from agop.experiments.reproduce import Reproduction, Request, reproduce
from agop.experiments.study import Study
from agop.experiments.tables import read_table, table_file
from agop.report.drawing import plates


def tiny_run(amounts: dict[str, Any], tiny: Any, study: Study, out: Path) -> Reproduction:
    """The study's size smoke with other amounts, one seed, in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(amounts, "smoke", tiny)
        return reproduce(Request(studies=(study.name,), seeds=(0,), jobs=1), out)


def check_whole(study: Study, out: Path, result: Reproduction) -> dict[str, dict[str, Any]]:
    """Every unit is done, every claim has a verdict, every figure of curves can be drawn; the verdicts by claim."""
    assert {outcome.status for outcome in result.outcomes} == {"done"}
    entries = {entry["id"]: entry for entry in json.loads((out / "verdicts.json").read_text())["verdicts"]}
    assert set(entries) == {claim.id for claim in study.claims_of("smoke")}
    assert {entry["verdict"] for entry in entries.values()} <= {HOLDS, FAILS, OPEN}
    for drawing in (drawing for drawing in study.drawings_of("smoke") if drawing.kind == "series"):
        drawn = 0
        for label in [path.name for path in (out / "tables" / study.name).iterdir()]:
            files = {name: out / table_file(study.name, label, name) for name in drawing.tables}
            if all(file.exists() for file in files.values()):
                tables = {name: read_table(file) for name, file in files.items()}
                drawn += len(list(plates(drawing, tables, lambda table, file: {}, label)))
        assert drawn, drawing.stem
    return entries
