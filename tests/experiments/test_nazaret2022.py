"""The study of networks of unbounded depth: its statistics, and all of it at a tiny size."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest

from agop.experiments.studies import nazaret2022
from tests.experiments.whole import check_whole, tiny_run

TINY = replace(nazaret2022.AMOUNTS["smoke"], points=40, epochs=12, batch_size=40, every=4, width=6)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    out = tmp_path_factory.mktemp("nazaret2022") / "run"
    return out, tiny_run(nazaret2022.AMOUNTS, TINY, nazaret2022.STUDY, out)


def test_all_of_it_ends_in_verdicts_and_figures(done):
    check_whole(nazaret2022.STUDY, *done)


def test_statistics_read_the_right_lines():
    depth = pd.DataFrame({"seed": [0, 1], "expected": [2.2, 3.0]})
    layers = pd.DataFrame(
        {"seed": [0] * 4 + [1] * 2, "layer": [1, 2, 3, 4, 1, 2], "nc1": [5, 2, 0.5, 0.4, 3, 2], "nc3": [1, 0.5, 0.2, 0.1, 1, 1]}
    )  # fmt: skip
    claims = {claim.id: claim for claim in nazaret2022.STUDY.claims_of("smoke")}
    assert claims["P1"].measure(depth, depth.assign(expected=1.0)) == {0: pytest.approx(1.2), 1: 2.0}
    found = claims["B1"].measure(depth, layers)
    assert found[0] == pytest.approx(0.8)
    assert found[1] != found[1]
    assert claims["B2"].measure(depth, layers)[0] == pytest.approx(0.2)
    assert claims["B3"].measure(depth, layers) == {0: pytest.approx(0.5), 1: 1.0}
