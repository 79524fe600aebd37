"""A trajectory: the numbers of profiles, step by step; the training does not notice; saved, resumed, drawn."""

from __future__ import annotations

import itertools
import random

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import agop
from agop import _store
from agop.profiles.trajectory import COLUMNS

X = torch.randn(60, 5, generator=torch.Generator().manual_seed(0))
Y = torch.arange(60) % 3


def net():
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 3))


def train(model, each=lambda step: None, steps=4, loader=None):
    """A plain loop that draws from every generator."""
    torch.manual_seed(5), np.random.seed(5), random.seed(5)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1 + 0.01 * random.random())
    batches = itertools.islice(itertools.cycle(loader or [(X, Y)]), steps)
    for step, (x, y) in enumerate(batches):
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(x + 0.01 * np.random.rand()), y).backward()
        optimiser.step()
        each(step)
    return model


@pytest.fixture(scope="module")
def recorded():
    trajectory, model = agop.Trajectory(X, Y, measures=["nc1", "nfa"]), net()
    train(model, lambda step: trajectory.record(model, step, lr=0.1 / (step + 1)))
    return trajectory, model


def test_a_key_has_the_number_of_the_profile(recorded):
    trajectory, model = recorded
    p = agop.profile(model, X, Y, measures=["nc1", "nfa"])
    frame = trajectory.to_frame()
    assert tuple(frame) == COLUMNS
    last = frame[frame.step == 3].set_index(["layer", "stage", "measure"])["value"]
    for _, row in p.table.iterrows():
        assert last[row["layer"], row["stage"], "nc1"] == pytest.approx(row["nc1"], rel=1e-12)
    assert last[1, "", "nfa"] == pytest.approx(p.layers["nfa"][0], rel=1e-12)
    assert (last[0, "", "accuracy"], last[0, "", "loss"]) == (p.scores.accuracy, p.scores.loss)
    assert last[0, "", "lr"] == 0.025
    assert trajectory.steps == [0, 1, 2, 3]


def test_the_training_does_not_notice():
    loader = DataLoader(TensorDataset(X, Y), batch_size=20, shuffle=True)
    own = DataLoader(
        TensorDataset(X, Y), batch_size=20, shuffle=True, generator=torch.Generator().manual_seed(3)
    )
    for data in (loader, own):
        if data is own:
            own.generator.manual_seed(3)
        plain = train(net(), loader=data)
        if data is own:
            own.generator.manual_seed(3)
        trajectory, model = agop.Trajectory(data, measures=["nc1", "nfa"]), net()
        train(model, lambda step, t=trajectory, m=model: t.record(m.train(), step), loader=data)
        for a, b in zip(plain.state_dict().values(), model.state_dict().values(), strict=True):
            assert torch.equal(a, b)
        assert model.training


def test_saved_and_resumed_it_is_the_same(recorded, tmp_path):
    trajectory, model = recorded
    path = tmp_path / "t.safetensors"
    trajectory.facts["model"] = "small"
    trajectory.save(path)
    again = agop.Trajectory.load(path, X, Y, measures=["nc1", "nfa"])
    pd.testing.assert_frame_equal(again.to_frame(), trajectory.to_frame(), check_exact=True)
    assert (again.steps, again.notes, again.facts) == (trajectory.steps, trajectory.notes, {"model": "small"})
    assert again.look("nc1") == trajectory.look("nc1")
    again.record(model, 7)
    assert again.steps == [0, 1, 2, 3, 7]
    assert 7 in again
    assert 7 not in trajectory
    again.record(model, 7)
    assert len(again) == 5
    assert repr(again) == "Trajectory(5 steps from 0 to 7)"


def test_an_empty_one_and_files_of_others(tmp_path, recorded):
    empty = agop.Trajectory()
    empty.save(tmp_path / "e.safetensors")
    assert not len(agop.Trajectory.load(tmp_path / "e.safetensors"))
    with pytest.raises(ValueError, match=r"X: expected samples to measure on, got None"):
        empty.record(net(), 0)
    with pytest.raises(ValueError, match="at least one step"):
        empty.plot()
    agop.profile(net(), X, Y, measures=["nc1"]).save(tmp_path / "p.safetensors")
    with pytest.raises(ValueError, match=r"format 'agop.profile'"):
        agop.Trajectory.load(tmp_path / "p.safetensors")
    for header in ({}, {"table": [], "steps": [1], "notes": [], "shown": {}, "facts": {}}, {"table": 3}):
        _store.write(tmp_path / "x.safetensors", "trajectory", 1, header, {})
        with pytest.raises(ValueError, match="a complete file with a saved trajectory"):
            agop.Trajectory.load(tmp_path / "x.safetensors")


def test_bad_steps_and_values(recorded):
    trajectory, model = recorded
    for step in (float("nan"), True):
        with pytest.raises(TypeError, match="step: expected a finite number"):
            trajectory.record(model, step)
    with pytest.raises(TypeError, match="lr: expected a number, got bool"):
        trajectory.record(model, 9, lr=True)
    assert trajectory.steps == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="measure: expected one of"):
        trajectory.to_frame("nothing")
    for options in (
        {"measure": "nothing"},
        {"stage": "nothing"},
        {"against": "time"},
        {"width": 0},
        {"path": "x.gif"},
    ):
        with pytest.raises(ValueError, match="expected"):
            trajectory.plot(**options)
    plt.close("all")


@pytest.mark.parametrize("against", ["step", "layer"])
def test_a_figure_for_a_paper(recorded, tmp_path, against):
    trajectory, _ = recorded
    figure = trajectory.plot("nc1", against=against, width=3.3, path=tmp_path / "f.svg").figure
    lines = {"step": 2, "layer": 4}[against]
    assert [len(ax.lines) for ax in figure.axes] == [lines] * 3
    drawn = figure.axes[0].lines[0]
    frame = trajectory.to_frame("nc1").query("stage == 'input'")
    expected = frame[frame.layer == 1] if against == "step" else frame[frame.step == 0]
    assert drawn.get_ydata().tolist() == expected["value"].tolist()
    assert figure.get_size_inches()[0] == 3.3
    text = (tmp_path / "f.svg").read_text()
    assert "<text" in text
    assert f">{against}<" in text
    trajectory.plot("accuracy", path=tmp_path / "f.pdf")
    assert b"/FontFile2" in (tmp_path / "f.pdf").read_bytes()
    assert len(trajectory.plot("nfa", against=against).lines) == lines + 1  # and where the ansatz lies
    plt.close("all")


def test_many_lines_get_a_colour_bar(recorded):
    _, model = recorded
    trajectory = agop.Trajectory(X, Y, measures=["nc1"])
    p = agop.profile(model, X, Y, measures=["nc1"])
    for step in range(12):
        trajectory.add(p, step)
    figure = trajectory.plot("nc1", stage="output", against="layer").figure
    assert len(figure.axes) == 2
    assert figure.axes[1].get_ylabel() == "step"
    plt.close("all")


def test_one_token_of_a_sequence_and_some_stages():
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.mix, self.head = nn.Linear(5, 4), nn.Linear(4, 3)

        def forward(self, x):
            return self.head(self.mix(x).relu()[:, 0])

    torch.manual_seed(0)
    model, x = Tokens().double(), torch.randn(30, 6, 5, dtype=torch.float64)
    y = torch.arange(30) % 3
    for pool, place in (("first", 0), ("last", -1)):
        p = agop.profile(agop.Network(model, pool=pool, stages=["input"]), x, y, measures=["nc1"])
        assert set(p.table["stage"]) == {"input"}
        assert p.table["nc1"][0] == pytest.approx(agop.nc1(agop.ClassMoments.of(x[:, place], y)), rel=1e-12)
        token = agop.profile(agop.Network(model, pool=pool), x, y, measures=["nc1"]).table.set_index(
            ["layer", "stage"]
        )["nc1"]
        with torch.no_grad():
            read = model.mix(x).relu()[:, place]
        assert token[1, "output"] == pytest.approx(agop.nc1(agop.ClassMoments.of(read, y)), rel=1e-12)
    images = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten(), nn.Linear(48, 3))
    pixels = torch.rand(30, 2, 6, 6)
    means, firsts = (
        agop.profile(agop.Network(images, pool=pool), pixels, y, measures=["nc1"]).table["nc1"]
        for pool in ("mean", "first")
    )
    assert means.tolist() == firsts.tolist()
    for stages in (["nowhere"], "input", []):
        with pytest.raises((ValueError, TypeError), match="stages: expected"):
            agop.Network(images, stages=stages)
    views = list(agop.Network(images, stages=["output"]).views(pixels))
    assert views[0].input is not None
