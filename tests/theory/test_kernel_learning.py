from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agop.kernels import Laplace
from agop.theory.kernel_learning import (
    collapsed_kernel,
    learn_kernel,
    lower_bound,
    objective,
    objective_gradient,
    one_hot,
    project,
)
from tests.oracles import theory as oracle
from tests.tolerances import IDENTITY, ITERATIVE

BALANCED = torch.arange(3).repeat_interleave(4)
IMBALANCED = torch.repeat_interleave(torch.arange(3), torch.tensor([7, 4, 1]))


@pytest.mark.parametrize("labels", [BALANCED, IMBALANCED])
@pytest.mark.parametrize("mu", [1e-3, 0.1, 2.0])
def test_the_collapsed_kernel_attains_the_bound(labels, mu):
    value = objective(collapsed_kernel(labels), one_hot(labels), mu)
    assert value == pytest.approx(lower_bound(labels, mu), rel=IDENTITY)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10_000), st.sampled_from([BALANCED, IMBALANCED]), st.floats(0.01, 3), st.integers(1, 12)
)
def test_no_feasible_kernel_is_below_the_bound(seed, labels, mu, rank):
    k = oracle.random_feasible(12, torch.Generator().manual_seed(seed), rank)
    target = collapsed_kernel(labels)
    assert objective(k, one_hot(labels), mu) > lower_bound(labels, mu)
    near = 0.999 * target + 0.001 * k  # feasible, and still strictly above: the minimiser is unique
    assert objective(near, one_hot(labels), mu) > lower_bound(labels, mu)


@pytest.mark.parametrize("labels", [BALANCED, IMBALANCED])
def test_the_collapsed_kernel_satisfies_the_kkt_conditions(labels):
    """∇f + diag(δ) = Z with δ ≥ 0, Z ⪰ 0 and Z k* = 0: sufficient, since f is convex."""
    mu, k, Y = 0.3, collapsed_kernel(labels), one_hot(labels)
    counts = torch.bincount(labels).double()[labels]
    dual = counts / (counts + mu) ** 2
    Z = objective_gradient(k, Y, mu)[1] + torch.diag(dual)
    assert float(torch.linalg.eigvalsh(Z)[0]) > -IDENTITY
    assert float((Z @ k).abs().max()) < IDENTITY
    assert float(dual.min()) > 0


def test_gradient_is_that_of_autograd():
    k = oracle.random_feasible(12, torch.Generator().manual_seed(0)).requires_grad_()
    Y = one_hot(IMBALANCED)
    value = torch.trace(Y.T @ torch.linalg.inv(k + 0.2 * torch.eye(12, dtype=torch.float64)) @ Y)
    (expected,) = torch.autograd.grad(value, k)
    found, gradient = objective_gradient(k.detach(), Y, 0.2)
    assert found == pytest.approx(value.item(), rel=IDENTITY)
    torch.testing.assert_close(gradient, expected, rtol=1e-9, atol=1e-9)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.1, 3))
def test_projection_is_feasible_and_nearest(seed, size):
    generator = torch.Generator().manual_seed(seed)
    S = size * torch.randn(8, 8, generator=generator, dtype=torch.float64)
    S = (S + S.T) / 2
    found = project(S, tolerance=1e-10, max_rounds=5000)
    k = found.matrix
    assert found.residual <= 1e-10
    assert float(torch.linalg.eigvalsh(k)[0]) > -1e-9
    assert float(k.diagonal().max()) <= 1 + 1e-12
    for _ in range(10):  # the obtuse angle that marks a projection onto a convex set
        other = oracle.random_feasible(8, generator)
        assert float(((S - k) * (other - k)).sum()) < ITERATIVE * max(1.0, size)


def test_a_feasible_matrix_is_its_own_projection():
    k = oracle.random_feasible(8, torch.Generator().manual_seed(0))
    torch.testing.assert_close(project(k).matrix, k, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("labels", "mu"), [(BALANCED, 1.0), (BALANCED, 0.1), (IMBALANCED, 0.5)])
def test_a_data_kernel_ends_at_the_collapsed_one(labels, mu):
    points = torch.randn(12, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    seen = []
    learned = learn_kernel(
        Laplace(bandwidth=2.0)(points), labels, mu, callback=lambda step, gap: seen.append((step, gap))
    )
    assert learned.converged
    assert learned.gaps[0] > 0.1
    assert all(later <= earlier for earlier, later in itertools.pairwise(learned.values))
    assert min(learned.gaps) > -1e-12
    assert learned.distances[-1] < 5e-3
    assert learned.values[-1] == pytest.approx(objective(learned.kernel, one_hot(labels), mu), rel=IDENTITY)
    assert seen[-1] == (len(learned.values) - 1, learned.gaps[-1])
    stopped = learn_kernel(Laplace(bandwidth=2.0)(points), labels, mu, max_steps=2)
    assert not stopped.converged
    assert len(stopped.values) == 3


def test_other_labels_are_not_served(toy):
    """The kernel learned for one labelling is far from the optimum of another."""
    labels = BALANCED
    learned = learn_kernel(torch.eye(12, dtype=torch.float64), labels, 1.0)
    other = labels[torch.randperm(12, generator=torch.Generator().manual_seed(0))]
    assert objective(learned.kernel, one_hot(other), 1.0) > 1.5 * lower_bound(other, 1.0)


def test_bad_input():
    with pytest.raises(ValueError, match="mu"):
        lower_bound(BALANCED, 0)
    with pytest.raises(ValueError, match="square"):
        project(torch.ones(2, 3))
    with pytest.raises(ValueError, match="rows"):
        learn_kernel(torch.eye(5, dtype=torch.float64), BALANCED, 1.0)
