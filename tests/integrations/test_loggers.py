"""What `log` and the callbacks write: with stand-ins that remember, with CSV; if installed, TensorBoard's files and W&B offline."""

from __future__ import annotations

import importlib
import sys
import time
import types
import warnings

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import pandas as pd
import pytest
import torch
from torch import nn

import agop
from agop.integrations import log, scalars
from agop.integrations.lightning import CollapseCallback
from agop.integrations.loggers import takes_figures
from tests.integrations.small import data, small
from tests.integrations.test_lightning import fit, pytestmark  # noqa: F401 - Lightning's warnings


@pytest.fixture(scope="module")
def profile():
    x, y = data()
    return agop.profile(small(), x, y, measures=["nc1", "nc3", "nfa"])


class Writer:
    """A SummaryWriter that remembers."""

    def __init__(self):
        self.scalars, self.figures = {}, []

    def add_scalar(self, key, value, step):
        self.scalars[key, step] = value

    def add_figure(self, key, figure, step, close):
        self.figures.append((key, step))


class Metrics:
    """A logger that takes numbers only."""

    def log_metrics(self, values, step):
        self.values, self.step = values, step


class Client:
    """MLflow's client."""

    def __init__(self):
        self.figures = []

    def log_figure(self, run, figure, name):
        self.figures.append((run, name))


class MLFlow(Metrics):
    run_id = "run 7"

    def __init__(self):
        self.experiment = Client()


def test_keys_are_the_rows_of_the_profile(profile):
    values = scalars(profile)
    expected = {
        f"collapse/{row['name']}/{row['stage']}/nc1": row["nc1"] for _, row in profile.table.iterrows()
    }
    assert {key: value for key, value in values.items() if key.endswith("/nc1")} == expected
    assert [key for key in values if key.endswith("/nc3")] == [
        "collapse/head/input/nc3",
        "collapse/head/projected/nc3",
    ]
    assert values["collapse/body.0/nfa"] == profile.layers["nfa"][0]
    assert (values["collapse/accuracy"], values["collapse/loss"]) == (
        profile.scores.accuracy,
        profile.scores.loss,
    )
    assert "head/input/nc1" in scalars(profile, "")


def test_writers_of_every_kind(profile):
    writer, numbers, client, open_before = Writer(), Metrics(), MLFlow(), plt.get_fignums()
    values = log(profile, writer, 3)
    assert writer.scalars == {(key, 3): value for key, value in values.items()}
    assert writer.figures == [("collapse/nc1 by layer", 3)]
    log(profile, numbers, 4)
    assert (numbers.values, numbers.step) == (values, 4)
    log(profile, client, 5, prefix="mine")
    assert client.experiment.figures == [("run 7", "mine/nc1 by layer/step 5.png")]
    log(profile, writer, 6, figures=False)
    assert len(writer.figures) == 1
    module = types.ModuleType("mlflow")
    module.log_metrics = lambda values, step: module.__dict__.update(values=values, step=step)
    module.log_figure = lambda figure, name: module.__dict__.update(name=name)
    log(profile, module, 7)
    assert (module.step, module.name) == (7, "collapse/nc1 by layer/step 7.png")
    assert plt.get_fignums() == open_before


def test_what_is_no_writer_is_one_sentence(profile):
    with pytest.raises(
        TypeError,
        match="writer: expected a SummaryWriter, a run of W&B, a logger of Lightning, or mlflow, got list",
    ):
        log(profile, [], 0)
    with pytest.raises(TypeError, match="profile: expected a Profile"):
        log("nc1", Writer(), 0)
    with pytest.raises((TypeError, ValueError), match="step: expected an integer"):
        log(profile, Writer(), 1.5)


def test_the_callback_writes_csv(tmp_path):
    from lightning.pytorch.loggers import CSVLogger

    logger = CSVLogger(tmp_path)
    assert not takes_figures(logger)
    callback = CollapseCallback("body.0", measures=["nc1"])
    fit(tmp_path, [callback], logger=logger)
    written = pd.read_csv(f"{logger.log_dir}/metrics.csv")["collapse/body.0/output/nc1"].dropna()
    expected = callback.to_frame().query("measure == 'nc1' and stage == 'output'")["value"]
    assert written.tolist() == pytest.approx(expected.tolist(), rel=1e-6)


def test_tensorboard_files(profile, tmp_path):
    pytest.importorskip("tensorboard")
    from lightning.pytorch.loggers import TensorBoardLogger
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch.utils.tensorboard import SummaryWriter

    def read(folder):
        events = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0})
        events.Reload()
        return events

    with SummaryWriter(tmp_path / "plain") as writer:
        values = log(profile, writer, 3)
    events = read(tmp_path / "plain")
    assert set(events.Tags()["scalars"]) == set(values)
    (event,) = events.Scalars("collapse/head/input/nc1")
    assert (event.step, event.value) == (3, pytest.approx(values["collapse/head/input/nc1"], rel=1e-6))
    assert events.Tags()["images"] == ["collapse/nc1 by layer"]
    logger = TensorBoardLogger(tmp_path)
    callback = CollapseCallback("body.0", measures=["nc1"])
    fit(tmp_path, [callback], logger=logger)
    events = read(logger.log_dir)
    written = [event.value for event in events.Scalars("collapse/body.0/output/nc1")]
    expected = callback.to_frame().query("measure == 'nc1' and stage == 'output'")["value"].tolist()
    assert written == pytest.approx(expected, rel=1e-6)
    assert len(events.Images("collapse/nc1 by layer")) == 2


def test_wandb_offline(profile, tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    with wandb.init(project="agop", dir=tmp_path, mode="offline") as run:
        values = log(profile, run, 3)
        run.log({"end": 1.0}, step=4)  # a step is in the summary when the next one begins
        told, until = {}, time.monotonic() + 60
        while "collapse/head/input/nc1" not in told and time.monotonic() < until:
            time.sleep(0.1)  # another process keeps it
            told = dict(run.summary)
    assert told["collapse/head/input/nc1"] == pytest.approx(values["collapse/head/input/nc1"])
    assert "collapse/nc1 by layer" in told


@pytest.fixture
def transformers(monkeypatch):
    """transformers itself, or a stand-in for the one name that is used."""
    try:
        importlib.import_module("transformers")
    except ImportError:
        stub = types.ModuleType("transformers")
        stub.TrainerCallback = type("TrainerCallback", (), {})
        monkeypatch.setitem(sys.modules, "transformers", stub)
        monkeypatch.delitem(sys.modules, "agop.integrations.transformers", raising=False)
    return importlib.import_module("agop.integrations.transformers")


def test_the_callback_of_the_trainer(transformers, tmp_path):
    x, y = data()
    model, writer = small(), Writer()
    state = types.SimpleNamespace(global_step=0, epoch=0.0, log_history=[], is_world_process_zero=True)
    asked = {
        "measures": ["nc1"],
        "network": {"pool": "mean"},
        "writer": writer,
        "path": tmp_path / "t.safetensors",
    }
    callback = transformers.CollapseCallback(x, y, every_n_epochs=2, **asked)
    callback.on_train_begin(None, state, None)
    for epoch in range(1, 6):
        state.global_step, state.epoch = 10 * epoch, float(epoch)
        callback.on_epoch_end(None, state, None, model=model)
    callback.on_train_end(None, state, None, model=model)
    assert callback.trajectory.steps == [20, 40, 50]
    assert [entry["step"] for entry in state.log_history] == [20, 40, 50]
    p = agop.profile(model, x, y, measures=["nc1"])
    assert state.log_history[-1]["collapse/head/input/nc1"] == scalars(p)["collapse/head/input/nc1"]
    assert ("collapse/head/input/nc1", 50) in writer.scalars
    again = transformers.CollapseCallback(x, y, **asked)
    again.on_train_begin(None, state, None)
    assert again.trajectory.steps == [20, 40, 50]
    loader = [(x[:100], y[:100]), (x[100:], y[100:])]
    from_trainer = transformers.CollapseCallback(measures=["nc1"])
    from_trainer.on_train_begin(None, types.SimpleNamespace(global_step=0), None, train_dataloader=loader)
    from_trainer.on_epoch_end(None, state, None, model=model)
    assert from_trainer.trajectory.steps == [50]
    with pytest.raises(ValueError, match="X: expected samples to measure on"):
        transformers.CollapseCallback().on_train_begin(None, state, None)


def test_log_is_known_without_the_loggers():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert agop.integrations.log is log
    assert isinstance(nn.Linear(1, 1), torch.nn.Module)
