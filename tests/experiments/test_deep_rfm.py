"""The main job on a small file: its numbers, its directory, and that stopping it anywhere changes nothing."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pandas as pd
import pytest

from agop.datasets import Standardiser, load
from agop.experiments import run as runs
from agop.experiments.fitting import CHECKPOINT, MODEL
from agop.experiments.listener import Listener
from agop.experiments.subjects.deep_rfm_config import DeepRFMConfig
from agop.experiments.tables import read_table
from agop.machines.deep_rfm import DeepRFMClassifier
from agop.profiles.profile import profile
from tests.sentences import one_sentence

run = partial(runs.run, "deep-rfm")
NUMBERS = ("profile.csv", "gram.npz", "standardisation.npz")


@pytest.fixture
def file(tmp_path):
    rng = np.random.default_rng(0)
    y = np.arange(90) % 3
    x = rng.normal(size=(90, 2, 4)) + 1.5 * np.eye(3)[y][:, :, None].repeat(4, axis=2)[:, :2]
    x[:, 0, 0] = 7.0  # a constant feature
    path = tmp_path / "small.npz"
    np.savez(path, x_train=x[:60], y_train=y[:60], x_test=x[60:], y_test=y[60:])
    return path


def small(file, **options):
    return DeepRFMConfig(**{"data": str(file), "layers": 4, "width": 24} | options)


class Log(Listener):
    def __init__(self, stop_after=None):
        self.heard, self._stop_after = [], stop_after

    def planned(self, data, text):
        self.heard.append(("planned", text))

    def started(self, done, total, step):
        self.heard.append(("started", done, total))
        assert step == "layer"

    def stepped(self, done, total, entry):
        self.heard.append(("layer", done, total))
        if done == self._stop_after:
            raise KeyboardInterrupt

    def measuring(self):
        self.heard.append(("measuring",))
        if self._stop_after == "measuring":
            raise KeyboardInterrupt


def numbers(folder):
    """Everything the run found out, as bytes; times are not numbers of the run."""
    layers = pd.read_csv(folder / "layers.csv").drop(columns="seconds").to_csv()
    result = json.loads((folder / "result.json").read_text())
    del result["seconds"], result["facts"]["Time"], result["files"]
    return [(folder / name).read_bytes() for name in NUMBERS] + [layers, json.dumps(result)]


def test_the_run_is_the_estimator_on_standardised_points(file, tmp_path):
    log = Log()
    assert run(small(file), tmp_path / "run", log)
    assert log.heard[0][0] == "planned"
    assert "KiB" in log.heard[0][1] or "MiB" in log.heard[0][1]
    assert log.heard[1:] == [("started", 0, 4), *(("layer", n, 4) for n in (1, 2, 3, 4)), ("measuring",)]

    data = load(file)
    scaler = Standardiser.of(data.x_train)
    x = scaler(data.x_train)
    model = DeepRFMClassifier(n_layers=4, width=24, dtype="float32", random_state=0).fit(x, data.y_train)
    expected = profile(model, x, data.y_train).to_frame()
    found = read_table(tmp_path / "run" / "profile.csv")
    pd.testing.assert_frame_equal(found, expected, check_dtype=False, check_exact=True)
    layers = read_table(tmp_path / "run" / "layers.csv")
    accuracy = [np.mean(y == data.y_test) for y in model.staged_predict(scaler(data.x_test))]
    assert layers["test_accuracy"].tolist() == accuracy
    assert layers["train_accuracy"].iloc[-1] == model.score(x, data.y_train)
    stored = DeepRFMClassifier.load(tmp_path / "run" / MODEL)
    np.testing.assert_array_equal(stored.predict(x), model.predict(x))
    with np.load(tmp_path / "run" / "standardisation.npz") as arrays:
        np.testing.assert_array_equal(Standardiser(**arrays)(data.x_test), scaler(data.x_test))


def test_result_and_notes(file, tmp_path):
    run(small(file), tmp_path / "run")
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["headline"].startswith("NC1 of the projected stage")
    assert "1 feature is constant over the training points: set to 0." in result["notes"]
    assert not (tmp_path / "run" / CHECKPOINT.parent).exists()
    with np.load(tmp_path / "run" / "gram.npz", allow_pickle=False) as gram:
        assert gram["4/projected"].shape == (60, 60)
        assert sorted(gram["labels"]) == gram["labels"].tolist()


def test_a_finished_run_is_not_run_again(file, tmp_path):
    assert run(small(file), tmp_path / "run")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")}
    log = Log()
    assert not run(small(file), tmp_path / "run", log)
    assert not log.heard
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")}


@pytest.mark.parametrize("stop_after", [1, 3, 4, "measuring"])
def test_a_stopped_run_continues_to_the_same_bytes(file, tmp_path, stop_after):
    run(small(file), tmp_path / "undisturbed")
    with pytest.raises(KeyboardInterrupt):
        run(small(file), tmp_path / "stopped", Log(stop_after))
    log = Log()
    assert run(small(file), tmp_path / "stopped", log)
    done = {1: 1, 3: 3, 4: 3, "measuring": 4}[stop_after]  # the last layer counts once the model is complete
    assert log.heard[1] == ("started", done, 4)
    assert [entry[1] for entry in log.heard if entry[0] == "layer"] == list(range(done + 1, 5))
    assert numbers(tmp_path / "stopped") == numbers(tmp_path / "undisturbed")


@pytest.mark.parametrize(
    "option", [{"layers": 5}, {"seed": 1}, {"ridge": 1.0}, {"dtype": "float64"}, {"n_train": 50}]
)
def test_another_configuration_in_the_same_directory_is_an_error(file, tmp_path, option):
    run(small(file), tmp_path / "run")
    with pytest.raises(ValueError, match=next(iter(option))):
        run(small(file, **option), tmp_path / "run")


def test_a_run_continued_under_other_versions_says_so(file, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(small(file), tmp_path / "run", Log(1))
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    config["versions"]["torch"] = "1.0"
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    run(small(file), tmp_path / "run")
    notes = json.loads((tmp_path / "run" / "result.json").read_text())["notes"]
    assert "torch 1.0 →" in notes[0]


def test_other_data_under_the_same_name_is_an_error(file, tmp_path):
    run(small(file), tmp_path / "run")
    with np.load(file) as arrays:
        changed = dict(arrays) | {"x_test": arrays["x_test"] + 1}
    np.savez(file, **changed)
    with pytest.raises(ValueError, match="other data"):
        run(small(file), tmp_path / "run")


def test_without_test_points_the_test_accuracy_is_empty(file, tmp_path):
    with np.load(file) as arrays:
        np.savez(tmp_path / "train.npz", x_train=arrays["x_train"], y_train=arrays["y_train"])
    run(small(tmp_path / "train.npz"), tmp_path / "run")
    layers = pd.read_csv(tmp_path / "run" / "layers.csv")
    assert layers["test_accuracy"].isna().all()
    assert "training accuracy" in json.loads((tmp_path / "run" / "result.json").read_text())["headline"]


def test_too_little_memory_is_told_before_the_first_layer(file, tmp_path):
    log = Log()
    with pytest.raises((MemoryError, ValueError), match="max_memory"):
        run(small(file, max_memory="1KB"), tmp_path / "run", log)
    assert not [entry for entry in log.heard if entry[0] == "layer"]
    assert run(small(file), tmp_path / "run")  # and the directory is good for a second try


def test_a_damaged_checkpoint_is_one_sentence(file, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(small(file), tmp_path / "run", Log(2))
    path = tmp_path / "run" / CHECKPOINT
    path.write_bytes(path.read_bytes()[:-50])
    with one_sentence(ValueError) as caught:
        run(small(file), tmp_path / "run")
    assert str(path) in str(caught.value)
    path.unlink()  # as the sentence says
    assert run(small(file), tmp_path / "run")
