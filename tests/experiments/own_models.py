"""Models as users bring them, found by name."""

from __future__ import annotations

from torch import nn

from agop.experiments.listener import Listener


def images():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(24, 3))


def double():
    return nn.Sequential(nn.Linear(4, 2)).double()


def tokens():
    return nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(20, 2))


def quiet():
    return Listener()
