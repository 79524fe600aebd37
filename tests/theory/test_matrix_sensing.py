from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agop.theory.dropout import enumerated_loss, loss
from agop.theory.matrix_sensing import least_factors, least_penalty, sensing_penalty
from tests.tolerances import IDENTITY, ITERATIVE, relative_error

INVALID = (ValueError, TypeError)


def problem(rows=5, columns=4, rank=2, seed=0):
    g = torch.Generator().manual_seed(seed)
    left, right = (torch.randn(size, rank, generator=g, dtype=torch.float64) for size in (rows, columns))
    p, q = (torch.rand(size, generator=g, dtype=torch.float64) + 0.1 for size in (rows, columns))
    return left, right, p / p.sum(), q / q.sum()


def least_by_optimisation(left, right, p, q, factors, seed):
    """min R(U, V) over U = L G, V = R (G⁺ + N)ᵀ with G G⁺ = I and N in the kernel of G: all factors of M = L Rᵀ."""
    g = torch.Generator().manual_seed(seed)
    rank = left.shape[1]
    G, N = (torch.randn(rank, factors, generator=g, dtype=torch.float64).requires_grad_() for _ in "GN")
    tight = {"tolerance_grad": 1e-12, "tolerance_change": 1e-15, "line_search_fn": "strong_wolfe"}
    optimiser = torch.optim.LBFGS([G, N], max_iter=500, **tight)

    def factored():
        inverse = torch.linalg.pinv(G)
        return left @ G, right @ (inverse + (torch.eye(factors) - inverse @ G) @ N.mT).mT

    def closure():
        optimiser.zero_grad()
        U, V = factored()
        value = (p @ U.square()) @ (q @ V.square())
        value.backward()
        return value

    optimiser.step(closure)
    U, V = (side.detach() for side in factored())
    assert relative_error(U @ V.T, left @ right.T) < IDENTITY
    return sensing_penalty(U, V, p, q)


@pytest.mark.parametrize("factors", [2, 3, 6])
def test_optimisation_finds_the_weighted_trace_norm(factors):
    left, right, p, q = problem()
    expected = least_penalty(left @ right.T, p, q, factors)
    found = [least_by_optimisation(left, right, p, q, factors, seed) for seed in range(4)]
    assert min(found) == pytest.approx(expected, rel=ITERATIVE)
    assert all(value >= expected * (1 - IDENTITY) for value in found)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**16), rank=st.integers(1, 4), more=st.integers(0, 5))
def test_the_least_factors_reach_it_and_all_add_the_same(seed, rank, more):
    left, right, p, q = problem(rank=rank, seed=seed)
    M = left @ right.T
    U, V = least_factors(M, p, q, rank + more)
    assert relative_error(U @ V.T, M) < IDENTITY
    assert sensing_penalty(U, V, p, q) == pytest.approx(least_penalty(M, p, q, rank + more), rel=IDENTITY)
    shares = (p @ U.square()) * (q @ V.square())
    assert float(shares.max() - shares.min()) < IDENTITY * float(shares.max())
    # any other factors cost at least as much
    g = torch.Generator().manual_seed(seed)
    turn = torch.randn(rank + more, rank + more, generator=g, dtype=torch.float64)
    other = sensing_penalty(U @ turn, V @ torch.linalg.inv(turn).T, p, q)
    assert other >= least_penalty(M, p, q, rank + more) * (1 - 1e-6)


def test_the_formula_is_the_trace_norm_of_the_weighted_matrix():
    left, right, p, q = problem()
    weighted = torch.diag(p.sqrt()) @ left @ right.T @ torch.diag(q.sqrt())
    trace_norm = float(torch.linalg.matrix_norm(weighted, "nuc"))
    assert least_penalty(left @ right.T, p, q, 7) == pytest.approx(trace_norm**2 / 7, rel=IDENTITY)
    # uniform probabilities: the plain trace norm by the number of entries
    p, q = torch.full((5,), 0.2), torch.full((4,), 0.25)
    plain = float(torch.linalg.matrix_norm(left @ right.T, "nuc"))
    assert least_penalty(left @ right.T, p, q, 2) == pytest.approx(plain**2 / 40, rel=1e-6)


def test_the_penalty_is_what_dropout_on_the_factors_adds():
    """Every entry seen as often as p and q say: enumerated over all masks of the factors."""
    g = torch.Generator().manual_seed(0)
    U, V = (
        torch.randn(3, 4, generator=g, dtype=torch.float64),
        torch.randn(2, 4, generator=g, dtype=torch.float64),
    )
    rows, columns = torch.tensor([0, 0, 1, 2]), torch.tensor([0, 1, 1])
    p, q = torch.tensor([0.5, 0.25, 0.25]), torch.tensor([1 / 3, 2 / 3], dtype=torch.float64)
    activations = (U[rows][:, None] * V[columns]).reshape(12, 4)
    observed = torch.randn(12, 1, generator=g, dtype=torch.float64)
    ones = torch.ones(1, 4, dtype=torch.float64)
    added = enumerated_loss(activations, ones, observed, 0.4) - loss(activations, ones, observed)
    assert added == pytest.approx(0.4 / 0.6 * sensing_penalty(U, V, p, q), rel=IDENTITY)


def test_nothing_to_factor():
    p = torch.full((2,), 0.5)
    assert least_penalty(torch.zeros(2, 2), p, p, 1) == 0
    U, V = least_factors(torch.zeros(2, 2), p, p, 3)
    assert not U.any()
    assert V.shape == (2, 3)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"factors": 1}, "factors: expected at least the rank of M, 2"),
        ({"factors": 0}, "factors"),
        ({"p": torch.full((4,), 0.25)}, "p: expected 5 positive probabilities"),
        ({"p": torch.full((5,), 0.3)}, "a sum of 1.5"),
        ({"q": torch.tensor([0.5, 0.5, 0.0, 0.0])}, "q: .*not positive"),
        ({"M": torch.full((5, 4), math.nan)}, "M: expected finite values"),
        ({"M": torch.zeros(0, 4), "p": torch.zeros(0)}, "p: expected 0 positive"),
    ],
)
def test_bad_input_is_one_sentence(change, says):
    left, right, p, q = problem()
    arguments = {"M": left @ right.T, "p": p, "q": q, "factors": 2, **change}
    for function in (least_penalty, least_factors):
        with pytest.raises(INVALID, match=says):
            function(**arguments)
    with pytest.raises(ValueError, match="V: expected 2 columns"):
        sensing_penalty(left, right[:, :1], p, q)
