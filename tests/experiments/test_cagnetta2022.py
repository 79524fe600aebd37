"""The study of wide convolutional kernels: its networks, its statistics, and all of it at a tiny size."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from agop.experiments.studies import cagnetta2022
from agop.experiments.studies.cagnetta2022_work import TreeNetwork, fit_at_scale
from tests.experiments.whole import check_whole, tiny_run

TINY = replace(
    cagnetta2022.AMOUNTS["smoke"], sizes=(16, 32, 64), test=64, draws=3, points=32, width=16, steps=60
)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    out = tmp_path_factory.mktemp("cagnetta2022") / "run"
    return out, tiny_run(cagnetta2022.AMOUNTS, TINY, cagnetta2022.STUDY, out)


def test_all_of_it_ends_in_verdicts_and_figures(done):
    entries = check_whole(cagnetta2022.STUDY, *done)
    assert entries["N6"]["mean"] == pytest.approx(1, abs=0.1)


def test_slopes_are_exponents():
    n = np.array([10, 100, 1000])
    rows = pd.concat(
        pd.DataFrame({"seed": 0, "teacher": name, "n": n, "error": 3.0 * n**-b})
        for name, b in (("one layer", 1.0), ("two layers", 0.4), ("three layers", 0.2), ("noise", 0.0))
    )
    found = cagnetta2022.slopes(rows)
    assert found == pytest.approx({"one layer": 1.0, "two layers": 0.4, "three layers": 0.2, "noise": 0.0})
    claims = {claim.id: claim for claim in cagnetta2022.STUDY.claims_of("smoke")}
    assert claims["P1"].measure(rows)[0] == pytest.approx(0.6)
    assert claims["P3"].measure(rows)[0] == pytest.approx(0.1)
    assert [cagnetta2022.counted_exponent(d) for d in (1, 2, 4)] == [5 / 8, 5 / 12, 1 / 4]
    assert claims["B4"].measure(rows)[0] == pytest.approx(0.375)
    assert claims["P5"].measure(rows, rows.assign(error=2 * rows["error"]))[0] == pytest.approx(0.5)


def test_the_larger_the_scale_the_less_weights_move():
    x = torch.randn(20, 8, generator=torch.Generator().manual_seed(0))
    signs = torch.where(x[:, 0] > 0, 1.0, -1.0)
    moves = []
    for scale in (1.0, 30.0, 300.0):
        model = TreeNetwork(4, 2, 32, torch.Generator().manual_seed(0))
        before = [value.detach().clone() for value in model.parameters()]
        values = fit_at_scale(model, x, signs, scale, 100)
        assert float(((values > 0) == (signs > 0)).double().mean()) > 0.9
        moves.append(
            float(
                torch.stack([(a - b).norm() for a, b in zip(model.parameters(), before, strict=True)]).norm()
            )
        )
    assert moves[1] / moves[2] == pytest.approx(10, rel=0.05)  # Δθ is of order 1/α
    assert moves[0] > 5 * moves[1]
