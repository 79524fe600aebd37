"""The residual of FACT and the centred NFA as functions of matrices: formulas, scale and rotation."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agop.probes.centred_nfa import centred_nfa
from agop.probes.fact import fact_residual
from tests.tolerances import IDENTITY

SHAPES = st.tuples(st.integers(1, 6), st.integers(1, 6))
SEEDS = st.integers(0, 2**20)


def drawn(shape, seed):
    g = torch.Generator().manual_seed(seed)
    k, d = shape
    W, V, W0 = (torch.randn(k, d, generator=g, dtype=torch.float64) for _ in range(3))
    half = torch.randn(k, k, generator=g, dtype=torch.float64)
    return W, V, W0, half @ half.mT, torch.linalg.qr(torch.randn(d, d, generator=g, dtype=torch.float64))[0]


@settings(max_examples=30, deadline=None)
@given(SHAPES, SEEDS, st.floats(1e-100, 1e100))
def test_the_residual_is_its_formula_whatever_the_scale_and_the_axes(shape, seed, scale):
    W, V, _, _, turn = drawn(shape, seed)
    expected = float((W.mT @ W - W.mT @ V).norm() / (W.mT @ W).norm())
    assert float(fact_residual(W, V)) == pytest.approx(expected, rel=1e-8)
    assert float(fact_residual(scale * W, scale * V)) == pytest.approx(expected, rel=1e-8)
    assert float(fact_residual(W @ turn, V @ turn)) == pytest.approx(expected, rel=1e-8)
    assert float(fact_residual(W, W)) == 0
    assert float(fact_residual(W, torch.zeros_like(W))) == pytest.approx(1, rel=IDENTITY)


@settings(max_examples=30, deadline=None)
@given(SHAPES, SEEDS)
def test_the_centred_nfa_is_its_formula_and_one_where_all_gradients_are_alike(shape, seed):
    W, _, W0, K, turn = drawn(shape, seed)
    learned = W - W0
    a, b = learned.mT @ learned, learned.mT @ K @ learned
    cosine = float((a * b).sum() / (a.norm() * b.norm()))
    assert float(centred_nfa(W, W0, K)) == pytest.approx(cosine, rel=1e-8)
    assert float(centred_nfa(W @ turn, W0 @ turn, 7 * K)) == pytest.approx(cosine, rel=1e-8)
    assert float(centred_nfa(W, W0, torch.eye(len(W)))) == pytest.approx(1, rel=1e-9)


def test_undefined_with_a_reason():
    W = torch.ones(2, 3)
    assert fact_residual(torch.zeros(2, 3), W).undefined_because == "the weight is zero"
    assert "range" in fact_residual(W.double(), 1e300 * W.double()).undefined_because
    assert centred_nfa(W, W, torch.eye(2)).undefined_because == "the weight is the initial one"
    assert centred_nfa(W, 0 * W, torch.zeros(2, 2)).undefined_because
