from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agop.linalg.cholesky import NotPositiveDefinite, cholesky_, cholesky_solve
from agop.linalg.compare import matrix_correlation
from agop.linalg.psd import psd_power
from agop.linalg.ridge import RidgeFactor, SingularSystemError
from tests.tolerances import IDENTITY, ITERATIVE, relative_error


def psd(n, rank=None, seed=0, dtype=torch.float64):
    g = torch.Generator().manual_seed(seed)
    B = torch.randn(n, rank or n, generator=g, dtype=dtype)
    return B @ B.mT


@settings(max_examples=25, deadline=None)
@given(n=st.integers(1, 9), block=st.integers(1, 10), seed=st.integers(0, 9))
def test_blocked_cholesky_equals_lapack(n, block, seed):
    K = psd(n, seed=seed) + torch.eye(n, dtype=torch.float64)
    work = K.clone()
    assert cholesky_(work, block=block).data_ptr() == work.data_ptr()
    assert relative_error(work.tril(), torch.linalg.cholesky(K)) < IDENTITY
    Y = torch.randn(n, 3, generator=torch.Generator().manual_seed(seed), dtype=K.dtype)
    assert relative_error(K @ cholesky_solve(work, Y, block=block), Y) < ITERATIVE


def test_cholesky_names_the_row_that_fails():
    K = torch.eye(7, dtype=torch.float64)
    K[4, 4] = -1
    with pytest.raises(NotPositiveDefinite) as caught:
        cholesky_(K, block=3)
    assert caught.value.row == 4


def test_cholesky_can_be_interrupted_between_blocks():
    def stop(done, total):
        raise KeyboardInterrupt(f"{done} of {total}")

    with pytest.raises(KeyboardInterrupt, match="2 of 6"):
        cholesky_(torch.eye(6), block=2, on_block=stop)


def test_ridge_factor_solves_many_and_keeps_its_matrix():
    K, before = psd(8), psd(8)
    factor = RidgeFactor.of(K, 0.5)
    for seed in range(2):
        Y = torch.randn(8, 2, generator=torch.Generator().manual_seed(seed), dtype=K.dtype)
        assert (
            relative_error(factor.solve(Y), torch.linalg.solve(K + 0.5 * torch.eye(8, dtype=K.dtype), Y))
            < IDENTITY
        )
    assert torch.equal(K, before)
    assert 0 < factor.pivot_ratio <= 1


def test_a_singular_system_names_cause_and_remedy():
    with pytest.raises(
        SingularSystemError, match=r"ridge: .* singular in float64 with ridge=0 .* raise ridge \(try 1e-06\)"
    ):
        RidgeFactor.of(psd(6, rank=2), 0.0)
    with pytest.raises(SingularSystemError, match="or compute in float64"):
        RidgeFactor.of(torch.ones(4, 4), 0.0)


@pytest.mark.parametrize("power", [0.5, 1.0, -1.0, 0.25])
def test_powers_multiply(power):
    M = psd(6)
    raised = psd_power(M, power)
    assert relative_error(psd_power(raised.matrix, 1 / power).matrix, M) < 1e-8
    assert (raised.rank, raised.clipped, raised.most_negative) == (6, 0, 0.0)


def test_a_power_lives_on_the_numerical_range():
    M = psd(6, rank=2)
    raised = psd_power(M, -0.5)
    assert (raised.rank, raised.clipped) == (2, 4)
    projector = raised.matrix @ M @ raised.matrix
    assert relative_error(projector @ projector, projector) < 1e-8
    assert psd_power(torch.zeros(3, 3), 0.5).rank == 0


def test_single_precision_roots_keep_small_eigenvalues():
    values = torch.tensor([1.0, 1e-5])
    assert psd_power(torch.diag(values), 0.5).matrix[1, 1] == pytest.approx(math.sqrt(1e-5), rel=1e-5)


@pytest.mark.parametrize(
    ("M", "message"),
    [
        (torch.zeros(2, 3), "M: expected a square matrix, got shape"),
        (
            torch.diag(torch.tensor([1.0, -0.5])),
            "M: expected a positive semi-definite matrix, got eigenvalues from -0.5 to 1",
        ),
        (torch.full((2, 2), float("nan")), "M: expected finite values, got 4 NaN"),
    ],
)
def test_what_has_no_power_is_said(M, message):
    with pytest.raises(ValueError, match=message):
        psd_power(M, 0.5)


def test_correlation_by_hand():
    A, B = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[2.0, 1.0], [4.0, 3.0]])
    assert matrix_correlation(A, B) == pytest.approx(0.6)
    assert matrix_correlation(A, B, centered=False) == pytest.approx(28 / 30)
    assert matrix_correlation(A, -A) == pytest.approx(-1)
    assert math.isnan(matrix_correlation(A, torch.ones(2, 2)))


@settings(max_examples=25, deadline=None)
@given(scale=st.floats(1e-150, 1e150), shift=st.floats(-5, 5))
def test_correlation_does_not_depend_on_scale_or_shift(scale, shift):
    A, B = psd(4), psd(4, seed=1)
    assert matrix_correlation(scale * A, B + shift) == pytest.approx(matrix_correlation(A, B), abs=1e-8)


def test_correlation_refuses_other_shapes():
    with pytest.raises(ValueError, match=r"B: expected the shape of A \(2, 2\), got \(3, 3\)"):
        matrix_correlation(torch.zeros(2, 2), torch.zeros(3, 3))
