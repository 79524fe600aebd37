"""The study of the prior over functions: its targets, its statistics, and all of it at a tiny size."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest
import torch

from agop import lz_complexity
from agop.experiments.studies import mingard2023
from agop.experiments.studies.mingard2023_work import target_of
from tests.experiments.whole import check_whole, tiny_run

TINY = replace(
    mingard2023.AMOUNTS["smoke"], draws=60, members=2, profiled=1, steps=400, width=16, depth=2, lr=0.01
)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    out = tmp_path_factory.mktemp("mingard2023") / "run"
    return out, tiny_run(mingard2023.AMOUNTS, TINY, mingard2023.STUDY, out)


def test_all_of_it_ends_in_verdicts_and_figures(done):
    check_whole(mingard2023.STUDY, *done)


def test_targets_are_those_of_the_paper():
    for ones, complexity in ((2, 35.0), (10, 70.0), (21, 101.5)):
        assert float(lz_complexity(target_of(ones, 7))) == complexity
    assert 40 < int(target_of(None, 7).sum()) < 90
    assert torch.equal(target_of(None, 7), target_of(None, 7))


def test_statistics_read_the_right_lines():
    errors = pd.DataFrame(
        {"seed": 0, "target": ["2 ones", "10 ones", "21 ones", "random"], "complexity": [35, 70, 100, 150],
         "error": [0.1, 0.2, 0.25, 0.5]}
    )  # fmt: skip
    prior = pd.DataFrame(
        {"seed": 0, "target": ["2 ones", "10 ones", "21 ones", "random"], "predicted": [0.1, 0.1, 0.3, 0.9]}
    )
    claims = {claim.id: claim for claim in mingard2023.STUDY.claims_of("smoke")}
    assert claims["P2"].measure(errors) == {0: 0.2}
    assert claims["P3"].measure(errors)[0] == pytest.approx(0.05)
    assert claims["P5"].measure(errors, prior)[0] == pytest.approx(0.1)
    assert claims["P4"].measure(errors.assign(error=0.5), errors)[0] == pytest.approx(0.4)
