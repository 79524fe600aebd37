"""Sums over the shorter gradients behind a first linear layer are the same sums, and are taken only where they are."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import agop
from agop.gradients.entrance import Entrance
from tests.gradients.test_outer import mlp, random
from tests.oracles import gradients as oracle
from tests.tolerances import IDENTITY, relative_error

NET = mlp(12, 5, 4, 3)
OTHER = nn.Linear(12, 3).double()
X = random(40, 12, seed=1)


def taken(f, Z):
    entrance = Entrance(f)
    x = Z.clone().requires_grad_().clone()
    with entrance.watched(), entrance.of(x):
        y = f(x)
    return entrance.found(y) is not None


def twice(x):
    return NET(x) + OTHER(x)


def squared(x):
    return NET(x) + x[:, :3].square()


def changed(x):
    return NET(x.mul_(2))


class Flat(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = NET

    def forward(self, x):
        return self.net(x.flatten(1))


class Late(nn.Module):
    """Reads the input elsewhere only if it is large, which no look at the first samples shows."""

    def __init__(self):
        super().__init__()
        self.net = NET

    def forward(self, x):
        y = self.net(x)
        return y + x[:, :3].pow(3) if float(x.detach().max()) > 5 else y


@pytest.mark.parametrize(
    ("f", "Z", "expected"),
    [
        (NET, X, True),
        (lambda x: NET(x), X, True),
        (Flat(), X.reshape(40, 3, 4), True),
        (nn.Sequential(nn.Identity(), NET), X, True),
        (nn.Sequential(nn.Linear(12, 12).double(), NET), X, False),
        (nn.Sequential(nn.Tanh(), NET), X, False),
        (twice, X, False),
        (squared, X, False),
        (changed, X, False),
        (lambda x: NET(x.reshape(-1, 3, 4).transpose(1, 2).flatten(1)), X, False),
        (lambda x: NET(x.detach()) + x[:, :3], X, False),
        (nn.LazyLinear(2).double(), X, True),
    ],
)
def test_where_it_is_taken_and_that_it_is_right(f, Z, expected):
    f(Z.clone())
    assert taken(f, Z) is expected
    scale = float(oracle.agop(lambda z: f(z.clone()), Z).norm())
    for center in (False, True):
        value = agop.agop(f, Z, center=center, batch_size=16)
        # the centred AGOP of a linear function is zero: relative to the one that is not
        assert (
            float((value - oracle.agop(lambda z: f(z.clone()), Z, center=center)).norm()) < IDENTITY * scale
        )


def test_batches_on_either_way_are_merged():
    Z = X.clone()
    Z[30] = 6
    for center in (False, True):
        value = agop.agop(Late(), Z, center=center, batch_size=8)
        jacobians = [oracle.jacobians(NET if block.max() < 5 else late_large, block) for block in Z.split(8)]
        J = torch.cat(jacobians)
        assert relative_error(value, oracle.mean_outer(J - J.mean(0) if center else J)) < IDENTITY


def late_large(x):
    return NET(x) + x[:, :3].pow(3)


@pytest.mark.parametrize("center", [False, True])
def test_random_outputs_on_either_way_are_the_same(center):
    options = {"outputs": 2, "random_state": 3, "center": center}
    direct = agop.agop(lambda x: NET(x * 1), X, **options)
    assert relative_error(agop.agop(NET, X, **options), direct) < IDENTITY


def test_few_samples_do_not_take_it_and_are_right():
    assert relative_error(agop.agop(NET, X[:2]), oracle.agop(NET, X[:2])) < IDENTITY
