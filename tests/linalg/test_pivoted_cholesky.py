"""Randomly pivoted Cholesky, and the preconditioner made from it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agop.kernels import Gaussian, Laplace
from agop.linalg.pivoted_cholesky import pivoted_cholesky
from agop.linalg.preconditioner import LowRankPreconditioner
from tests.tolerances import IDENTITY, SINGLE, relative_error


class Dense:
    """A stored matrix as something to take columns of."""

    def __init__(self, K):
        self.K, self.dtype = K, K.dtype

    def __len__(self):
        return len(self.K)

    def diagonal(self):
        return self.K.diagonal()

    def columns(self, index, rows=slice(None)):
        return self.K[rows][:, index]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def kernel_matrix(n=150, d=3, kernel=None, seed=0):
    return (kernel or Laplace(bandwidth=2.0))(torch.randn(n, d, dtype=torch.float64, generator=seeded(seed)))


@settings(max_examples=20, deadline=None)
@given(n=st.integers(1, 40), rank=st.integers(0, 45), seed=st.integers(0, 99))
def test_what_is_left_is_positive_and_zero_at_the_pivots(n, rank, seed):
    K = kernel_matrix(n, 2, seed=seed)
    partial = pivoted_cholesky(Dense(K), rank, generator=seeded(seed))
    left = K - partial.factor @ partial.factor.mT
    assert len(partial.pivots) == len(set(partial.pivots.tolist())) == min(rank, n)
    assert float(left[partial.pivots].abs().sum()) < IDENTITY
    assert float(torch.linalg.eigvalsh(left)[0]) > -IDENTITY
    assert float((left.diagonal() - partial.residual).abs().max()) < IDENTITY


def test_a_matrix_of_low_rank_is_found_whole_and_no_more():
    F = torch.randn(200, 7, dtype=torch.float64, generator=seeded())
    K = F @ F.mT
    partial = pivoted_cholesky(Dense(K), 50, generator=seeded())
    assert len(partial.pivots) == 7
    assert relative_error(partial.factor @ partial.factor.mT, K) < IDENTITY


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_of_coincident_points_one_is_taken(dtype):
    X = torch.randn(40, 3, dtype=torch.float64, generator=seeded()).repeat(5, 1)
    partial = pivoted_cholesky(Dense(Laplace(bandwidth=2.0)(X).to(dtype)), 200, generator=seeded())
    assert sorted((partial.pivots % 40).tolist()) == list(range(40))
    assert bool(torch.isfinite(partial.factor).all())


def test_it_ends_at_the_target_and_the_seed_decides():
    K = Dense(kernel_matrix(kernel=Gaussian(bandwidth=2.0)))
    partial, again, other = (pivoted_cholesky(K, 150, generator=seeded(s), target=1e-3) for s in (0, 0, 1))
    assert float(partial.residual.mean()) <= 1e-3
    assert 0 < len(partial.pivots) < 100
    assert torch.equal(partial.pivots, again.pivots)
    assert not torch.equal(partial.pivots, other.pivots)


def test_it_is_near_the_best_approximation_of_its_rank():
    K = kernel_matrix(400, 2)
    best = torch.linalg.eigvalsh(K).flip(0)
    for rank in (20, 60):
        left = [float(pivoted_cholesky(Dense(K), rank, generator=seeded(s)).residual.sum()) for s in range(5)]
        assert float(best[rank:].sum()) <= min(left)
        assert max(left) < 2.2 * float(best[rank:].sum())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("rank", [0, 1, 30])
def test_preconditioner_is_the_root_of_the_inverse(dtype, rank):
    generator = seeded()
    F = torch.randn(80, rank, dtype=torch.float64, generator=generator)
    D = torch.rand(80, dtype=torch.float64, generator=generator) + 0.1
    C = LowRankPreconditioner.of(F.to(dtype, copy=True), D)  # it overwrites F
    eye = torch.eye(80, dtype=dtype)
    P = (F @ F.mT + D.diag()).to(dtype).double()
    assert relative_error(C(eye).double() @ P @ C.transposed(eye).double(), eye) < (
        SINGLE if dtype == torch.float32 else IDENTITY
    )
    assert relative_error(C(eye).mT, C.transposed(eye)) < (SINGLE if dtype == torch.float32 else IDENTITY)


def test_single_precision_leaves_the_preconditioned_system_positive():
    """Where the largest eigenvalue is 1e9 times the ridge, the inverse written as a difference is indefinite."""
    K = 1e3 * kernel_matrix(200, 2, kernel=Gaussian(bandwidth=3.0))
    F = pivoted_cholesky(Dense(K), 40, generator=seeded()).factor.float()
    C = LowRankPreconditioner.of(F, torch.full((200,), 1e-4, dtype=torch.float64)).to(torch.float64)
    eye = torch.eye(200, dtype=torch.float64)
    difference = eye - C.basis @ (1 - (1 + C.shrinkage).square()).diag() @ C.basis.mT
    assert float(torch.linalg.eigvalsh(difference)[0]) < -1e-10
    root = C(eye) * 1e-2  # without the scale
    assert float(torch.linalg.eigvalsh(root @ root.mT)[0]) > 1e-10


def test_condition_falls_with_the_rank():
    K = kernel_matrix(300, 3)
    A, eye = K + 1e-3 * torch.eye(300, dtype=K.dtype), torch.eye(300, dtype=K.dtype)
    conditions = []
    for rank in (0, 10, 50, 200, 300):
        partial = pivoted_cholesky(Dense(K), rank, generator=seeded())
        C = LowRankPreconditioner.of(partial.factor, torch.full((300,), 1e-3) + partial.residual.mean())
        conditions.append(float(torch.linalg.cond(C(A @ C.transposed(eye)))))
    assert conditions == sorted(conditions, reverse=True)
    assert conditions[-1] < 1.01
    assert conditions[2] < conditions[0] / 20
