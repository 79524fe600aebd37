"""The study of redundant representations: its computing code against clones and independent units, and all of it at a tiny size."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from agop.experiments.studies import doimo2021, doimo2021_work, mlps
from agop.experiments.units import DataSource, Unit
from agop.probes.redundancy import redundancy
from tests.experiments.whole import check_whole, tiny_run

TINY = replace(
    doimo2021.AMOUNTS["smoke"], points=150, width=16, epochs=3, draws=2, layer_draws=2, members=2, early=1
)
CLAIMS = {claim.id: claim for claim in doimo2021.CLAIMS}


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_all_of_it_ends_in_verdicts_and_figures(tmp_path):
    out = tmp_path / "run"
    check_whole(doimo2021.STUDY, out, tiny_run(doimo2021.AMOUNTS, TINY, doimo2021.STUDY, out))


def test_units_torn_apart_keep_their_values_and_class_means_and_lose_their_clones():
    y = torch.arange(300) % 3
    rows = (normal(300, 2) + 3 * torch.nn.functional.one_hot(y, 3)[:, :2]).repeat(1, 4)
    torn = doimo2021_work.shuffled_within_classes(rows, y, torch.Generator().manual_seed(0))
    for label in range(3):
        old, new = rows[y == label], torn[y == label]
        assert torch.equal(old.sort(0).values, new.sort(0).values)
    assert torch.allclose(torch.corrcoef(rows[y == 0].T)[0, 2], torch.tensor(1.0, dtype=torch.float64))
    assert abs(float(torch.corrcoef(torn[y == 0].T)[0, 2])) < 0.3


def test_independent_units_are_at_the_floor():
    Z, y = normal(500, 32), torch.arange(500) % 4
    found = redundancy(Z, torch.eye(32, dtype=torch.float64)[:4], None, y, [4, 8], 10, class_means="remove")
    table = doimo2021_work.curve_of(found, 32)
    assert table["share"].tolist() == [0.125, 0.25]
    assert np.allclose(table["residual_correlation"] / table["floor"], 1, atol=0.1)
    assert doimo2021_work.floor_of(found, 8) == math.sqrt(2 / (math.pi * (500 - 4 - 8)))
    assert math.isnan(doimo2021_work.floor_of(found, 490))
    held = redundancy(Z, torch.eye(32, dtype=torch.float64)[:4], None, y, [4], 1, held_out=True)
    assert math.isnan(doimo2021_work.floor_of(held, 4))


def whole(**columns):
    return pd.DataFrame(
        {"seed": [0, 1], "units": 64, "train_error": 0.0, "critical_width_kept": [8.0, 16.0]} | columns
    )


def test_statistics_by_hand():
    assert CLAIMS["P1"].measure(whole()) == {0: 0.125, 1: 0.25}
    assert CLAIMS["P4"].measure(whole(), whole(critical_width_kept=32.0)) == {0: 0.25, 1: 0.5}
    early = whole(train_error=[0.1, 0.0], critical_width_kept=16.0)
    found = CLAIMS["P5"].measure(whole(), early)
    assert found[0] == 0.5
    assert math.isnan(found[1]), "the other network fits its training points, too"
    widths = np.array([2, 4, 8, 16, 32, 64])
    excess = pd.DataFrame({"seed": 0, "width": widths, "share": widths / 64, "excess": 0.3 * widths**-0.5})
    assert CLAIMS["P6"].measure(excess)[0] == pytest.approx(0, abs=1e-12)
    assert CLAIMS["P6"].measure(excess.assign(excess=1 / widths))[0] == pytest.approx(0.5)
    assert math.isnan(CLAIMS["P6"].measure(excess.assign(excess=0.0))[0])
    curve = pd.DataFrame(
        {"seed": 0, "share": [1 / 32, 1 / 16, 1 / 4], "residual_correlation": [0.6, 0.3, 0.1], "floor": 0.05}
    )
    assert CLAIMS["P3"].measure(curve)[0] == pytest.approx(1 / 6)
    assert CLAIMS["B3"].measure(curve)[0] == pytest.approx(2)
    layers = pd.DataFrame(
        {"seed": 0, "layer": [1, 2, 3], "stage": "output", "critical_width": [64.0, 16.0, 2.0]}
    )
    assert CLAIMS["B4"].measure(layers)[0] == 0.25


def test_points_are_centred_and_have_one_scale():
    points = mlps.points_of(Unit("network", "t", 0, DataSource("digits", "x", n_train=200)))
    assert points.x.dtype == torch.float32
    assert float(points.x.mean(0).abs().max()) < 1e-5
    assert float(points.x.square().mean()) == pytest.approx(1, abs=1e-4)
    assert points.n_classes == 10
    assert [len(part) for part in points.of("test")] == [len(points.x_test)] * 2


def test_points_that_cannot_be_used_are_refused_in_one_sentence(tmp_path):
    x, y = np.ones((20, 4)), np.arange(20) % 2
    for arrays, words in (
        ({"x_train": np.eye(20), "y_train": y}, "test points"),
        ({"x_train": x, "y_train": y, "x_test": x, "y_test": y}, "differ"),
    ):
        np.savez(tmp_path / "mine.npz", **arrays)
        with pytest.raises(ValueError, match=words):
            mlps.points_of(Unit("network", "t", 0, DataSource(str(tmp_path / "mine.npz"), "x")))
