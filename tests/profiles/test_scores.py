"""Accuracy and loss beside the measures: by hand, for labels of any kind, and the warning near chance."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import agop
from agop.profiles.scores import Scores


class Gives(nn.Module):
    """A layer that can be measured, and outputs that are given."""

    def __init__(self, outputs):
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.outputs = outputs

    def forward(self, x):
        self.layer(x[:, :2])
        return self.outputs(x)


def scores(outputs, y, n=60, **options):
    torch.manual_seed(0)
    x = torch.rand(n, 3, dtype=torch.float64)
    model = Gives(outputs).double()
    return agop.profile(agop.Network(model), x, y, measures=["nc1"], **options).scores, x


@pytest.mark.parametrize(
    "labels", [lambda y: y, lambda y: [f"class {k}" for k in y.tolist()], lambda y: 10 * y - 7]
)
def test_accuracy_and_loss_are_those_of_torch(labels):
    y = torch.arange(60) % 3
    found, x = scores(lambda x: 3 * x, labels(y), batch_size=7)
    assert found.accuracy == pytest.approx(float((x.argmax(1) == y).double().mean()), rel=1e-12)
    assert found.loss == pytest.approx(float(nn.functional.cross_entropy(3 * x, y)), rel=1e-12)
    assert (found.chance, found.samples) == (pytest.approx(1 / 3), 60)


def test_probabilities_and_single_outputs():
    y = torch.arange(60) % 3
    logits, _ = scores(lambda x: 3 * x, y)
    soft, _ = scores(lambda x: (3 * x).softmax(1), y)
    logs, _ = scores(lambda x: (3 * x).log_softmax(1), y)
    assert soft.loss == pytest.approx(logits.loss, rel=1e-12)
    assert logs.loss == pytest.approx(logits.loss, rel=1e-12)
    two = torch.arange(60) % 2
    logit, x = scores(lambda x: 4 * x[:, 0] - 2, two)
    probability, _ = scores(lambda x: (4 * x[:, :1] - 2).sigmoid(), two)
    expected = float(nn.functional.binary_cross_entropy_with_logits(4 * x[:, 0] - 2, two.double()))
    assert logit.loss == pytest.approx(expected, rel=1e-12)
    assert probability.loss == pytest.approx(expected, rel=1e-9)
    assert (
        logit.accuracy
        == probability.accuracy
        == pytest.approx(float(((x[:, 0] > 0.5) == two).double().mean()))
    )


def test_outputs_that_are_no_answers_have_no_scores():
    y = torch.arange(60) % 3
    assert scores(lambda x: x[:, :2], [f"{k}" for k in y.tolist()])[0] is None
    assert scores(lambda x: x.sum(), y)[0] is None
    assert scores(lambda x: x[:, :, None], y)[0] is None
    assert scores(lambda x: {"a": 3 * x}, y)[0] is not None


@pytest.mark.parametrize(
    ("accuracy", "chance", "samples", "near"),
    [
        (0.101, 0.1, 1400, True), (0.14, 0.1, 1400, True), (0.3, 0.1, 1400, False), (0.5, 0.5, 1000, True),
        (0.6, 0.5, 1000, False), (0.6, 0.5, 20, True), (0.002, 0.001, 50_000, True), (0.02, 0.001, 50_000, False),
        (0.99, 0.985, 1000, True), (0.05, 0.1, 1400, True), (math.nan, 0.1, 10, True), (1.0, 0.1, 1400, False),
    ],
)  # fmt: skip
def test_what_is_near_chance(accuracy, chance, samples, near):
    told = Scores(accuracy=accuracy, loss=1.0, chance=chance, samples=samples)
    assert told.near_chance is near
    assert ("has not learned" in told.warning) is near


def test_the_profile_tells_and_keeps_them(tmp_path):
    torch.manual_seed(0)
    net, x, y = nn.Sequential(nn.Linear(4, 3)), torch.rand(90, 4), torch.arange(90) % 3
    p = agop.profile(net, x, y, measures=["nc1"])
    head, *_ = str(p).splitlines()
    assert head.startswith("Profile of Sequential: accuracy 0.")
    assert "warning: accuracy" in str(p)
    p.save(tmp_path / "p.safetensors")
    assert agop.Profile.load(tmp_path / "p.safetensors").scores == p.scores
    pairs = [(x[:50], y[:50]), (x[50:], y[50:])]
    assert agop.profile(net, pairs, measures=["nc1"]).scores.loss == pytest.approx(p.scores.loss, rel=1e-6)


@pytest.mark.parametrize("change", [{"chance": 2**63}, {"chance": -0.1}, {"accuracy": 1.5}, {"samples": 0}])
def test_what_a_damaged_file_says_is_no_score(change):
    entry = {"accuracy": 0.5, "loss": 1.0, "chance": 0.25, "samples": 24}
    assert Scores.read(entry) == Scores(**entry)
    with pytest.raises(ValueError, match="no shares of samples"):
        Scores.read({**entry, **change})
