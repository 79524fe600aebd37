"""Patch AGOPs of trained convolutions, the ansatz, filters of a patch matrix and the energy of patches."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import agop
from tests import tolerances
from tests.oracles import gradients as oracle

DOUBLE = torch.float64


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def cnn():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1, stride=2), nn.Tanh(), nn.Conv2d(4, 6, (2, 1), groups=2, bias=False), nn.Tanh(),
        nn.Flatten(), nn.Linear(6 * 3 * 4, 5),
    ).double()  # fmt: skip


def images(n=7, c=3, side=8):
    return torch.randn(n, c, side, side, dtype=DOUBLE)


@pytest.mark.parametrize("layer", ["0", "2"])
@pytest.mark.parametrize("positions", ["sum", "mean"])
def test_a_patch_agop_is_that_of_autograd(layer, positions):
    net, X = cnn(), images()
    expected = oracle.layer_agop(net, X, net[int(layer)], positions=positions)
    found = agop.patch_agop(net, layer, X, positions=positions)
    assert tolerances.relative_error(found, expected) < tolerances.IDENTITY
    assert found.shape == agop.nfm(net[int(layer)]).shape
    torch.testing.assert_close(agop.patch_agop(net, net[int(layer)], X, positions=positions), found)


def test_of_one_filter_and_a_linear_readout_it_is_the_filter():
    net = nn.Sequential(nn.Conv2d(2, 1, 3), nn.Flatten(), nn.Linear(16, 1, bias=False)).double()
    nn.init.ones_(net[2].weight)
    w = net[0].weight.detach().flatten()
    found = agop.patch_agop(net, "0", images(c=2, side=6))
    assert tolerances.relative_error(found, 16 * torch.outer(w, w)) < tolerances.IDENTITY
    assert agop.conv_nfa(net, images(c=2, side=6))["0"] == pytest.approx(1)


def test_order_and_batches_of_images_change_nothing():
    net, X = cnn(), images(12)
    whole = agop.patch_agop(net, "0", X)
    assert (
        tolerances.relative_error(agop.patch_agop(net, "0", X[torch.randperm(12)], batch_size=5), whole)
        < tolerances.MERGE
    )
    assert (
        tolerances.relative_error(agop.patch_agop(net.float(), "0", X.float()).double(), whole)
        < tolerances.SINGLE
    )


def test_the_ansatz_of_every_convolution_is_the_correlation_of_two_matrices():
    net, X = cnn(), images()
    found = agop.conv_nfa(net, X)
    assert list(found) == ["0", "2"]
    for name, value in found.items():
        W = net[int(name)].weight.detach().flatten(1)
        pair = (W.mT @ W).flatten(), oracle.layer_agop(net, X, net[int(name)]).flatten()
        assert value == pytest.approx(np.corrcoef(*pair)[0, 1], abs=tolerances.IDENTITY)
    half = agop.conv_nfa(net, X, "0", power=0.5)
    assert half == {"0": pytest.approx(agop.nfa(agop.nfm(net[0]), agop.patch_agop(net, "0", X)))}


def test_a_convolution_called_twice_has_two_numbers_and_no_patch_agop():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(2, 2, 3, padding=1)

        def forward(self, x):
            return self.conv(self.conv(x).tanh()).flatten(1).mean(1, keepdim=True)

    net, X = Twice().double(), images(c=2)
    assert list(agop.conv_nfa(net, X)) == ["conv#0", "conv#1"]
    with pytest.raises(
        ValueError,
        match=r"layer: expected a convolution that is called once, got 'conv' with 2 calls; use agop.layer_agops",
    ):
        agop.patch_agop(net, "conv", X)


class Scaled(nn.Conv2d):
    """Not its weights alone multiply the patches."""

    def forward(self, x):
        return 2 * super().forward(x)


@pytest.mark.parametrize("layer", ["3", "1", "4"])
def test_other_layers_are_refused_in_one_sentence(layer):
    net = nn.Sequential(
        nn.Conv2d(3, 2, 3),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(72, 8),
        nn.Unflatten(1, (2, 2, 2)),
        Scaled(2, 1, 2),
        nn.Flatten(),
    )
    layer = "5" if layer == "4" else layer
    with pytest.raises(
        TypeError,
        match=rf"layer: expected a Conv1d, Conv2d or Conv3d, .*, got \w+ at '{layer}'; use agop.layer_agops\.",
    ):
        agop.patch_agop(net, layer, images())
    with pytest.raises(TypeError, match="layers: expected a Conv1d"):
        agop.conv_nfa(net, images(), [layer])
    assert list(agop.conv_nfa(net.double(), images(), ["0"])) == ["0"]


def test_a_glob_of_several_convolutions_is_refused():
    with pytest.raises(
        ValueError,
        match=r"layer: expected one convolution, got '\*', which fits model, 0, .*; name one of them",
    ):
        agop.patch_agop(cnn(), "*", images())


def test_filters_are_the_eigenvectors_as_small_images():
    W = torch.linalg.qr(torch.randn(18, 18, dtype=DOUBLE))[0]
    values = torch.arange(18, 0, -1, dtype=DOUBLE)
    found = agop.patch_filters(W * values @ W.mT, 2, n=5)
    assert found.filters.shape == (5, 2, 3, 3)
    for k in range(5):
        v = found.filters[k].flatten()
        assert float(v[v.abs().argmax()]) > 0
        assert abs(float(v @ W[:, k])) == pytest.approx(1)
    torch.testing.assert_close(found.eigenvalues, values[:5])
    torch.testing.assert_close(found.shares, values[:5] / values.sum())
    assert agop.patch_filters(torch.eye(18), 2, n=99).filters.shape == (18, 2, 3, 3)
    assert agop.patch_filters(torch.zeros(4, 4), 1).shares.isnan().all()


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize(("side", "stride"), [(3, 1), (2, 1), (2, 2), (3, 2), (1, 2)])
def test_energy_by_hand(padding, side, stride):
    X = images(3, 2, 7)
    root = torch.randn(2 * side * side, 2 * side * side, dtype=DOUBLE)
    M = root.mT @ root
    edge, after = ((side - 1) // 2, side // 2) if padding == "same" else (0, 0)
    wide = torch.nn.functional.pad(X, [edge, after] * 2)
    places = range(0, 7 + edge + after - side + 1, stride)
    total, count = torch.zeros(2, 3, *wide.shape[2:], dtype=DOUBLE)
    energies = torch.zeros(3, len(places), len(places), dtype=DOUBLE)
    for i, row in enumerate(places):
        for j, column in enumerate(places):
            patch = wide[:, :, row : row + side, column : column + side].flatten(1)
            energies[:, i, j] = (patch @ root.mT).square().sum(1)
            total[:, row : row + side, column : column + side] += energies[:, i, j, None, None]
            count[:, row : row + side, column : column + side] += 1
    told = {"stride": stride, "padding": padding}
    torch.testing.assert_close(agop.patch_energy(M, X, at="patches", **told), energies)
    expected = (total / count)[:, edge : edge + 7, edge : edge + 7]
    torch.testing.assert_close(agop.patch_energy(M, X, **told), expected, equal_nan=True)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 3), st.integers(1, 3), st.floats(0.1, 10))
def test_energy_is_quadratic_and_follows_a_shift(channels, side, factor):
    X = torch.randn(2, channels, 6, 6, dtype=DOUBLE)
    root = torch.randn(channels * side**2, channels * side**2, dtype=DOUBLE)
    M = root.mT @ root
    energy = agop.patch_energy(M, X, at="patches")
    torch.testing.assert_close(agop.patch_energy(M, factor * X, at="patches"), factor**2 * energy)
    torch.testing.assert_close(agop.patch_energy(factor * M, X, at="patches"), factor * energy)
    torch.testing.assert_close(agop.patch_energy(M, X[:, :, 1:, 2:], at="patches"), energy[:, 1:, 2:])
    torch.testing.assert_close(agop.patch_energy(M, X.flip(0)), agop.patch_energy(M, X).flip(0))
    assert float(agop.patch_energy(M, X).min()) >= -1e-12


def test_a_patch_larger_than_the_images_is_refused():
    with pytest.raises(
        ValueError,
        match="X: expected images of at least 3×3 pixels, those of a patch, got 2×5; take smaller patches",
    ):
        agop.patch_energy(torch.eye(9), torch.zeros(1, 1, 2, 5))
    with pytest.raises(
        ValueError,
        match="M: expected a matrix of 3 · q² rows, those of square patches of 3 channels, got 9 rows; check the channels",
    ):
        agop.patch_energy(torch.eye(9), torch.zeros(1, 3, 5, 5))
