"""The verb of ConvRFM on a small file: its numbers, its directory, and that stopping it anywhere changes nothing."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pandas as pd
import pytest

from agop import ConvRFMClassifier, DeepConvRFMClassifier
from agop.datasets import load
from agop.experiments import run as runs
from agop.experiments.fitting import CHECKPOINT, MODEL
from agop.experiments.images import Images
from agop.experiments.listener import Listener
from agop.experiments.subjects.conv_rfm_config import IMAGE_KERNELS, PADDINGS, ConvRFMConfig
from agop.experiments.tables import read_table
from agop.report import RunRecord
from agop.report.page import render

run = partial(runs.run, "conv-rfm")
CASES = {
    "validation": {},
    "cross-fitted": {"choose": "cross-fitted", "iterations": 2},
    "last": {"choose": "last", "kernel": "patch-gaussian"},
    "deep": {"stages": 3, "width": 4, "iterations": 1},
}


@pytest.fixture
def file(tmp_path):
    rng = np.random.default_rng(0)
    y = np.arange(80) % 2
    x = rng.normal(size=(80, 8, 8, 3))
    for image, label in zip(x, y):
        row, column = rng.integers(6, size=2)
        image[row : row + 2, column : column + 2, 0] += 4 * label
    path = tmp_path / "small.npz"
    np.savez(path, x_train=x[:50], y_train=y[:50], x_test=x[50:], y_test=y[50:])
    return path


class Stopped(Listener):
    def __init__(self, after):
        self.after = after

    def stepped(self, done, total, entry):
        if done == self.after:
            raise KeyboardInterrupt

    def measuring(self):
        if self.after == "measuring":
            raise KeyboardInterrupt


def small(file, **options):
    return ConvRFMConfig(**{"data": str(file), "iterations": 2} | options)


def numbers(folder):
    """Everything the run found out; times are not numbers of the run."""
    tables = [
        pd.read_csv(folder / f"{name}.csv").drop(columns="seconds", errors="ignore").to_csv()
        for name in ("iterations", "layers", "profile")
    ]
    result = json.loads((folder / "result.json").read_text())
    del result["seconds"], result["facts"]["Time"], result["files"]
    patches = {name: array.tobytes() for name, array in np.load(folder / "patches.npz").items()}
    return [*tables, json.dumps(result), patches]


def test_the_run_is_the_estimator_on_pixels_divided_by_the_largest(file, tmp_path):
    assert run(small(file), tmp_path / "run")
    data = load(file)
    images = Images.of(data)
    largest = np.abs(np.load(file)["x_train"]).max()
    np.testing.assert_allclose(images.x, np.load(file)["x_train"].transpose(0, 3, 1, 2) / largest, rtol=1e-5)
    model = ConvRFMClassifier(depth=1, n_iter=2, validation=0.2, dtype="float32", random_state=0)
    model.fit(images.x, images.y)
    scores = read_table(tmp_path / "run" / "iterations.csv")
    assert list(scores["iteration"]) == [0, 1, 2]
    np.testing.assert_array_equal(scores["score"], [entry["validation_score"] for entry in model.history_])
    assert list(scores["predicts"]) == [i == model.best_iteration_ for i in range(3)]
    stored = ConvRFMClassifier.load(tmp_path / "run" / MODEL)
    np.testing.assert_array_equal(
        stored.decision_function(images.x_test), model.decision_function(images.x_test)
    )
    layers = read_table(tmp_path / "run" / "layers.csv")
    assert layers["test_accuracy"].iloc[0] == model.score(images.x_test, images.y_test)
    record = RunRecord.load(tmp_path / "run")
    assert f"test accuracy {model.score(images.x_test, images.y_test):.3f}" in record.headline
    assert set(record.patches.energies) == {f"iteration {model.best_iteration_}", "identity"}
    assert record.patches.images.shape == (6, 3, 8, 8)
    assert not run(small(file), tmp_path / "run")


@pytest.mark.parametrize("case", CASES)
def test_stopping_and_continuing_changes_nothing(file, tmp_path, case):
    config = small(file, **CASES[case])
    assert run(config, tmp_path / "whole")
    for after in (1, "measuring"):
        place = tmp_path / f"stopped {after}"
        with pytest.raises(KeyboardInterrupt):
            run(config, place, Stopped(after))
        there = len(list((place / CHECKPOINT).parent.glob("*"))) + (place / MODEL).exists()
        assert there or case == "cross-fitted"
        assert run(config, place)
        assert numbers(place) == numbers(tmp_path / "whole")
        assert not (place / CHECKPOINT).exists()


def test_a_deep_run_has_a_row_for_every_stage(file, tmp_path):
    assert run(small(file, **CASES["deep"]), tmp_path / "run")
    images = Images.of(load(file))
    model = DeepConvRFMClassifier.load(tmp_path / "run" / MODEL)
    scores = read_table(tmp_path / "run" / "iterations.csv")
    expected = [float(np.mean(labels == images.y_test)) for labels in model.staged_predict(images.x_test)]
    np.testing.assert_array_equal(scores["test_accuracy"], expected)
    assert list(scores["stage"]) == [1, 2, 3]
    assert scores["predicts"].sum() == 1
    profile = read_table(tmp_path / "run" / "profile.csv")
    assert set(profile["layer"]) == {1, 2, 3}
    assert profile["nc1"].notna().all()


def test_the_page_has_the_scores_the_filters_and_the_energy(file, tmp_path):
    run(small(file), tmp_path / "run")
    page = render([RunRecord.load(tmp_path / "run")])
    for words in ("By iteration", "Filters", "Where the model looks", "held-out accuracy"):
        assert words in page


def test_what_no_run_can_use_is_one_sentence_and_leaves_nothing(file, tmp_path):
    with pytest.raises(
        ValueError, match="choose: expected validation or last with stages, got 'cross-fitted'"
    ):
        run(small(file, stages=2, choose="cross-fitted"), tmp_path / "run")
    with pytest.raises(ValueError, match=r"X: expected images of at least 9x9 pixels for patch_size=9"):
        run(small(file, patch_size=9), tmp_path / "run")
    arrays = {"x_train": np.zeros((4, 5)), "y_train": np.arange(4) % 2}
    np.savez(tmp_path / "rows.npz", **arrays)
    with pytest.raises(
        ValueError, match=r"data: expected images, points of shape .*, got points of shape \(5,\); store them"
    ):
        run(small(tmp_path / "rows.npz"), tmp_path / "run")
    with pytest.raises(ValueError, match="patch_size"):
        small(file, patch_size=0)
    assert not (tmp_path / "run").exists()


def test_the_options_are_those_of_the_estimators():
    from agop.kernels.patch_named import patch_kernel_names
    from agop.kernels.patches import PADDINGS as KNOWN

    assert PADDINGS == KNOWN
    assert set(IMAGE_KERNELS) <= set(patch_kernel_names())


def test_data_without_test_points_is_shown_on_training_points(file, tmp_path):
    arrays = dict(np.load(file))
    np.savez(tmp_path / "train.npz", x_train=arrays["x_train"], y_train=arrays["y_train"])
    run(small(tmp_path / "train.npz"), tmp_path / "run")
    assert read_table(tmp_path / "run" / "layers.csv")["test_accuracy"].isna().all()
    assert "test accuracy" not in RunRecord.load(tmp_path / "run").headline
