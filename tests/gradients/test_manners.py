"""A sweep leaves a model as it was, and says in one sentence why it will not look at one."""

from __future__ import annotations

import copy

import pytest
import torch
import torchvision
from torch import nn

import agop
from tests.gradients.test_layers import seeded
from tests.gradients.test_outer import NET, X, mlp, random
from tests.tolerances import MERGE, relative_error


def snapshot(model):
    return {
        "state": {name: value.clone() for name, value in model.state_dict().items()},
        "modes": [module.training for module in model.modules()],
        "flags": [p.requires_grad for p in model.parameters()],
        "grads": [None if p.grad is None else p.grad.clone() for p in model.parameters()],
        "hooks": [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()],
        "random": torch.random.get_rng_state(),
        "fused": torch.backends.mha.get_fastpath_enabled(),
        "grad": torch.is_grad_enabled(),
    }


def assert_same(before, after):
    torch.testing.assert_close(before, after, rtol=0, atol=0)


class Explodes(nn.Module):
    """Raises in its `at`-th forward, or in every backward pass."""

    def __init__(self, at=None):
        super().__init__()
        self.at, self.calls = at, 0

    def forward(self, x):
        self.calls += 1
        if self.at == self.calls:
            raise RuntimeError("boom")
        if self.at is None:
            x.register_hook(self.fail)
        return x

    def fail(self, gradient):
        raise RuntimeError("boom")


def build(extra=None):
    model = seeded(
        lambda: nn.Sequential(
            nn.utils.parametrizations.spectral_norm(nn.Linear(6, 5)),
            nn.BatchNorm1d(5),
            nn.Dropout(0.5),
            extra or nn.Identity(),
            nn.Linear(5, 3),
        )
    )
    model[4].bias.requires_grad_(False)
    model[0].bias.grad = torch.ones(5, dtype=torch.float64)
    model[2].train()
    model[2].p = 0.0
    model[0].train()  # the power iteration of the spectral norm moves in training mode
    return model


FUNCTIONS = [agop.agop, agop.agop_diagonal, agop.layer_agops, lambda f, Z: agop.agop_top(f, Z, 2)]


@pytest.mark.parametrize("function", FUNCTIONS, ids=["agop", "diagonal", "layers", "top"])
def test_everything_is_as_before(function):
    model = build()
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(X), batch_size=9, shuffle=True)
    before = snapshot(model)
    for data in (X, loader):
        function(model, data)
        assert_same(before, snapshot(model))


@pytest.mark.parametrize("at", [None, 1, 3])
@pytest.mark.parametrize("function", FUNCTIONS, ids=["agop", "diagonal", "layers", "top"])
def test_everything_is_as_before_after_an_exception(function, at):
    model = build(Explodes(at))
    before = snapshot(model)
    with torch.no_grad(), pytest.raises(RuntimeError, match="boom"):
        function(model, X)
    assert_same(before, snapshot(model))


def test_results_do_not_depend_on_frozen_parameters():
    frozen = copy.deepcopy(NET).requires_grad_(False)
    for name, value in agop.layer_agops(NET, X).items():
        assert relative_error(agop.layer_agops(frozen, X)[name], value) == 0


@pytest.mark.parametrize("function", FUNCTIONS, ids=["agop", "diagonal", "layers", "top"])
def test_samples_that_mix_are_refused_by_name(function):
    model = torchvision.models.resnet18(num_classes=2)
    before = snapshot(model)
    with pytest.raises(
        ValueError, match=r"module 'bn1' \(BatchNorm2d\) normalises .* call .eval\(\) on the model"
    ):
        function(model, random(4, 3, 32, 32, dtype=torch.float32))
    assert_same(before, snapshot(model))
    without = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5, track_running_stats=False)).eval().double()
    with pytest.raises(ValueError, match="module '1' .BatchNorm1d.*track_running_stats=True"):
        function(without, X)


class Centre(nn.Module):
    def forward(self, x):
        return x - x.mean(0)


class Sum(nn.Module):
    def forward(self, x):
        return x.cumsum(0)


@pytest.mark.parametrize("mixing", [Centre, Sum])
@pytest.mark.parametrize("function", FUNCTIONS, ids=["agop", "diagonal", "layers", "top"])
def test_unknown_modules_that_mix_are_found_by_measuring(function, mixing):
    model = seeded(
        lambda: nn.Sequential(nn.Linear(6, 5), nn.Sequential(nn.Tanh(), mixing()), nn.Linear(5, 2))
    )
    with pytest.raises(ValueError, match=f"depends on other samples in module '1.1' .{mixing.__name__}."):
        function(model, X)


def test_mixing_behind_an_embedding():
    model = seeded(
        lambda: nn.Sequential(nn.Embedding(7, 6), nn.Flatten(), nn.Linear(24, 5), Centre(), nn.Linear(5, 2))
    )
    tokens = torch.randint(7, (9, 4), generator=torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match="depends on other samples in module '3' .Centre."):
        agop.layer_agops(model, tokens)
    # what happens before the first layer is none of its business
    assert list(agop.layer_agops(model, tokens, "4")) == ["4"]


@pytest.mark.parametrize(
    ("module", "told"),
    [
        (nn.Dropout(0.1), r"module '1' \(Dropout\) draws random numbers"),
        (nn.RReLU(), r"module '1' \(RReLU\) draws random numbers"),
        (torchvision.ops.StochasticDepth(0.5, "row"), r"module '1' \(StochasticDepth\) draws random numbers"),
    ],
)
def test_random_modules_are_refused_by_name(module, told):
    model = nn.Sequential(nn.Linear(6, 5), module, nn.Linear(5, 2)).double().train()
    for function in FUNCTIONS:
        with pytest.raises(ValueError, match=told):
            function(model, X)
    assert list(agop.layer_agops(model.eval(), X)) == ["0", "2"]


def test_dropout_inside_recurrent_and_attention_modules():
    lstm = nn.LSTM(6, 4, num_layers=2, dropout=0.3, batch_first=True).double()
    with pytest.raises(ValueError, match=r"module 'model' \(LSTM\) draws random numbers"):
        agop.layer_agops(lstm, random(3, 4, 6), output=lambda y: y[0][:, -1])


class Noise(nn.Module):
    def forward(self, x):
        return x + torch.nn.functional.dropout(x, 0.5, training=True)


def test_unknown_random_modules_are_found_by_measuring():
    model = seeded(lambda: nn.Sequential(nn.Linear(6, 5), Noise(), nn.Linear(5, 2)))
    for function in FUNCTIONS:
        with pytest.raises(ValueError, match="module '1' gave two different outputs for the same input"):
            function(model, X)
    assert agop.layer_agops(model, X, check=False).n_samples == 23


class Branches(nn.Module):
    def __init__(self, tail):
        super().__init__()
        self.body, self.cut, self.unused, self.tail = (
            nn.Linear(6, 5),
            nn.Linear(5, 5),
            nn.Linear(6, 5),
            nn.Linear(5, 2),
        )
        self.how = tail

    def forward(self, x):
        h = self.body(x)
        if self.how == "detach":
            return self.tail(h + self.cut(h).detach())
        if self.how == "no_grad":
            with torch.no_grad():
                extra = self.cut(h)
            return self.tail(h + extra)
        if self.how == "functional":
            return self.tail(nn.functional.linear(h, self.cut.weight))
        return self.tail(h), self.cut(h)


@pytest.mark.parametrize("how", ["detach", "no_grad"])
def test_layers_that_the_output_does_not_depend_on(how):
    model = seeded(lambda: Branches(how))
    for layers in (None, "cut"):
        with pytest.raises(ValueError, match="layer 'cut', from which no gradient path leads to the output"):
            agop.layer_agops(model, X, layers)
    assert list(agop.layer_agops(model, X, "!cut")) == ["body", "tail"]


def test_layers_that_are_not_called():
    model = seeded(lambda: Branches("functional"))
    result = agop.layer_agops(model, X)
    # the weight of 'cut' is used without calling it
    assert list(result) == ["body", "cut", "tail"]
    assert result.notes == ("left out: layer 'unused' (Linear), which was never called",)
    with pytest.raises(ValueError, match="layer 'unused' .Linear., which was never called; leave it out"):
        agop.layer_agops(model, X, ["body", "unused"])


def test_the_other_output_of_a_branched_model():
    model = seeded(lambda: Branches(None))
    assert list(agop.layer_agops(model, X, ["body", "cut"], output=1)) == ["body", "cut"]
    with pytest.raises(ValueError, match="layer 'tail', from which no gradient path"):
        agop.layer_agops(model, X, output=1)


def test_other_misuses():
    with pytest.raises(ValueError, match="layers: .*got 'nothing'; the model has 0, 1, 2, 3, 4"):
        agop.layer_agops(NET, X, "nothing")
    with pytest.raises(ValueError, match="layers: .*got Conv2d"):
        agop.layer_agops(NET, X, nn.Conv2d)
    with pytest.raises(ValueError, match="expected a model with layers to choose"):
        agop.layer_agops(nn.Tanh(), X)
    with pytest.raises(ValueError, match="positions: expected one of"):
        agop.layer_agops(NET, X, positions="max")
    with pytest.raises(ValueError, match="batch_size: expected an integer >= 1"):
        agop.layer_agops(NET, X, batch_size=0)
    with pytest.raises(ValueError, match="ReLU writing into its input; choose a layer before or after it"):
        agop.layer_agops(NET, X, nn.ReLU)
    with pytest.raises(ValueError, match="Embedding reading torch.int64 indices"):
        agop.layer_agops(
            nn.Sequential(nn.Embedding(3, 2), nn.Flatten(), nn.Linear(2, 2)), torch.zeros(4, 1).long(), "0"
        )


def test_reused_layer_inside_reentrant_checkpoints():
    from torch.utils.checkpoint import checkpoint

    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.head = nn.Linear(6, 6), nn.Linear(6, 2)

        def forward(self, x):
            for _ in range(2):
                x = checkpoint(self.layer, x, use_reentrant=True)
            return self.head(x)

    with pytest.raises(ValueError, match="layer 'layer' called again; checkpoint with use_reentrant=False"):
        agop.layer_agops(seeded(Twice), X)


def test_reading_the_result():
    result = agop.layer_agops(NET, X)
    assert (
        repr(result)
        == "LayerAGOPs({'0': (6, 6), '2': (16, 16), '4': (16, 16)}, n_samples=23, positions='mean')"
    )
    assert all(not value.requires_grad for value in result.values())


def test_layers_on_a_budget_use_several_batches():
    net, Z = mlp(6, 2000, 4), random(9000, 6)
    assert (
        relative_error(agop.layer_agops(net, Z)["2"], agop.layer_agops(net, Z, batch_size=9000)["2"]) < MERGE
    )
