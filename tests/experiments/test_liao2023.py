"""The study of diffusion spectral entropy: a tiny run of all of it, its statistics by hand, its networks, its closed form."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch

from agop.experiments.claims import FAILS, HOLDS
from agop.experiments.studies import liao2023 as study
from agop.experiments.studies import liao2023_work as work
from agop.experiments.tables import read_table
from tests.experiments.whole import check_whole, tiny_run
from tests.oracles import spectral_entropy as oracle
from tests.tolerances import IDENTITY

TINY = study.Amounts(
    points=60, rows=40, epochs=3, width=12, depth=2, channels=2, layers=2, features=16, depth_points=60
)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    out = tmp_path_factory.mktemp("liao") / "run"
    return out, tiny_run(study.AMOUNTS, TINY, study.STUDY, out)


@pytest.mark.slow
def test_everything_ends_in_a_verdict(done):
    entries = check_whole(study.STUDY, *done)
    assert not [name for name, entry in entries.items() if None in entry["values"].values()]
    for identity in ("B13", "B14", "B15"):
        assert entries[identity]["verdict"] == HOLDS
    for identity in ("N3", "N4", "N5"):
        assert entries[identity]["verdict"] == FAILS


def test_rescaled_networks_are_the_same_function_and_keep_what_follows_the_scale(done):
    out, _ = done
    table = read_table(next(out.glob("tables/liao2023/digits/networks-mlp-scales.csv")))
    assert table["moved"].max() < 1e-5
    for column in ("dse_rms", "dse_median", "dsmi_rms"):
        assert np.ptp(table[column]) < 1e-4
    assert np.ptp(table["dse"]) > 1


def test_training_with_true_labels_knows_no_others(done):
    out, _ = done
    table = read_table(next(out.glob("tables/liao2023/digits/networks-mlp-curves.csv")))
    train = table[table["points"] == "train"]
    true = train[train["labels"] == study.TRUE]
    assert (
        true["dsmi_given"].isna().all()
    )  # there are no others: what true labels say is measured on held-out points
    assert true[["nc1", "dse", "dse_rms"]].notna().all(axis=None)
    other = train[train["labels"] == study.SHUFFLED]
    assert other["dsmi_given"].notna().all()
    assert (other["nc1_given"] != other["nc1"]).any()
    first = table[(table["epoch"] == 0) & (table["points"] == "held out")]
    assert first.groupby("points")["dse"].nunique().eq(1).all()  # the same network before training
    squared = read_table(next(out.glob("tables/liao2023/digits/networks-mlp-mse-curves.csv")))
    assert set(squared["labels"]) == {study.TRUE}


CURVES = pd.DataFrame(
    {
        "seed": 0, "labels": [study.TRUE] * 5 + [study.SHUFFLED] * 2, "points": ["held out"] * 2 + ["train"] * 3 + ["held out"] * 2,
        "epoch": [0, 8, 0, 2, 8, 0, 8], "dse": [1.0, 3.0, 2.0, 5.0, 4.0, 1.0, 1.5], "classes": 8,
    }
)  # fmt: skip


@pytest.mark.parametrize(
    ("statistic", "value"),
    [
        (study.rise("dse"), 2.0),
        (study.rise("dse", study.SHUFFLED), 0.5),
        (study.rise_of_true_labels("dse"), 1.5),
        (study.early_rise("dse", study.TRUE), 0.0),
        (study.fall_from_peak("dse"), 1.0),
        (study.at_end("dse"), 4.0),
        (study.distance_at_end("dse", labels=study.TRUE, points="train"), 1.0),
        (study.spread("dse", "epoch"), 8.0),
    ],
)
def test_statistics_by_hand(statistic, value):
    assert statistic(CURVES) == {0: pytest.approx(value)}


@pytest.mark.parametrize("k", [2, 7])
@pytest.mark.parametrize("q", [0.0, 0.3, 1.0])
def test_closed_form_is_that_of_the_walk_on_classes(k, q):
    walk = (1 - q) * np.eye(k) + q
    values = np.linalg.eigvalsh(walk / walk.sum(0))
    shares = values[values > 1e-12] / values.sum()
    assert work.equidistant_entropy(k, q) == pytest.approx(-(shares * np.log2(shares)).sum(), abs=IDENTITY)
    if q < 1:
        assert work.equidistant_entropy(k, q) == pytest.approx(
            oracle.entropy_of_equidistant_classes(k, q), abs=IDENTITY
        )


def test_the_small_cnn_is_seeded_and_takes_images():
    x = torch.rand(3, 1, 8, 8)
    nets = [
        work.small_cnn((1, 8, 8), 10, channels=2, width=6, depth=1, init_gain=1.0, seed=s) for s in (0, 0, 1)
    ]
    first, again, other = (net(x) for net in nets)
    assert first.shape == (3, 10)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("epochs", [1, 2, 5, 80])
def test_checkpoints_end_with_the_last_epoch(epochs):
    found = work.checkpoints(epochs)
    assert found == sorted(set(found))
    assert (found[0], found[-1]) == (1, epochs)
    assert len(found) <= 2 * math.log2(epochs) + 3
