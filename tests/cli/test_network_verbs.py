"""`agop network` and `agop profile`, as typed."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from agop.cli import main


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    rng = np.random.default_rng(0)
    y = np.arange(80) % 2
    x = rng.normal(size=(80, 2, 3)) + 2 * y[:, None, None]
    path = tmp_path_factory.mktemp("data") / "small.npz"
    np.savez(path, x_train=x[:50], y_train=y[:50], x_test=x[50:], y_test=y[50:])
    return path


def code(arguments):
    with pytest.raises(SystemExit) as caught:
        main([str(word) for word in arguments])
    return caught.value.code


def network(file, out, *more):
    return [
        "network",
        "--data",
        file,
        "--width",
        8,
        "--depth",
        2,
        "--epochs",
        4,
        "--measure-every",
        2,
        "--out",
        out,
        *more,
    ]


@pytest.fixture(scope="module")
def finished(file):
    out = file.parent / "finished"
    assert code(network(file, out)) == 0
    return out


def test_a_run_has_its_figures_and_a_page_with_them(finished):
    for stem in ("nc1", "nc2", "drops", "nfa", "training", "training-nc1"):
        for suffix in ("png", "svg"):
            assert (finished / "figures" / f"{stem}.{suffix}").stat().st_size > 1000
    page = (finished / "report.html").read_text()
    assert page.count('<figure class="drawn') == 8
    assert "What collapses the classes" in page
    assert "MLP 6-8×2-2 on small.npz" in page


def test_the_command_shows_the_table_and_does_nothing_twice(file, finished, capsys):
    assert code(network(file, finished)) == 0
    told = capsys.readouterr().out
    assert "nothing was run again" in " ".join(told.split())
    for word in ("projected", "NFA", "untrained:", "head.0", "report:"):
        assert word in told


def test_a_run_leaves_its_trajectory(finished):
    import pandas as pd

    import agop

    trajectory = agop.Trajectory.load(finished / "trajectory.safetensors")
    assert trajectory.steps == [0, 2, 4]
    through = pd.read_csv(finished / "through.csv")
    nc1 = trajectory.to_frame("nc1")
    assert nc1["value"].tolist() == pytest.approx(through["nc1"].tolist(), rel=1e-12)
    assert len(trajectory.to_frame("accuracy")) == len(trajectory.to_frame("test_accuracy")) == 3
    assert trajectory.look("nc1").scale == "log"


@pytest.mark.slow
def test_the_live_table_has_a_row_per_measurement(file, tmp_path, capsys):
    assert code(network(file, tmp_path / "run", "--no-untrained")) == 0
    told = capsys.readouterr().out
    assert "MLP 6-8×2-2" in told
    rows = [line.split() for line in told.splitlines()]
    assert [row[0] for row in rows if len(row) == 6 and row[0].isdigit()] == ["0", "2", "4"]
    assert "untrained:" not in told
    assert not (tmp_path / "run" / "untrained.csv").exists()


def test_the_command_that_a_run_remembers_is_the_same_run(finished, tmp_path):
    import json
    import shlex

    command = json.loads((finished / "config.json").read_text())["command"]
    words = shlex.split(command)[1:]
    assert code([*words, "--out", tmp_path / "again"]) == 0
    assert (tmp_path / "again" / "profile.csv").read_bytes() == (finished / "profile.csv").read_bytes()


def test_a_model_of_ones_own(file, tmp_path, monkeypatch, capsys):
    name = "own_model_for_the_verb"
    (tmp_path / f"{name}.py").write_text(
        "from torch import nn\n\ndef make():\n    return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 2))\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert code(["profile", "--model", f"{name}:make", "--data", file, "--out", "run"]) == 0
    told = capsys.readouterr().out
    assert "untrained:" in told
    assert "accuracy 0." in told.split("NC1")[0]  # above the table
    page = (tmp_path / "run" / "report.html").read_text()
    assert page.count('<figure class="drawn') == 4
    torch.save(torch.nn.Linear(6, 5), tmp_path / "w.pt")
    assert (
        code(["profile", "--model", f"{name}:make", "--weights", "w.pt", "--data", file, "--out", "other"])
        == 2
    )
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "--trust-pickle" in error
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    "more",
    [
        ("--arch", "alexnet"), ("--init-gain", "0"), ("--lr", "-1"), ("--loss", "hinge"), ("--pool", "max"),
        ("--measure-every", "0"), ("--measure", "tail"), ("--data", "missing.npz"), ("--epochs", "0"), ("--device", "cuda:99"),
        ("--dropout", "1"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_bad_options_are_one_sentence_and_leave_nothing(file, tmp_path, more, capsys):
    assert code(network(file, tmp_path / "run", *more)) == 2
    error = capsys.readouterr().err
    assert error.startswith("agop: ")
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()
