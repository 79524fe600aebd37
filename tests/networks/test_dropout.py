"""Dropout in the package's networks: weights and names stay, masks come from the seed, evaluation has none."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn

import agop
from agop.networks.dropout import DroppedReLU, restart_dropout
from agop.networks.models import build, mlp
from agop.networks.streams import stream
from agop.networks.training import Training, train
from agop.theory.dropout import expected_loss

INVALID = (ValueError, TypeError)


def data(n=60, d=6, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, generator=g), torch.arange(n) % 3


def test_without_dropout_nothing_has_changed():
    """The weights are those of one generator, layer after layer, and there is nothing but linear layers and ReLUs."""
    net = mlp(6, 3, width=8, depth=2, init_gain=0.5, seed=4)
    generator = stream(4, 0)
    assert list(net.state_dict()) == ["head.0.weight", "head.2.weight", "head.4.weight"]
    for value in net.state_dict().values():
        expected = torch.empty_like(value)
        nn.init.xavier_normal_(expected, gain=0.5, generator=generator)
        assert torch.equal(value, expected)
    assert [type(part) for part in net.head] == [nn.Linear, nn.ReLU] * 2 + [nn.Linear]


@pytest.mark.parametrize("arch", ["mlp", "resnet18", "vgg11"])
def test_weights_and_names_are_the_same_with_dropout(arch):
    plain, dropped = (build(arch, (1, 28, 28), 4, width=8, depth=2, seed=3, dropout=p) for p in (0.0, 0.4))
    for (name, a), (other, b) in zip(plain.state_dict().items(), dropped.state_dict().items(), strict=True):
        assert name == other
        assert torch.equal(a, b)
    x = torch.randn(3, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    assert torch.equal(plain.eval()(x), dropped.eval()(x))
    assert not torch.equal(plain.train()(x), dropped.train()(x))


def test_one_probability_a_layer():
    net = mlp(6, 3, width=8, depth=3, dropout=(0, 0, 0.5))
    assert [type(part) for part in net.head][1::2] == [nn.ReLU, nn.ReLU, DroppedReLU]
    assert net.head[5].p == 0.5
    assert len(mlp(6, 3, depth=0, dropout=0.5).head) == 1


def test_units_are_dropped_as_often_as_told_and_the_mean_stays():
    x = torch.ones(200, 100)
    layer = DroppedReLU(0.3, seed=1)
    values = layer(x)
    assert values.unique().tolist() == pytest.approx([0.0, 1 / 0.7])
    assert float((values == 0).float().mean()) == pytest.approx(0.3, abs=4 * (0.21 / 20000) ** 0.5)
    assert not torch.equal(layer(x), values)
    assert torch.equal(DroppedReLU(0.3, seed=1)(x), values)
    assert not torch.equal(DroppedReLU(0.3, seed=1, place=1)(x), values)
    assert torch.equal(layer.eval()(-x), torch.zeros_like(x))


def test_its_expectation_is_the_closed_form():
    """Monte Carlo through the module itself, within 4 standard errors."""
    x, y = data()
    net = mlp(6, 3, width=10, depth=2, dropout=(0, 0.4)).double()
    x, targets = x.double(), torch.eye(3, dtype=torch.float64)[y]
    hidden = nn.Sequential(*net.head[:4]).eval()(x).detach()
    net.train()
    with torch.no_grad():
        losses = torch.stack([(net(x) - targets).square().sum(1).mean() for _ in range(3000)])
    expected = expected_loss(hidden, net.head[4].weight.detach(), targets, 0.4)
    assert abs(float(losses.mean()) - expected) < 4 * float(losses.std()) / 3000**0.5


def test_a_run_that_was_cut_off_has_the_same_masks():
    x, y = data()
    training = Training(epochs=4, batch_size=16, lr=0.1, optimiser="sgd", momentum=0.9, seed=2)

    def trained(*stops):
        net = mlp(6, 3, width=8, depth=2, seed=1, dropout=0.3)
        optimiser, done = training.make_optimiser(net), 0
        for stop in (*stops, 4):
            for epoch in train(net, x, y, training, optimiser=optimiser, done=done):
                done = epoch.number
                if done == stop:
                    break
            net = copy.deepcopy(net)
            state = optimiser.state_dict()
            optimiser = training.make_optimiser(net)
            optimiser.load_state_dict(state)
        return net.state_dict()

    state = torch.random.get_rng_state()
    whole, parts = trained(), trained(1, 3)
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_it_is_measured_copied_and_saved_as_others_are():
    x, y = data()
    net = mlp(6, 3, width=8, depth=2, dropout=0.3)
    assert "nc1" in agop.profile(net.eval(), x, y, measures=["nc1"]).table
    with pytest.raises(ValueError, match="DroppedReLU.* draws random numbers in training mode"):
        agop.agop(net.train(), x)
    again = pickle.loads(pickle.dumps(net))
    restart_dropout(net, 5, 2)
    restart_dropout(again, 5, 2)
    assert torch.equal(net(x), again(x))
    half = net.head[1](torch.ones(4, 8, dtype=torch.bfloat16))
    assert half.dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("dropout", "says"),
    [
        (1.0, "dropout: expected a probability below 1"),
        (-0.1, "dropout: expected a finite number"),
        (float("nan"), "dropout"),
        ("0.5", "dropout"),
        ((0.1, 0.2), "dropout: expected a probability, or 3, one a hidden layer"),
        ((0.1, 0.2, 2), "dropout"),
        (None, "dropout"),
    ],
)
def test_bad_probabilities_are_one_sentence(dropout, says):
    with pytest.raises(INVALID, match=says):
        mlp(4, 2, width=4, depth=3, dropout=dropout)
