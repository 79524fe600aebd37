"""The page on scaling shows what its model says."""

from __future__ import annotations

from pathlib import Path

from benchmarks._scaling_model import lines, tables

PAGE = Path(__file__).parent.parent / "docs" / "scaling.md"


def test_the_table_is_that_of_the_model():
    text = PAGE.read_text()
    for line in lines(tables()):
        assert line in text
