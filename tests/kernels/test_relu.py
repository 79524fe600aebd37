"""Kernels of wide ReLU networks: the conformance suite, closed forms, and networks that are wide."""

from __future__ import annotations

import math

import pytest
import torch

from agop.kernels import ReLUNNGP, ReLUNTK
from agop.machines.feature_maps import draw_feature_map
from tests.conformance.kernels import AngularConformance
from tests.oracles import kernels as oracle
from tests.tolerances import IDENTITY, SINGLE, relative_error


class TestNNGP(AngularConformance):
    name, parameters = "relu-nngp", {"depth": 1}
    kernel = ReLUNNGP(depth=1)


class TestDeepNNGP(AngularConformance):
    name, parameters = "relu-nngp", {"depth": 4}
    kernel = ReLUNNGP(depth=4)


class TestNTK(AngularConformance):
    name, parameters = "relu-ntk", {"depth": 1}
    kernel = ReLUNTK(depth=1)


class TestDeepNTK(AngularConformance):
    name, parameters = "relu-ntk", {"depth": 4}
    kernel = ReLUNTK(depth=4)


def points(n=6, d=5, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_a_point_with_itself(depth):
    X = points()
    norms = X.square().sum(1)
    assert relative_error(ReLUNNGP(depth)(X).diagonal(), norms) < IDENTITY
    assert relative_error(ReLUNTK(depth)(X).diagonal(), (depth + 1) * norms) < IDENTITY


def test_right_angles_and_opposite_points():
    X = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]], dtype=torch.float64)
    expected = torch.tensor([1.0, 1 / math.pi, 0.0], dtype=torch.float64)
    assert relative_error(ReLUNNGP(1)(X)[0], expected) < IDENTITY
    # the derivative of the activation is on for both at 1, half and no directions
    tangent = expected + torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    assert relative_error(ReLUNTK(1)(X)[0], tangent) < IDENTITY


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, IDENTITY), (torch.float32, SINGLE)])
@pytest.mark.parametrize("kernel", [ReLUNNGP(3), ReLUNTK(3)], ids=lambda k: type(k).__name__)
@pytest.mark.parametrize("angle", [1e-7, 1e-3, 0.49, 0.51, 3.0])
def test_gradient_weights_keep_their_digits_at_small_angles(kernel, angle, dtype, tolerance):
    """Against the same formula at 60 digits more, from finite differences that these allow."""
    mpmath = pytest.importorskip("mpmath")
    r = torch.tensor([[2 * math.sin(angle / 2)]], dtype=dtype)
    with mpmath.workdps(80):

        def value(distance):
            nngp = ntk = 1 - distance**2 / 2
            for _ in range(3):
                on = (mpmath.pi - mpmath.acos(nngp)) / mpmath.pi
                nngp = mpmath.sqrt(1 - nngp**2) / mpmath.pi + nngp * on
                ntk = nngp + ntk * on
            return nngp if isinstance(kernel, ReLUNNGP) else ntk

        exact, slope = float(value(mpmath.mpf(float(r)))), float(mpmath.diff(value, mpmath.mpf(float(r))))
    values, weights = kernel.evaluate(r.clone())
    assert float(values) == pytest.approx(exact, rel=tolerance)
    assert float(weights) == pytest.approx(slope / float(r), rel=tolerance)


@pytest.mark.parametrize("depth", [1, 3])
def test_wide_random_networks_have_the_covariance(depth):
    X = points(n=4, d=3)
    generator = torch.Generator().manual_seed(0)
    hidden = X
    for _ in range(depth):
        hidden = draw_feature_map("relu", hidden.shape[1], 4000, generator=generator, bandwidth=1.0)(hidden)
    expected = ReLUNNGP(depth)(X)
    assert (hidden @ hidden.mT - expected).abs().max() < 0.15 * expected.max()  # some 4 standard errors


@pytest.mark.parametrize("depth", [1, 2])
def test_gradients_of_wide_networks_have_the_tangent_kernel(depth):
    X, width = points(n=4, d=3), 1500
    g = torch.Generator().manual_seed(0)
    shapes = [(width, 3), *[(width, width)] * (depth - 1), (1, width)]
    weights = [torch.randn(*shape, generator=g, dtype=X.dtype).requires_grad_() for shape in shapes]

    def network(x):
        for weight in weights[:-1]:
            x = torch.relu(weight @ x) * math.sqrt(2 / width)
        return (weights[-1] @ x).squeeze()

    J = torch.stack([torch.cat([t.flatten() for t in torch.autograd.grad(network(x), weights)]) for x in X])
    expected = ReLUNTK(depth)(X)
    assert (J @ J.mT - expected).abs().max() < 0.1 * expected.max()


@pytest.mark.parametrize("kernel", [ReLUNNGP, ReLUNTK])
@pytest.mark.parametrize("depth", [0, -1])
def test_a_network_without_hidden_layers_is_refused(kernel, depth):
    with pytest.raises(ValueError, match=f"depth: expected an integer >= 1, got {depth}"):
        kernel(depth=depth)
    with pytest.raises(
        ValueError, match="depth: expected at most 1000, by which the kernel is flat, got 1001"
    ):
        kernel(depth=1001)


def test_cusp_of_the_tangent_kernel_has_opposite_slopes_and_the_convention_is_their_mean():
    z = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    one = torch.ones(1, 1, dtype=z.dtype)
    sides = [
        ReLUNTK(2).gradient(torch.tensor([[1.0, s]], dtype=z.dtype), z, one)[0, 0] for s in (1e-9, -1e-9)
    ]
    assert float(sides[0][1]) == pytest.approx(-float(sides[1][1]), rel=1e-6)
    assert abs(float(sides[0][1])) > 0.1
    at = ReLUNTK(2).gradient(z, z, one)[0, 0]
    assert relative_error(at, (sides[0] + sides[1]) / 2) < 1e-8
    expected = oracle.angular_jacobians("relu-ntk", {"depth": 2}, z, z, one)[0, 0]
    assert relative_error(at, expected) < IDENTITY
