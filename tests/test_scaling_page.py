"""The page on scaling shows what its model says."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import _nystrom_model, _scaling_model

PAGE = Path(__file__).parent.parent / "docs" / "scaling.md"


@pytest.mark.parametrize("model", [_scaling_model, _nystrom_model])
def test_the_table_is_that_of_the_model(model):
    text = PAGE.read_text()
    for line in model.lines(model.tables()):
        assert line in text


def test_a_pass_is_linear_in_rows_and_quadratic_in_centres():
    one = _nystrom_model.cost(10**6, 50, 4000, 1, 1)
    assert _nystrom_model.cost(4 * 10**6, 50, 4000, 1, 1).arithmetic == pytest.approx(4 * one.arithmetic)
    twice = _nystrom_model.cost(10**6, 50, 8000, 1, 1)
    assert twice.projection == 4 * one.projection
    assert twice.kernel == 2 * one.kernel
    shared = _nystrom_model.cost(10**6, 50, 4000, 1, 8)
    assert shared.arithmetic == pytest.approx(one.arithmetic / 8)
    assert (one.messages, shared.messages > 0) == (0, True)
    assert shared.memory == one.memory == _nystrom_model.cost(10**9, 50, 4000, 1, 8).memory
