"""Block conjugate gradients against a dense solve."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agop.kernels import Laplace
from agop.linalg.conjugate_gradients import conjugate_gradients
from agop.linalg.pivoted_cholesky import pivoted_cholesky
from agop.linalg.preconditioner import LowRankPreconditioner
from tests.linalg.test_pivoted_cholesky import Dense, seeded
from tests.tolerances import relative_error


class System:
    """A ridge system with a Laplace kernel, its preconditioner of some rank, and counted products."""

    def __init__(self, n=200, rank=30, ridge=1e-3, seed=0):
        generator = seeded(seed)
        X = torch.randn(n, 3, dtype=torch.float64, generator=generator)
        self.K = Laplace(bandwidth=2.0)(X)
        self.A = self.K + ridge * torch.eye(n, dtype=torch.float64)
        self.B = torch.randn(n, 3, dtype=torch.float64, generator=generator)
        partial = pivoted_cholesky(Dense(self.K), rank, generator=generator)
        D = torch.full((n,), ridge, dtype=torch.float64) + partial.residual.mean()
        self.C = LowRankPreconditioner.of(partial.factor, D)
        self.products = 0

    def __call__(self, V):
        self.products += 1
        return self.A.to(V.dtype) @ V

    def solve(self, B=None, **options):
        return conjugate_gradients(self, self.B if B is None else B, self.C, **options)


@settings(max_examples=20, deadline=None)
@given(
    n=st.integers(1, 60),
    c=st.integers(1, 5),
    rank=st.integers(0, 20),
    seed=st.integers(0, 99),
    tolerance=st.sampled_from([1e-3, 1e-8]),
)
def test_residuals_are_within_the_tolerance(n, c, rank, seed, tolerance):
    system = System(n, min(rank, n), seed=seed)
    B = torch.randn(n, c, dtype=torch.float64, generator=seeded(seed))
    solution = system.solve(B, tolerance=tolerance)
    left = (B - system.A @ solution.X).norm(dim=0) / B.norm(dim=0)
    assert solution.converged
    assert float(left.max()) <= tolerance * (1 + 1e-6)
    assert float((solution.relative - left).abs().max()) < 1e-12
    assert solution.iterations + solution.checks == system.products


def test_equals_the_dense_solution():
    system = System()
    solution = system.solve(tolerance=1e-11)
    assert relative_error(solution.X, torch.linalg.solve(system.A, system.B)) < 1e-8
    assert float((solution.residual - (system.B - system.A @ solution.X)).abs().max()) < 1e-12


def test_single_precision_iterations_reach_double_precision_residuals():
    system = System()
    system.C = system.C.to(torch.float32)
    solution = system.solve(tolerance=1e-10)
    assert solution.converged
    assert solution.X.dtype == torch.float64
    assert solution.checks > 2
    assert relative_error(solution.X, torch.linalg.solve(system.A, system.B)) < 1e-7


def test_the_preconditioner_and_common_directions_save_iterations():
    iterations = [System(400, rank).solve().iterations for rank in (0, 40, 160)]
    assert iterations[0] > iterations[1] > iterations[2]
    system = System(400)
    alone = max(system.solve(system.B[:, [j]]).iterations for j in range(3))
    assert system.solve().iterations < alone


@pytest.mark.parametrize("kind", ["zero column", "all zero", "repeated", "opposite", "hugely scaled"])
def test_right_hand_sides_of_all_kinds(kind):
    system = System(100)
    B = system.B.clone()
    if kind == "zero column":
        B[:, 1] = 0
    elif kind == "all zero":
        B.zero_()
    elif kind == "hugely scaled":
        B *= torch.tensor([1e-12, 1.0, 1e12])
    else:
        B[:, 1] = B[:, 0] * (1 if kind == "repeated" else -1)
    solution = system.solve(B, tolerance=1e-9)
    assert solution.converged
    exact = torch.linalg.solve(system.A, B)
    for j in range(3):
        assert float((solution.X[:, j] - exact[:, j]).norm()) <= 1e-6 * float(exact[:, j].norm())


def test_a_start_saves_iterations_and_a_bad_one_costs_one_product():
    system = System()
    exact = torch.linalg.solve(system.A, system.B)
    cold = system.solve()
    warm = system.solve(
        initial=exact + 1e-4 * torch.randn(exact.shape, dtype=exact.dtype, generator=seeded())
    )
    bad = system.solve(initial=-5 * exact)
    assert warm.converged
    assert warm.iterations < cold.iterations / 1.5
    assert bad.iterations == cold.iterations
    assert bad.checks == cold.checks + 1
    assert system.solve(initial=exact).iterations == 0


def test_too_few_iterations_are_reported_with_the_true_residual():
    system = System()
    told = []
    solution = system.solve(max_iter=3, on_iteration=lambda *what: told.append(what))
    assert (solution.converged, solution.reason, solution.iterations) == (False, "max_iter", 3)
    left = (system.B - system.A @ solution.X).norm(dim=0) / system.B.norm(dim=0)
    assert relative_error(solution.relative, left) < 1e-8
    assert [iteration for iteration, _ in told] == [1, 2, 3]
    assert float(left.max()) > 1e-6


def test_rounding_is_told_from_too_few_iterations():
    system = System()
    system.C = system.C.to(torch.float32)
    solution = conjugate_gradients(system, system.B.float(), system.C, tolerance=1e-9)
    assert solution.reason == "rounding"
    assert 1e-9 < float(solution.relative.max()) < 1e-4
    assert solution.iterations < 200


def test_right_hand_sides_are_left_alone_and_a_callback_may_stop():
    system = System()
    before = system.B.clone()

    def stop(iteration, residual):
        if iteration == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        system.solve(on_iteration=stop)
    system.solve()
    assert torch.equal(system.B, before)
