"""AGOP and ansatz along the modes of an input: against autograd, closed forms, properties, sentences."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import agop
from tests.oracles import rank_r as oracle
from tests.sentences import one_sentence
from tests.tolerances import IDENTITY, relative_error

SHAPES = [(6,), (2, 3), (2, 3, 4), (3, 1, 2, 2)]


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def psd(d, seed=0):
    root = torch.randn(d, d, generator=rng(seed), dtype=torch.float64)
    return root @ root.mT


@pytest.mark.parametrize("shape", SHAPES)
def test_partial_traces_are_the_agops_of_unfoldings_by_autograd(shape):
    net = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(math.prod(shape), 5), torch.nn.Tanh(), torch.nn.Linear(5, 3)
    ).double()
    x = torch.randn(7, *shape, generator=rng(), dtype=torch.float64)
    jacobians = torch.stack([torch.func.jacrev(lambda row: net(row[None])[0])(row) for row in x]).detach()
    found = agop.mode_agops(agop.agop(net, x), shape)
    for own, expected in zip(found, oracle.mode_agops(jacobians), strict=True):
        assert relative_error(own, expected) < IDENTITY


def test_closed_forms():
    """The identity gives the number of the other positions; an outer product of matrices gives the factors times the other's trace."""
    for matrix, others in zip(agop.mode_agops(torch.eye(24), (2, 3, 4)), (12, 8, 6), strict=True):
        assert torch.equal(matrix, others * torch.eye(len(matrix)))
    A, B = psd(3), psd(4, 1)
    rows, columns = agop.mode_agops(torch.kron(A, B), (3, 4))
    assert relative_error(rows, A * B.trace()) < IDENTITY
    assert relative_error(columns, B * A.trace()) < IDENTITY
    assert torch.equal(agop.mode_agops(A, (3,))[0], A)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(SHAPES), st.floats(0.1, 10))
def test_trace_scale_and_order_of_entries(seed, shape, scale):
    M, sides = psd(math.prod(shape), seed), range(len(shape))
    found = agop.mode_agops(M, shape)
    assert all(float(abs(part.trace() / M.trace() - 1)) < IDENTITY for part in found)
    assert all(float(torch.linalg.eigvalsh(part).min()) > -IDENTITY * float(M.trace()) for part in found)
    places = torch.arange(math.prod(shape)).reshape(shape)
    swapped = places.permute(*reversed(sides)).flatten()
    turned = agop.mode_agops(scale * M[swapped][:, swapped], tuple(reversed(shape)))
    assert all(relative_error(a, scale * b) < IDENTITY for a, b in zip(turned, reversed(found), strict=True))


def test_the_ansatz_of_a_mode():
    M = psd(6)
    root = torch.linalg.eigh(M)
    power = (root.eigenvectors * root.eigenvalues.sqrt()) @ root.eigenvectors.mT
    own = agop.mode_nfa(M, M, (2, 3))
    assert own == tuple(agop.nfa(part, part) for part in agop.mode_agops(M, (2, 3)))
    assert agop.mode_nfa(power, M, (6,)) == (pytest.approx(1),)
    assert agop.mode_nfa(M, M, (2, 3), power=1) == (pytest.approx(1), pytest.approx(1))
    assert math.isnan(agop.mode_nfa(M, M, (6, 1))[1])


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: agop.mode_agops(torch.eye(6), (2, 2)), r"agop: expected shape \(4, 4\) for shape=\(2, 2\), got \(6, 6\)"),
        (lambda: agop.mode_agops(torch.eye(6), 6), "shape: expected the sizes"),
        (lambda: agop.mode_agops(torch.eye(6), ()), "shape: expected the sizes"),
        (lambda: agop.mode_agops(torch.eye(6), "23"), "shape: expected the sizes"),
        (lambda: agop.mode_agops(torch.eye(6), (2, 3.0)), "shape: expected an integer"),
        (lambda: agop.mode_agops(torch.eye(6), (6, 0)), "shape: expected an integer >= 1"),
        (lambda: agop.mode_agops(torch.full((6, 6), float("nan")), (2, 3)), "agop: expected finite values"),
        (lambda: agop.mode_agops([[1.0]], (1,)), "agop: expected a floating-point tensor"),
        (lambda: agop.mode_nfa(torch.eye(4), torch.eye(6), (2, 3)), "feature_matrix: expected shape"),
        (lambda: agop.mode_nfa(None, torch.eye(6), (2, 3)), "feature_matrix: expected a floating-point tensor"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("as_in_production")
def test_bad_input_is_one_sentence(call, sentence):
    with one_sentence(match=sentence):
        call()
