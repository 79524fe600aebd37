"""What a sweep over layers takes, said beforehand, against what it took."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import agop
from agop import _progress
from agop.gradients import cost, layer_sum
from agop.gradients.sweep import Sweep
from tests.gradients.test_outer import mlp, random


class Conv1D(nn.Module):
    """As in GPT-2: the weight the other way round."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.randn(6, 5, dtype=torch.float64))

    def forward(self, x):
        return x @ self.w


MODELS = {
    "mlp": (mlp(6, 40, 16, 3), random(50, 6)),
    "narrow": (mlp(6, 300, 8, 3), random(20, 6)),
    "convolution": (
        nn.Sequential(
            nn.Conv2d(4, 6, 3, groups=2), nn.ReLU(), nn.ConvTranspose2d(6, 3, 2), nn.Flatten(), nn.Linear(75, 3)
        ).double(),
        random(12, 4, 6, 6),
    ),
    "tokens": (nn.Sequential(Conv1D(), nn.Flatten(), nn.Linear(20, 2).double()), random(9, 4, 6)),
    "recurrent": (nn.Sequential(Conv1D(), nn.RNN(5, 4, batch_first=True).double()), random(9, 4, 6)),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("outputs", [None, 6])
def test_bytes_are_those_that_are_then_held(name, outputs, monkeypatch):
    model, Z = MODELS[name]
    made = []
    own = layer_sum.LayerSum.like.__func__

    def watched(cls, rows, *args):
        made.append(own(cls, rows, *args))
        return made[-1]

    said = agop.estimate_layer_agops(model, Z, outputs=outputs, output=0 if name == "recurrent" else None)
    monkeypatch.setattr(layer_sum.LayerSum, "like", classmethod(watched))
    result = agop.layer_agops(model, Z, outputs=outputs, output=0 if name == "recurrent" else None)
    assert said.sums == sum(total.totals.numel() * 8 for total in made)
    assert said.agops == sum(value.numel() * 8 for value in result.values())
    assert list(said.layers) == list(result)
    assert said.n_samples == result.n_samples == len(Z)
    assert said.memory == said.sums + said.agops + said.batch


def test_operations_of_an_mlp_in_closed_form():
    sizes, n, c = (6, 40, 16, 3), 50, 3
    products = sum(2 * a * b for a, b in pairwise(sizes))
    early = [d * (2 * k + d) < k * k for d, k in pairwise(sizes)]
    assert early == [True, False, False]
    outer = 2 * 6 * 40 + 2 * 6**2 + 2 * 16**2 + 2 * 3**2
    reading = 2 * 16 * 40 * 56 + 2 * 3 * 16 * 19
    said = agop.estimate_layer_agops(mlp(*sizes), random(n, 6))
    assert said.n_passes == c
    assert said.operations == n * (products + c * (products + outer)) + reading


@pytest.mark.parametrize("batch", [None, 7, 1000])
def test_a_loader_is_as_many_samples_as_it_says(batch):
    model, Z = MODELS["mlp"]
    if batch is None:
        said = agop.estimate_layer_agops(model, [Z[:25], Z[25:]])
        assert said.batch_rows == 25
    else:
        said = agop.estimate_layer_agops(model, DataLoader(TensorDataset(Z), batch_size=batch))
        assert said.batch_rows == min(batch, 50)
    assert said.n_samples == 50
    assert said.seconds > 0
    assert str(said).startswith("AGOPs of 3 layers, 50 samples, 3 backward passes each: about ")


def test_few_passes_are_run_however_many_outputs_there_are(monkeypatch):
    model, Z = mlp(5, 4, 300), random(20, 5)
    passes = []
    run = Sweep._tell

    def heard(self, rows, done=0, of=0):
        passes.append((rows, done, of))
        run(self, rows, done, of)

    monkeypatch.setattr(Sweep, "_tell", heard)
    said = agop.estimate_layer_agops(model, Z, batch_size=5)
    assert said.n_passes == 300
    assert passes == [(5, 0, 0)] + [(5, done, 5) for done in range(1, 6)]


def test_seconds_are_those_of_a_batch_times_batches(monkeypatch):
    ticks = iter(range(100))
    monkeypatch.setattr(cost.time, "perf_counter", lambda: float(next(ticks)))
    said = agop.estimate_layer_agops(mlp(5, 4, 3), random(20, 5), layers=["2"], batch_size=5)
    reading = 2 * 3 * 4 * 7
    assert said.seconds == pytest.approx(1 + 4 * (1 + 3) + reading / (5 * (2 * 3 * 4 + 2 * 3**2)))


def test_nothing_is_left_behind():
    model, Z = mlp(5, 4, 3), random(20, 5).requires_grad_()
    before, state = torch.get_rng_state(), {k: v.clone() for k, v in model.state_dict().items()}
    agop.estimate_layer_agops(model, Z)
    assert torch.equal(torch.get_rng_state(), before)
    assert Z.grad is None
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_what_does_not_fit_is_refused_before_it_is_made(monkeypatch):
    model, Z = MODELS["mlp"]

    def never(*_args):
        raise AssertionError

    monkeypatch.setattr(layer_sum.LayerSum, "like", never)
    sentence = (
        r"^layers: expected AGOPs that fit into 1\.0 KiB \(max_memory\), got 3 that take about .*\(sums .*, AGOPs .*, a batch .*\); "
        r"choose fewer layers, a smaller batch_size, or raise max_memory\.$"
    )
    with pytest.raises(MemoryError, match=sentence):
        agop.layer_agops(model, Z, max_memory="1KB")


def test_just_enough_memory_is_enough():
    model, Z = MODELS["mlp"]
    need = agop.estimate_layer_agops(model, Z).memory
    assert len(agop.layer_agops(model, Z, max_memory=need)) == 3
    with pytest.raises(MemoryError):
        agop.layer_agops(model, Z, max_memory=need - 1)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (iter([random(3, 6)]), "^X: expected samples, or a loader with a length that can be read again, got an iterator; pass"),
        (torch.utils.data.DataLoader(type("Stream", (torch.utils.data.IterableDataset,), {"__iter__": lambda _: iter([random(6)])})()),
         "got a loader without a length"),
        (random(3, 5), "^X: expected samples that the model takes"),
    ],
)  # fmt: skip
def test_bad_input_is_one_sentence(X, message):
    with pytest.raises(ValueError, match=message):
        agop.estimate_layer_agops(MODELS["mlp"][0], X)


def test_every_pass_is_told():
    model, Z = MODELS["mlp"]
    told = []
    agop.layer_agops(model, Z, batch_size=25, progress=lambda *state: told.append(state))
    assert told == [(25.0 * i, 200.0, "layer AGOPs, 50 samples") for i in range(1, 9)]


def test_what_a_hook_raises_stops_it_and_leaves_the_model():
    model, Z = MODELS["mlp"]

    def stop(*_state):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        agop.layer_agops(model, Z, progress=stop)
    assert all(p.requires_grad for p in model.parameters())
    assert not any(m._forward_hooks for m in model.modules())


@pytest.mark.parametrize(("verbose", "terminal", "lines"), [(True, False, True), (None, False, False), (False, False, False)])  # fmt: skip
def test_a_bar_comes_after_two_seconds(verbose, terminal, lines, monkeypatch, capsys):
    model, Z = MODELS["mlp"]
    clock = iter(range(0, 10_000, 6))
    monkeypatch.setattr(_progress.time, "monotonic", lambda: float(next(clock)))
    agop.layer_agops(model, Z, batch_size=25, verbose=verbose)
    told = capsys.readouterr().err
    assert ("layer AGOPs, 50 samples" in told) == lines
    monkeypatch.setattr(_progress.time, "monotonic", lambda: 0.0)
    agop.layer_agops(model, Z, verbose=verbose)
    assert capsys.readouterr().err == ""


@pytest.mark.slow
def test_a_vision_transformer_of_size_s_is_said_beforehand():
    timm = pytest.importorskip("timm")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = timm.create_model("vit_small_patch16_224", pretrained=False).eval()
    images = torch.randn(8, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    said = agop.estimate_layer_agops(model, images, outputs=[0, 1, 2, 3])
    assert len(said.layers) == 50
    # patches 768², heads, 12 blocks of qkv, proj (384²) and fc1 read 384, fc2 reads 1536 numbers
    assert said.agops == 4 * (768**2 + 384**2 + 12 * (3 * 384**2 + 1536**2))
    whole = agop.estimate_layer_agops(model, images)
    assert whole.n_passes == 1000
    assert whole.sums == said.sums
    assert 100 < whole.operations / said.operations < 250
    assert 2e11 < said.operations < 2e12
    begun = time.perf_counter()
    result = agop.layer_agops(model, images, outputs=[0, 1, 2, 3])
    assert 1 / 3 < said.seconds / (time.perf_counter() - begun) < 3
    assert list(result) == list(said.layers)
    assert said.memory < 2**30
