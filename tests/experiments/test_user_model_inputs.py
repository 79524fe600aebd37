"""`agop profile` gives a model its inputs as they are, or scaled as its training scaled them; it tells how well the model answers."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from agop._csv import read_csv
from agop.datasets import Standardiser
from agop.experiments.input_statistics import read_statistics
from agop.experiments.run import run
from agop.experiments.subjects.user_model import UserModelTask
from agop.experiments.subjects.user_model_config import ProfileConfig
from tests.experiments import own_models
from tests.sentences import one_sentence


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    rng, y = np.random.default_rng(0), np.arange(60) % 3
    x = rng.random((60, 3, 4, 5)) * np.array([1.0, 10.0, 100.0])[:, None, None] + y[:, None, None, None]
    path = tmp_path_factory.mktemp("data") / "images.npz"
    np.savez(path, x_train=x, y_train=y)
    return path


def config(file, **options):
    return ProfileConfig(data=str(file), model="tests.experiments.own_models:images", **options)


def seen(file, **options):
    """What the model gets."""
    task = UserModelTask(config(file, untrained=False, nfa=False, **options))
    got = []
    task.model.register_forward_pre_hook(lambda module, args: got.append(args[0]))
    findings = task.findings(task.do(None, own_models.quiet()), None)
    return torch.cat(got[: len(got)]), findings


def test_the_model_gets_the_points_as_they_are_unless_told(file):
    x = np.load(file)["x_train"]
    given, findings = seen(file)
    assert torch.equal(given, torch.from_numpy(x.astype(np.float32)))
    assert "as they are" in findings.facts["Points"]
    given, findings = seen(file, standardise=True)
    flat = x.reshape(60, -1)
    expected = ((flat - flat.mean(0)) / flat.std(0)).astype(np.float32).reshape(x.shape)
    np.testing.assert_allclose(given, expected, rtol=1e-6, atol=1e-6)
    assert "standardised with the training points" in findings.facts["Points"]


@pytest.mark.parametrize("suffix", ["npz", "json"])
def test_statistics_of_a_training_by_channel_or_by_feature(file, tmp_path, suffix):
    x = np.load(file)["x_train"]
    mean, std = [0.5, 5.0, 50.0], [0.3, 3.0, 30.0]
    path = tmp_path / f"s.{suffix}"
    if suffix == "npz":
        np.savez(path, mean=mean, std=std)
    else:
        path.write_text(json.dumps({"image_mean": mean, "image_std": std}))
    given, findings = seen(file, statistics=str(path))
    by_channel = ((x - np.array(mean)[:, None, None]) / np.array(std)[:, None, None]).astype(np.float32)
    np.testing.assert_allclose(given, by_channel, rtol=1e-6)
    assert str(path) in findings.facts["Points"]


def test_statistics_of_last_channels_and_of_a_run_of_agop(tmp_path):
    path = tmp_path / "s.npz"
    np.savez(path, mean=[1.0, 2.0, 3.0], scale=[1.0, 2.0, 4.0])
    scaler = read_statistics(str(path), (4, 5, 3))
    assert scaler.mean.reshape(4, 5, 3)[2, 1].tolist() == [1, 2, 3]
    own = Standardiser.of(np.random.default_rng(0).normal(size=(9, 6)))
    np.savez(path, **own.arrays())
    np.testing.assert_array_equal(read_statistics(str(path), (6,)).scale, own.scale)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"mean": [0.0]}, "it has no scale"), ({"mean": [0.0], "scale": [0.0]}, "not above 0"),
        ({"mean": [0.0, 1.0], "scale": [1.0, 1.0]}, "2 in"), ({"mean": ["a"], "scale": [1.0]}, "could not convert"),
        ([1], "no JSON object"),
    ],
)  # fmt: skip
def test_statistics_that_are_none_are_one_sentence(tmp_path, content, words):
    path = tmp_path / "s.json"
    path.write_text(json.dumps(content))
    with one_sentence(ValueError, match=words):
        read_statistics(str(path), (3, 4, 5))
    with pytest.raises(ValueError, match="No such file"):
        read_statistics(str(tmp_path / "missing.npz"), (3,))


def test_a_model_in_double_precision_gets_every_digit(tmp_path):
    x = np.random.default_rng(0).normal(size=(12, 4))
    np.savez(tmp_path / "d.npz", x_train=x, y_train=np.arange(12) % 2)
    task = UserModelTask(
        ProfileConfig(
            data=str(tmp_path / "d.npz"),
            model="tests.experiments.own_models:double",
            nfa=False,
            untrained=False,
        )
    )
    got = []
    task.model.register_forward_pre_hook(lambda module, args: got.append(args[0]))
    task.do(None, own_models.quiet())
    np.testing.assert_array_equal(torch.cat(got), x)


def test_tokens_stay_integers(tmp_path):
    x = np.random.default_rng(0).integers(0, 9, size=(12, 5))
    np.savez(tmp_path / "t.npz", x_train=x, y_train=np.arange(12) % 2)
    done = ProfileConfig(
        data=str(tmp_path / "t.npz"),
        model="tests.experiments.own_models:tokens",
        measures=("nc1",),
        untrained=False,
    )
    assert run("profile", done, tmp_path / "run")
    assert len(pd.read_csv(tmp_path / "run" / "layers.csv")) == 1


def test_accuracy_and_loss_stand_beside_the_measures(file, tmp_path):
    assert run("profile", config(file, nfa=False), tmp_path / "run")
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    scores = read_csv(tmp_path / "run" / "scores.csv").set_index("of")
    assert scores.loc["model", "samples"] == 60
    assert f"{scores.loc['model', 'accuracy']:.3f}" in result["headline"]
    assert result["facts"]["Accuracy"].startswith(f"{scores.loc['model', 'accuracy']:.3f} on the points")
    assert "cross-entropy" in result["facts"]["Loss"]
    assert result["scores"]["model"]["accuracy"] == scores.loc["model", "accuracy"]
    assert set(result["scores"]) == {"model", "untrained"}
    warned = [note for note in result["notes"] if "has not learned" in note]
    assert len(warned) == 1
    assert "--statistics FILE" in warned[0]
    assert result["headline"].endswith(", near chance.")


def test_an_old_command_says_that_it_standardises():
    words = config("x.npz", standardise=False).command("profile")
    assert "--no-standardise" in words
    assert " --standardise" in config("x.npz", standardise=True).command("profile")


def test_a_network_that_has_not_learned_is_told(tmp_path):
    from agop.experiments.subjects.network_config import NetworkConfig

    rng = np.random.default_rng(0)
    np.savez(tmp_path / "d.npz", x_train=rng.normal(size=(200, 4)), y_train=np.arange(200) % 4)
    short = NetworkConfig(
        data=str(tmp_path / "d.npz"), width=4, depth=1, epochs=1, lr=1e-9, untrained=False, measures=("nc1",)
    )
    assert run("network", short, tmp_path / "run")
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert [note for note in result["notes"] if "has not learned" in note]
    assert result["headline"].endswith(", near chance.")
    assert isinstance(own_models.images(), nn.Module)
