from __future__ import annotations

import pytest
import torch

from agop.kernels import Gaussian, Laplace
from agop.machines.feature_maps import draw_feature_map
from tests.tolerances import IDENTITY, relative_error

X = 0.7 * torch.randn(6, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def features(name, width=200_000, **options):
    generator = torch.Generator().manual_seed(0)
    return draw_feature_map(name, 3, width, generator=generator, bandwidth=1.5, **options)(X)


@pytest.mark.parametrize(
    ("name", "options", "kernel"),
    [
        ("fourier-laplace", {}, Laplace(1.5)),
        ("fourier-laplace", {"exponent": 0.6}, Laplace(1.5, exponent=0.6)),
        ("fourier-laplace", {"exponent": 1.7}, Laplace(1.5, exponent=1.7)),
        ("fourier-laplace", {"exponent": 2.0}, Laplace(1.5, exponent=2.0)),
        ("fourier-gaussian", {}, Gaussian(1.5)),
        ("fourier", {"kernel": "gaussian"}, Gaussian(1.5)),
        ("fourier", {"kernel": "laplace"}, Laplace(1.5)),
    ],
)
def test_fourier_features_belong_to_the_kernel_they_name(name, options, kernel):
    Phi = features(name, **options)
    assert (Phi @ Phi.T - kernel(X)).abs().max() < 0.015  # Monte Carlo: 4 standard errors at this width


def test_the_released_scripts_law_belongs_to_the_l1_laplace_kernel():
    Phi = features("fourier-laplace-l1")
    l1 = torch.exp(-(X[:, None] - X[None]).abs().sum(2) / 1.5)
    assert (Phi @ Phi.T - l1).abs().max() < 0.015
    assert (l1 - Laplace(1.5)(X)).abs().max() > 0.05


def test_relu_features_keep_the_norm_on_average():
    Phi = features("relu")
    assert relative_error(Phi.square().sum(1), X.square().sum(1)) < 0.02


def test_identity():
    assert relative_error(features("identity"), X) < IDENTITY


def test_unknown_map():
    with pytest.raises(ValueError, match="feature_map: expected one of 'relu', .*, got 'sigmoid'"):
        features("sigmoid")
