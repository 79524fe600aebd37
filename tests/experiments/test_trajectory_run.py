"""`agop trajectory`: checkpoints in the order of their steps, cut off and continued; table and figures."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import agop
from agop.cli import main
from agop.experiments import trajectory_run
from agop.experiments.subjects.user_model_config import ProfileConfig
from agop.experiments.trajectory_run import record_checkpoints, steps_of
from tests.experiments import own_models


@pytest.fixture
def given(tmp_path):
    rng, y = np.random.default_rng(0), np.arange(30) % 2
    x = rng.normal(size=(30, 4)) + y[:, None]
    np.savez(tmp_path / "d.npz", x_train=x, y_train=y)
    paths = []
    for step in (0, 2, 10):
        model = own_models.double()
        torch.manual_seed(step)
        nn.init.normal_(model[0].weight)
        paths.append(tmp_path / f"epoch=1-step={step}.pt")
        torch.save(model.state_dict(), paths[-1])
    config = ProfileConfig(
        data=str(tmp_path / "d.npz"), model="tests.experiments.own_models:double", measures=("nc1",)
    )
    return config, paths, x, y


def test_each_checkpoint_has_the_numbers_of_its_profile(given, tmp_path):
    config, paths, x, y = given
    found = record_checkpoints(config, paths[::-1], tmp_path / "out")
    assert found.trajectory.steps == [0, 2, 10]
    table = pd.read_csv(found.table)
    for step, path in zip((0, 2, 10), paths, strict=True):
        model = own_models.double()
        model.load_state_dict(torch.load(path, weights_only=True))
        p = agop.profile(model, x, y, measures=["nc1"])
        rows = table[(table.step == step) & (table.measure == "nc1")]
        assert rows["value"].tolist() == pytest.approx(p.table["nc1"].tolist(), rel=1e-12)
        assert table[(table.step == step) & (table.measure == "accuracy")]["value"].tolist() == [
            p.scores.accuracy
        ]
    names = {path.name for path in found.figures.iterdir()}
    assert {"nc1-by-step.svg", "nc1-by-step.pdf", "nc1-by-layer.svg", "accuracy-by-step.pdf"} <= names
    assert found.headline.startswith("3 checkpoints, steps 0 to 10; NC1 at the input of the last layer ")


def test_cut_off_it_goes_on_with_what_is_left(given, tmp_path, monkeypatch):
    config, paths, _, _ = given
    measured = []
    once = trajectory_run._measured

    def counted(trajectory, config, data, device, step, path):
        measured.append(step)
        if len(measured) == 2:
            raise KeyboardInterrupt
        return once(trajectory, config, data, device, step, path)

    monkeypatch.setattr(trajectory_run, "_measured", counted)
    monkeypatch.setattr(trajectory_run, "_figures", lambda trajectory, folder: folder)
    with pytest.raises(KeyboardInterrupt):
        record_checkpoints(config, paths, tmp_path / "out")
    record_checkpoints(config, paths, tmp_path / "out")
    assert measured == [0, 2, 2, 10]
    torch.save(own_models.double().state_dict(), paths[1])  # written anew
    record_checkpoints(config, paths, tmp_path / "out")
    assert measured == [0, 2, 2, 10, 2]
    other = ProfileConfig(data=config.data, model=config.model, measures=("nc2",))
    with pytest.raises(ValueError, match="out: expected a new directory"):
        record_checkpoints(other, paths, tmp_path / "out")


def test_steps_from_names(tmp_path):
    def made(*names):
        paths = [tmp_path / name for name in names]
        for path in paths:
            path.write_bytes(b"")
        return paths

    assert list(steps_of(made("v2-epoch=3-step=1200.ckpt", "v2-epoch=1-step=400.ckpt"))) == [400, 1200]
    assert list(steps_of(made("first.pt", "second.pt"))) == [0, 1]
    with pytest.raises(
        ValueError, match="checkpoints: expected a step of its own in every name, got 7 in both"
    ):
        steps_of(made("a-7.pt", "b-7.pt"))
    with pytest.raises(ValueError, match="none in 'last.pt'"):
        steps_of(made("a-7.pt", "last.pt"))
    with pytest.raises(ValueError, match="which is not there"):
        steps_of([Path("nowhere.pt")])


@pytest.mark.slow
def test_as_typed(given, tmp_path, capsys):
    config, paths, _, _ = given
    words = [
        "trajectory",
        *map(str, paths),
        "--data",
        config.data,
        "--measures",
        "nc1",
        "--out",
        str(tmp_path / "run"),
    ]
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    assert "add --model package.module:factory" in capsys.readouterr().err
    with pytest.raises(SystemExit) as caught:
        main([*words, "--model", config.model])
    assert caught.value.code == 0
    told = capsys.readouterr().out
    assert "step 10 (epoch=1-step=10.pt): accuracy" in " ".join(told.split())
    assert "3 checkpoints" in told
