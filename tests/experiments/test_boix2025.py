"""The study of features at convergence: its statistics, and all of it at a tiny size."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest

from agop.experiments.studies import boix2025
from tests.experiments.whole import check_whole, tiny_run

TINY = replace(boix2025.AMOUNTS["smoke"], points=40, width=8, depth=1, epochs=4, every=2, rows=30)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    out = tmp_path_factory.mktemp("boix2025") / "run"
    return out, tiny_run(boix2025.AMOUNTS, TINY, boix2025.STUDY, out)


def test_all_of_it_ends_in_verdicts_and_figures(done):
    check_whole(boix2025.STUDY, *done)


def test_statistics_compare_the_first_epoch_that_is_right_with_the_last():
    rows = [(0, 0.5, 9.0, 0.1), (50, 1.0, 2.0, 0.6), (100, 1.0, 0.5, 0.9)]
    path = pd.DataFrame(
        [
            {"seed": 0, "epoch": e, "layer": k, "train_accuracy": a, "fact": f / k, "nfa": n, "fact_correlation": n + 0.05}
            for e, a, f, n in rows
            for k in (1, 2)
        ]
    )  # fmt: skip
    claims = {claim.id: claim for claim in boix2025.STUDY.claims_of("smoke")}
    assert claims["P1"].measure(path) == {0: 0.5}
    assert claims["P2"].measure(path) == {0: 0.25}
    assert claims["P3"].measure(path) == {0: pytest.approx(0.05)}
    assert claims["B1"].measure(path) == {0: pytest.approx(2 / 3)}
    errors = pd.DataFrame(
        {"seed": [0], "none": [0.3], "agop": [0.2], "fact": [0.25], "fact-geometric": [0.18]}
    )
    assert claims["P4"].measure(errors) == {0: pytest.approx(0.9)}
    assert claims["N5"].measure(errors) == {0: pytest.approx(1.5)}
