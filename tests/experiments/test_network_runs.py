"""Runs of networks: what a directory holds, that cutting one off changes nothing, and models of the user's."""

from __future__ import annotations

import json
import sys
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import agop
from agop.datasets import Standardiser, load
from agop.experiments import checkpoints, model_factory
from agop.experiments import run as runs
from agop.experiments.listener import Listener
from agop.experiments.subjects.network import CHECKPOINT, MODEL
from agop.experiments.subjects.network_config import NetworkConfig
from agop.experiments.subjects.user_model_config import ProfileConfig
from agop.networks.models import mlp
from agop.networks.state import fill_with, read_tensors, save_weights

run, run_profile = partial(runs.run, "network"), partial(runs.run, "profile")
TABLES = ("profile", "layers", "untrained", "untrained_layers", "through", "through_layers")


@pytest.fixture
def file(tmp_path):
    rng = np.random.default_rng(0)
    y = np.arange(90) % 3
    x = rng.normal(size=(90, 3, 4)) + 1.5 * np.eye(3)[y][:, :, None]
    path = tmp_path / "small.npz"
    np.savez(path, x_train=x[:60], y_train=y[:60], x_test=x[60:], y_test=y[60:])
    return path


def small(file, **options):
    defaults = {"data": str(file), "width": 8, "depth": 2, "epochs": 6, "measure_every": 2, "batch_size": 16}
    return NetworkConfig(**(defaults | {"init_gain": 1.0} | options))


class Stop(Listener):
    def __init__(self, after=None):
        self.after, self.heard = after, []

    def started(self, done, total, step):
        self.heard.append(("started", done, total))

    def stepped(self, done, total, entry):
        self.heard.append(done)
        if done == self.after:
            raise KeyboardInterrupt

    def measured(self, row):
        self.heard.append(("measured", row["epoch"]))

    def measuring(self):
        self.heard.append("measuring")


def numbers(folder):
    epochs = pd.read_csv(folder / "epochs.csv").drop(columns="seconds").to_csv()
    tables = [(folder / f"{name}.csv").read_bytes() for name in TABLES]
    return [*tables, epochs, (folder / MODEL).read_bytes(), (folder / "standardisation.npz").read_bytes()]


def test_a_run_measures_at_its_epochs_and_the_last_is_the_model(file, tmp_path):
    listener = Stop()
    assert run(small(file, epochs=5), tmp_path / "run", listener)
    assert listener.heard == [
        ("started", 0, 5), 0, ("measured", 0), 1, 2, ("measured", 2), 3, 4, ("measured", 4), 5, ("measured", 5),
        "measuring",
    ]  # fmt: skip
    folder = tmp_path / "run"
    assert not (folder / CHECKPOINT).parent.exists()
    through = pd.read_csv(folder / "through.csv")
    assert sorted(through["epoch"].unique()) == [0, 2, 4, 5]

    data = load(file)
    x = torch.from_numpy(Standardiser.of(data.x_train)(data.x_train))
    net = mlp(12, 3, width=8, depth=2, init_gain=1.0, seed=0)
    start = agop.profile(net, x, data.y_train, measures=["nc1"])
    assert through[through["epoch"] == 0]["nc1"].tolist() == pytest.approx(
        start.table["nc1"].tolist(), rel=1e-5
    )
    fill_with(net, read_tensors(folder / MODEL), MODEL)
    end = agop.profile(net, x, data.y_train)
    profile = pd.read_csv(folder / "profile.csv")
    assert profile["nc1"].tolist() == pytest.approx(end.table["nc1"].tolist(), rel=1e-5)
    assert "nc3" not in profile
    layers = pd.read_csv(folder / "layers.csv")
    assert layers["nfa"].tolist() == pytest.approx(end.layers["nfa"].tolist(), abs=1e-5)
    assert layers["nc3"].notna().tolist() == [False, False, True]
    shares = profile["trace_within_share"] + profile["trace_between_share"]
    assert shares.tolist() == pytest.approx([1.0] * 9)
    untrained = pd.read_csv(folder / "untrained.csv")
    assert untrained["nc1"].iloc[0] == pytest.approx(profile["nc1"].iloc[0])
    assert untrained["nc1"].iloc[-1] != pytest.approx(start.table["nc1"].iloc[-1])
    result = json.loads((folder / "result.json").read_text())
    assert result["title"] == "MLP 12-8×2-3 on small.npz"
    assert not run(small(file, epochs=5), folder)


@pytest.mark.parametrize(
    ("after", "optimiser"),
    [
        pytest.param(0, "sgd", marks=pytest.mark.slow),
        pytest.param(1, "sgd", marks=pytest.mark.slow),
        (2, "adam"),
        (3, "sgd"),
        pytest.param(6, "adam", marks=pytest.mark.slow),
    ],
)
def test_a_run_that_was_cut_off_goes_on_to_the_same_bytes(file, tmp_path, after, optimiser):
    config = small(file, optimiser=optimiser, lr=0.01)
    run(config, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(config, tmp_path / "cut", Stop(after))
    assert not (tmp_path / "cut" / "result.json").exists()
    listener = Stop()
    assert run(config, tmp_path / "cut", listener)
    assert listener.heard[0] == ("started", max(0, (after - 1) // 2 * 2), 6)
    assert numbers(tmp_path / "cut") == numbers(tmp_path / "whole")


def test_dropout_is_in_the_training_and_in_no_measurement(file, tmp_path):
    config = small(file, dropout=0.5)
    run(config, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(config, tmp_path / "cut", Stop(3))
    run(config, tmp_path / "cut")
    assert numbers(tmp_path / "cut") == numbers(tmp_path / "whole")
    run(small(file), tmp_path / "without")
    through = [pd.read_csv(tmp_path / name / "through.csv") for name in ("whole", "without")]
    before = [table[table["epoch"] == 0] for table in through]
    assert before[0].equals(before[1])
    assert not through[0].equals(through[1])
    facts = json.loads((tmp_path / "whole" / "result.json").read_text())["facts"]
    assert facts["Network"].endswith("dropout 0.5 behind each of them")


def test_seeds_and_options_decide(file, tmp_path):
    run(small(file), tmp_path / "a")
    run(small(file), tmp_path / "b")
    run(small(file, seed=1), tmp_path / "c")
    assert numbers(tmp_path / "a") == numbers(tmp_path / "b")
    assert (tmp_path / "a" / MODEL).read_bytes() != (tmp_path / "c" / MODEL).read_bytes()
    with pytest.raises(ValueError, match="a run whose lr is 0.05, not 0.5"):
        run(small(file, lr=0.5), tmp_path / "a")


def test_a_diverging_run_says_so(file, tmp_path):
    with pytest.raises(ValueError, match="lr: expected a training that converges"):
        run(small(file, lr=1e9, momentum=0.99), tmp_path / "run")


@pytest.mark.parametrize(
    ("arch", "measure"),
    [
        ("resnet18", "head"),
        pytest.param("resnet18", "all", marks=pytest.mark.slow),
        pytest.param("vgg11", "all", marks=pytest.mark.slow),
    ],
)
def test_convolutional_runs_are_finite(tmp_path, arch, measure, generator):
    x = torch.randn(12, 3, 28, 28, generator=generator).numpy()
    path = tmp_path / "colour.npz"
    np.savez(path, x_train=x, y_train=np.arange(12) % 3)
    config = small(
        path, arch=arch, epochs=1, measure_every=1, measure=measure, batch_size=6, lr=1e-3, untrained=False
    )
    run(config, tmp_path / "run")
    through = pd.read_csv(tmp_path / "run" / "through.csv")
    assert through["nc1"].notna().all()
    layers = pd.read_csv(tmp_path / "run" / "layers.csv")
    assert len(layers) == {"head": 0, "all": {"resnet18": 20, "vgg11": 8}[arch]}[measure] + 3
    assert layers["nfa"].between(-1, 1).all()


MODELS = """
import torch
from torch import nn

def rows():
    return nn.Sequential(nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 3))

class Images(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 2)
        self.scale = nn.Parameter(torch.full((1,), 2.0))
        self.head = nn.Linear(4, 3)
    def forward(self, x):
        return self.head(torch.relu(self.scale * self.conv(x)).mean((2, 3)))

def needs(arguments):
    return rows()

text = "no model"
"""


@pytest.fixture
def models(tmp_path, monkeypatch):
    name = f"models_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(MODELS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield name
    sys.modules.pop(name, None)


def test_a_model_of_ones_own_is_profiled_with_its_weights(file, models, tmp_path):
    net = model_factory.make(f"{models}:rows")
    for parameter in net.parameters():
        parameter.data.mul_(1.5)
    save_weights(net, tmp_path / "w.safetensors")
    config = ProfileConfig(model=f"{models}:rows", weights="w.safetensors", data=str(file))
    assert run_profile(config, tmp_path / "run")
    data = load(file)
    x = torch.from_numpy(data.x_train.astype(np.float32))
    expected = agop.profile(net, x, data.y_train)
    profile = pd.read_csv(tmp_path / "run" / "profile.csv")
    assert profile["nc1"].tolist() == pytest.approx(expected.table["nc1"].tolist(), rel=1e-5)
    untrained = agop.profile(model_factory.make(f"{models}:rows"), x, data.y_train)
    written = pd.read_csv(tmp_path / "run" / "untrained.csv")
    assert written["nc1"].tolist() == pytest.approx(untrained.table["nc1"].tolist(), rel=1e-5)
    assert not run_profile(config, tmp_path / "run")


def test_images_go_to_models_with_convolutions_and_what_cannot_be_redrawn_is_said(file, models, tmp_path):
    config = ProfileConfig(model=f"{models}:Images", data=str(file), nfa=False)
    run_profile(config, tmp_path / "run")
    layers = pd.read_csv(tmp_path / "run" / "layers.csv")
    assert layers["name"].tolist() == ["conv", "head"]
    notes = json.loads((tmp_path / "run" / "result.json").read_text())["notes"]
    assert any("the untrained copy keeps the values of scale" in note for note in notes)
    with pytest.raises(ValueError, match="one that takes the points"):
        run_profile(ProfileConfig(model=f"{models}:Images", data=str(file), points="rows"), tmp_path / "rows")


class Trap:
    """Unpickling it would be noticed."""

    def __reduce__(self):
        return (print, ("unpickled",))


def test_nothing_is_unpickled_unless_that_is_allowed(models, tmp_path, capsys):
    torch.save({"state_dict": Trap()}, tmp_path / "w.pt")
    net = model_factory.make(f"{models}:rows")
    for name in ("w.pt", "w.bin", "w.safetensors"):
        (tmp_path / name).write_bytes((tmp_path / "w.pt").read_bytes())
        with pytest.raises(ValueError, match="weights: expected"):
            checkpoints.fill(net, str(tmp_path / name), trust_pickle=False)
    assert "unpickled" not in capsys.readouterr().out
    with pytest.raises(ValueError, match="weights: expected a state dict"):
        checkpoints.fill(net, str(tmp_path / "w.pt"), trust_pickle=True)
    assert "unpickled" in capsys.readouterr().out


def test_trusted_pickles_are_read(models, tmp_path):
    net, other = model_factory.make(f"{models}:rows"), model_factory.make(f"{models}:rows")
    nn.init.ones_(net[0].weight)
    for stored in (net.state_dict(), {"state_dict": net.state_dict()}, net):
        torch.save(stored, tmp_path / "w.pt")
        checkpoints.fill(other, str(tmp_path / "w.pt"), trust_pickle=True)
        assert model_factory.same_parameters(net, other)
        nn.init.zeros_(other[0].weight)
    (tmp_path / "w.pt").write_bytes(b"damaged")
    with pytest.raises(ValueError, match="weights: expected a file that torch.load reads"):
        checkpoints.fill(other, str(tmp_path / "w.pt"), trust_pickle=True)
    with pytest.raises(ValueError, match="weights: expected a file, got"):
        checkpoints.fill(other, str(tmp_path / "missing.pt"), trust_pickle=True)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("nowhere", "package.module:factory"),
        ("nowhere.at_all:make", "a module that can be imported"),
        ("{}:missing", "a name in"),
        ("{}:needs", "a factory that takes no arguments"),
        ("{}:text", "a function, class or torch module"),
        ("builtins:dict", "a factory of a torch module"),
    ],
)
def test_models_that_cannot_be_made_are_refused_in_a_sentence(models, name, sentence):
    with pytest.raises(ValueError, match=sentence):
        model_factory.make(name.format(models))


def test_an_untrained_copy_is_drawn_anew_and_leaves_the_rest_alone():
    net = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.LSTM(4, 3))
    nn.init.zeros_(net[0].weight)
    net[1].running_mean += 3
    state = torch.random.get_rng_state()
    twin, kept = model_factory.untrained_copy(net, 1)
    again, _ = model_factory.untrained_copy(net, 1)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert kept == []
    assert float(net[0].weight.detach().abs().sum()) == 0
    assert float(twin[0].weight.detach().abs().sum()) > 0
    assert float(twin[1].running_mean.abs().sum()) == 0
    assert model_factory.same_parameters(twin, again)
