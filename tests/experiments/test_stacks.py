from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from agop.datasets import load
from agop.experiments.runner import run_unit
from agop.experiments.studies.beaglehole2024 import STUDY
from agop.experiments.studies.beaglehole2024.stacks import with_imbalance, with_noise
from agop.experiments.units import DataSource, Unit


@pytest.fixture(scope="module")
def digits():
    return load("digits", n_train=500, subset="random", seed=0)


def test_noise_changes_exactly_its_share_to_other_classes(digits):
    before = digits.y_train.copy()
    noisy = with_noise(digits, 0.2, seed=1)
    assert int((noisy.y_train != before).sum()) == 100
    assert set(np.unique(noisy.y_train)) <= set(np.unique(before))
    assert np.array_equal(digits.y_train, before)
    assert np.array_equal(with_noise(digits, 0.2, seed=1).y_train, noisy.y_train)
    assert not np.array_equal(with_noise(digits, 0.2, seed=2).y_train, noisy.y_train)
    assert with_noise(digits, None, seed=1) is digits


def test_imbalance_is_geometric(digits):
    thinned = with_imbalance(digits, 0.1)
    counts = np.bincount(thinned.y_train)
    assert (np.diff(counts) <= 0).all()
    assert counts[-1] / counts[0] == pytest.approx(0.1, abs=0.03)
    assert counts.min() >= 2
    rows = {row.tobytes(): label for row, label in zip(digits.x_train, digits.y_train)}
    assert all(rows[row.tobytes()] == label for row, label in zip(thinned.x_train, thinned.y_train))
    assert with_imbalance(digits, None) is digits


def test_a_unit_of_label_noise_measures_both_kinds_of_labels(tmp_path):
    source = DataSource("digits", "f", n_train=120)
    options = {"layers": 3, "width": 32, "noise": 0.2, "permuted": True}
    unit = Unit("deep-rfm", "deep-rfm/noise", 0, source, options, work=STUDY.work["deep-rfm"])
    outcome = run_unit(unit, str(tmp_path))
    assert outcome.status == "done"
    folder = tmp_path / outcome.unit.folder
    table = pd.read_csv(folder / "profile.csv")
    assert set(table["points"]) == {"train", "test"}
    train = table[(table["points"] == "train") & (table["stage"] == "projected")]
    given, true, permuted = (train[name].to_numpy() for name in ("nc1", "nc1_true", "nc1_permuted"))
    assert given[-1] < 0.75 * given[0]
    assert given[-1] / given[0] < true[-1] / true[0]
    assert permuted[-1] > 5
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.json", "gram.npz", "layers.csv", "profile.csv", "result.json",
    ]  # fmt: skip
