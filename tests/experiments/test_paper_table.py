"""The page of reproduced papers says what the studies and the stored runs say."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from agop.experiments.studies import STUDIES

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def made():
    spec = importlib.util.spec_from_file_location("paper_table", DOCS / "paper_table.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_study_has_a_row_and_a_page(made):
    page = (DOCS / "papers.md").read_text(encoding="utf-8")
    source = [page]
    made.fill(None, "papers", source)
    assert made.PLACE in page
    assert made.PLACE not in source[0]
    rows = made.table().splitlines()[2:]
    assert len(rows) == len(STUDIES.own)
    for name, row in zip(STUDIES.own, rows, strict=True):
        assert row.startswith(f"| [{name}](")
        assert f"`agop reproduce {name} --preset smoke`" in row
        assert row.count(" | ") == 6
    assert '"paper_table",' in (DOCS / "conf.py").read_text(encoding="utf-8")


def test_stored_verdicts_are_those_of_claims_that_exist(made):
    for path in made.RESULTS.glob("*.json"):
        study, _, size = path.stem.rpartition("-")
        known = {claim.id: claim for claim in STUDIES[study].claims_of(size)}
        for entry in json.loads(path.read_text(encoding="utf-8"))["verdicts"]:
            claim = known[entry["id"]]
            assert (entry["relation"], entry["threshold"]) == (claim.relation, claim.threshold), (
                path.name,
                entry["id"],
            )


def test_a_run_is_stored_without_its_paths(made, tmp_path, monkeypatch):
    monkeypatch.setattr(made, "RESULTS", tmp_path)
    claim = {
        "study": "mine", "id": "P1", "group": "paper", "name": "it falls", "data": "digits", "relation": "<=", "threshold": 0.5,
        "mean": 0.7, "std": 0.1, "verdict": "does not hold", "expected": "holds", "files": ["a"],
    }  # fmt: skip
    run = tmp_path / "run"
    run.mkdir()
    (run / "verdicts.json").write_text(json.dumps({"verdicts": [claim]}))
    (run / "result.json").write_text(
        json.dumps({"facts": {"Preset": "smoke", "Data": "digits", "Seeds": "0"}, "seconds": 3.4})
    )
    (path,) = made.store(run)
    stored = json.loads(path.read_text())
    assert (path.name, stored["seconds"]) == ("mine-smoke.json", 3)
    assert "files" not in stored["verdicts"][0]
    assert made._told(stored) == "**1 does not hold**: it falls (0.7, asked ≤ 0.5); 0 of 0 controls negative"
