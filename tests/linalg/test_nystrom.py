"""The coordinates of a Nyström system, and Gram matrices summed in panels."""

from __future__ import annotations

import pytest
import torch

from agop.kernels import Gaussian, Laplace
from agop.linalg.nystrom import CUT, NystromBasis, add_gram_, symmetric_
from tests.tolerances import IDENTITY, relative_error


def matrix(kernel, m=60, d=3):
    generator = torch.Generator().manual_seed(0)
    return kernel(torch.randn(m, d, dtype=torch.float64, generator=generator))


def test_features_have_the_kernels_inner_products():
    K = matrix(Laplace(2.0))
    basis = NystromBasis.of(K, 0.1)
    F = K @ basis.projection
    assert basis.rank == len(K)
    assert relative_error(F @ F.mT, K) < IDENTITY


def test_what_is_below_the_cut_is_left_out_and_told():
    K = matrix(Gaussian(5.0), m=200, d=2)
    basis = NystromBasis.of(K, 1e-3)
    largest = float(basis.eigenvalues[0])
    floor = 200 * torch.finfo(torch.float64).eps * largest
    assert basis.cut == max(min(CUT * largest, 1e-9), floor)
    assert basis.rank == int((basis.eigenvalues > basis.cut).sum()) < 200
    assert bool(torch.isfinite(basis.projection).all())


def test_equal_centres_lower_the_rank():
    K = matrix(Laplace(2.0))
    twice = torch.cat([K, K], 0)
    basis = NystromBasis.of(torch.cat([twice, twice], 1), 0.1)
    assert basis.rank == len(K)


def test_zeros_have_no_coordinates():
    with pytest.raises(ValueError, match="centers: expected points whose kernel matrix is not zero"):
        NystromBasis.of(torch.zeros(3, 3), 0.1)


@pytest.mark.parametrize("r", [1, 7, 512, 1100])
def test_panels_fill_the_lower_triangle(r):
    F = torch.randn(20, r, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    G = torch.zeros(r, r, dtype=torch.float64)
    add_gram_(G, F[:12])
    add_gram_(G, F[12:])
    assert relative_error(symmetric_(G), F.mT @ F) < IDENTITY
    assert torch.equal(G, G.mT)


def test_rounding_of_sums_that_are_projected():
    # K = 2 I of 16 centres and 160 rows: ‖10 K²‖_F = 10 · 4 · 4, four units of rounding of that over √16 and the eigenvalue 2
    basis = NystromBasis.of(2 * torch.eye(16, dtype=torch.float64), 1.0)
    assert basis.rounding(160) == pytest.approx(4 * 2.0**-52 * 160 / 4 / 2)
    a, b = torch.tensor([1.0, 1e-9], dtype=torch.float64).diag(), torch.eye(2, dtype=torch.float64)
    assert NystromBasis.of(a, 1.0).rounding(2) > 1e8 * NystromBasis.of(b, 1.0).rounding(2)
