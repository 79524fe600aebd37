from __future__ import annotations

import pytest
import torch

from agop.kernels import Gaussian, Laplace
from agop.kernels.distance import Points, squared_distances
from agop.kernels.gram import fill_kernel_matrix
from tests.conformance.kernels import RadialConformance
from tests.tolerances import IDENTITY, SINGLE, relative_error


class TestLaplace(RadialConformance):
    name, parameters = "laplace", {"bandwidth": 2.0}
    kernel = Laplace(bandwidth=2.0)


class TestLaplaceSmallExponent(RadialConformance):
    name, parameters = "laplace", {"bandwidth": 1.5, "exponent": 0.7}
    kernel = Laplace(bandwidth=1.5, exponent=0.7)


class TestLaplaceLargeExponent(RadialConformance):
    name, parameters = "laplace", {"bandwidth": 1.5, "exponent": 1.6}
    kernel = Laplace(bandwidth=1.5, exponent=1.6)


class TestGaussian(RadialConformance):
    name, parameters = "gaussian", {"bandwidth": 1.3}
    kernel = Gaussian(bandwidth=1.3)


def test_exponent_two_is_a_gaussian():
    X = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert relative_error(Laplace(2.0, exponent=2.0)(X), Gaussian(2.0 / 2**0.5)(X)) < IDENTITY


@pytest.mark.parametrize("bandwidth", [0, -1.0, float("nan"), float("inf")])
@pytest.mark.parametrize("kernel", [Laplace, Gaussian])
def test_unusable_bandwidth_is_one_sentence(kernel, bandwidth):
    with pytest.raises(ValueError, match=r"^bandwidth: expected a finite number > 0, got .*\.$"):
        kernel(bandwidth=bandwidth)


@pytest.mark.parametrize("exponent", [0, 2.1, -1])
def test_exponent_outside_the_positive_definite_range(exponent):
    with pytest.raises(ValueError, match="exponent: expected a finite number > 0 and <= 2"):
        Laplace(exponent=exponent)


def test_columns_must_match():
    with pytest.raises(ValueError, match="Z: expected 3 columns like X, got 4"):
        Laplace()(torch.zeros(2, 3), torch.zeros(2, 4))


@pytest.mark.parametrize("spread", [1e-2, 1e-4, 1e-6])
def test_distances_of_nearly_coincident_points_keep_their_digits(spread):
    g = torch.Generator().manual_seed(0)
    X = (torch.randn(1, 50, generator=g) + spread * torch.randn(40, 50, generator=g)).float() + 3
    exact = (X.double()[:, None] - X.double()[None]).square().sum(2)
    error = ((squared_distances(X) - exact).abs() / exact.clamp_min(1e-300)).max()
    assert error < 1e-5
    assert (squared_distances(X).diagonal() == 0).all()


@pytest.mark.parametrize("scale", [1e-18, 1e-10, 1e17])
def test_distances_in_single_precision_have_the_range_of_its_roots(scale):
    X = torch.randn(30, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * scale
    X[7] = X[3] * (1 + 1e-9)
    points = Points(X)
    distances = points.distances(slice(None), points, dtype=torch.float32)
    exact = (X[:, None] - X[None]).norm(dim=2)
    assert relative_error(distances.double() / scale, exact / scale) < SINGLE
    assert abs(float(distances[7, 3]) / float(exact[7, 3]) - 1) < 1e-5


@pytest.mark.parametrize("n", [37, 256, 2500])
def test_kernel_matrix_in_tiles_equals_the_whole_and_its_weights_are_exactly_symmetric(n):
    X = torch.randn(n, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    kernel = Laplace(2.0)
    values, weights = torch.full((n, n), torch.nan, dtype=X.dtype), torch.empty(n, n, dtype=X.dtype)
    fill_kernel_matrix(kernel, Points(X), values=values, weights=weights)
    assert relative_error(values.tril(), kernel(X).tril()) < IDENTITY
    assert torch.equal(weights, weights.mT)
    assert (weights.diagonal() == 0).all()
    squares = (X[:5, None] - X[None]).square().sum(2)
    expected = -kernel(X[:5], X) / (2 * squares.sqrt())
    away = squares > 0
    assert relative_error(weights[:5][away], expected[away]) < IDENTITY
