"""Training: the loss it says it has, batches, schedules, and that stopping and going on changes no bit."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from agop.networks.models import mlp
from agop.networks.state import fill_with, load_state, read_tensors, save_state, save_weights
from agop.networks.training import Training, _batches, evaluate, loss_of, order_of, train


@pytest.fixture
def points(generator):
    y = torch.arange(90) % 3
    return torch.randn(90, 5, generator=generator) + 2 * torch.nn.functional.one_hot(y, 5), y


def small(seed=0):
    return mlp(5, 3, width=8, depth=2, init_gain=1.0, seed=seed)


def bits(model):
    return [value.clone() for value in model.state_dict().values()]


def test_the_loss_is_the_mean_squared_distance_to_plus_and_minus_one(points):
    x, y = points
    outputs = small()(x).detach()
    targets = 2.0 * torch.nn.functional.one_hot(y, 3) - 1
    assert float(loss_of(outputs, y, "mse")) == pytest.approx(float((outputs - targets).square().mean()))
    expected = nn.CrossEntropyLoss()(outputs, y)
    assert float(loss_of(outputs, y, "cross-entropy")) == pytest.approx(float(expected))


def test_one_step_is_gradient_descent(points):
    x, y = points
    net, before = small(), small()
    loss_of(before(x), y, "mse").backward()
    list(train(net, x, y, Training(epochs=1, batch_size=90, lr=0.1)))
    for new, old in zip(net.parameters(), before.parameters(), strict=True):
        torch.testing.assert_close(new, old - 0.1 * old.grad)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"momentum": 0.9},
        {"optimiser": "adam", "lr": 0.01},
        {"schedule": "cosine", "loss": "cross-entropy"},
    ],
    ids=str,
)
def test_a_run_that_was_cut_off_goes_on_bit_for_bit(points, tmp_path, options):
    x, y = points
    training = Training(epochs=6, batch_size=16, seed=3, **options)
    whole = small()
    epochs = list(train(whole, x, y, training))
    assert [epoch.number for epoch in epochs] == list(range(1, 7))

    first = small()
    optimiser = training.make_optimiser(first)
    for epoch in train(first, x, y, training, optimiser=optimiser):
        if epoch.number == 4:
            save_state(first, optimiser, tmp_path / "state.safetensors", {"done": "4"})
            break
    second = small(seed=9)
    optimiser = training.make_optimiser(second)
    done = int(load_state(second, optimiser, tmp_path / "state.safetensors")["done"])
    rest = list(train(second, x, y, training, optimiser=optimiser, done=done))
    assert all(torch.equal(a, b) for a, b in zip(bits(whole), bits(second), strict=True))
    assert [epoch.loss for epoch in rest] == [epoch.loss for epoch in epochs[4:]]


def test_it_learns(points):
    x, y = points
    net = small()
    first, *_, last = train(net, x, y, Training(epochs=60, batch_size=16, lr=0.1))
    assert last.accuracy > 0.8 > first.accuracy
    assert last.loss < 0.5 * first.loss
    loss, accuracy = evaluate(net, x, y, "mse", batch_size=7)
    assert loss == pytest.approx(float(loss_of(net(x), y, "mse")), rel=1e-5)
    assert accuracy == pytest.approx(float((net(x).argmax(1) == y).float().mean()))


def test_every_sample_comes_once_and_never_alone():
    for n, size in ((10, 3), (9, 4), (5, 5), (1, 4), (7, 100)):
        batches = list(_batches(order_of(0, 1, n), size))
        assert sorted(torch.cat(batches).tolist()) == list(range(n))
        assert n == 1 or all(len(batch) > 1 for batch in batches)
    assert order_of(0, 1, 50).tolist() != order_of(0, 2, 50).tolist()
    assert order_of(0, 1, 50).tolist() != order_of(1, 1, 50).tolist()
    assert order_of(4, 7, 50).tolist() == order_of(4, 7, 50).tolist()


def test_schedules():
    assert [Training(epochs=4, lr=1, schedule="step").rate(e) for e in (1, 2, 3, 4)] == [1, 1, 0.1, 0.01]
    cosine = [Training(epochs=4, lr=1, schedule="cosine").rate(e) for e in (1, 3)]
    assert cosine == pytest.approx([1, 0.5])


def test_a_diverging_training_is_stopped_in_a_sentence(points):
    x, y = points
    with pytest.raises(
        ValueError, match=r"lr: expected a training that converges, got a loss of (nan|inf) in epoch"
    ):
        list(train(mlp(5, 3, depth=0), x, y, Training(epochs=50, lr=1e6)))


@pytest.mark.parametrize(
    "option", [{"lr": 0}, {"optimiser": "lbfgs"}, {"loss": "hinge"}, {"momentum": 2}], ids=str
)
def test_options_are_checked(option):
    with pytest.raises(ValueError, match=next(iter(option))):
        Training(**option)


def test_weights_come_back_and_other_files_are_refused(tmp_path):
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    path = tmp_path / "weights.safetensors"
    save_weights(net, path)
    other = copy.deepcopy(net)
    nn.init.zeros_(other[0].weight)
    fill_with(other, read_tensors(path), path)
    assert all(torch.equal(a, b) for a, b in zip(bits(net), bits(other), strict=True))
    with pytest.raises(ValueError, match="none for 2.weight"):
        fill_with(nn.Sequential(*net, nn.Linear(4, 2)), read_tensors(path), path)
    with pytest.raises(ValueError, match="shape"):
        fill_with(nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4)), read_tensors(path), path)
    with pytest.raises(ValueError, match="one for 1.bias"):
        fill_with(nn.Sequential(nn.Linear(3, 4)), read_tensors(path), path)
    path.write_bytes(b"not a file of weights")
    with pytest.raises(ValueError, match="weights: expected a readable safetensors file"):
        fill_with(net, read_tensors(path), path)
