from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import agop
from agop.gradients.spectrum import top_eigenpairs
from tests.gradients.test_outer import NET, X, mlp, random
from tests.oracles import gradients as oracle
from tests.tolerances import IDENTITY, ITERATIVE, relative_error


@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize("batch_size", [None, 1, 7])
def test_diagonal(center, batch_size):
    value = agop.agop_diagonal(NET, X, center=center, batch_size=batch_size)
    assert relative_error(value, oracle.agop(NET, X, center=center).diagonal()) < IDENTITY


def test_diagonal_of_random_and_chosen_outputs():
    whole = agop.agop(NET, X, outputs=3, random_state=4)
    assert relative_error(agop.agop_diagonal(NET, X, outputs=3, random_state=4), whole.diagonal()) < IDENTITY
    assert (
        relative_error(agop.agop_diagonal(NET, X, outputs=[1]), agop.agop(NET, X, outputs=[1]).diagonal())
        < IDENTITY
    )


def check_pairs(values, vectors, A, tolerance=ITERATIVE):
    expected = torch.linalg.eigvalsh(A).flip(0)[: len(values)]
    torch.testing.assert_close(values, expected, rtol=0, atol=tolerance * float(expected[0]))
    assert float((vectors.T @ vectors - torch.eye(len(values), dtype=A.dtype)).abs().max()) < tolerance
    assert float((A @ vectors - vectors * values).norm()) < tolerance * float(expected[0])


WIDE, Z = mlp(200, 40, 6), random(50, 200, seed=3)


# 0 bytes: sweeps only; 100 kB: a part of the gradients is kept; else all of them
@pytest.mark.parametrize("max_memory", [0, 100_000, 2**30])
@pytest.mark.parametrize("center", [False, True])
def test_top_eigenpairs_of_a_network(max_memory, center):
    values, vectors = agop.agop_top(WIDE, Z, 5, center=center, max_memory=max_memory, batch_size=8)
    check_pairs(values, vectors, oracle.agop(WIDE, Z, center=center))


@pytest.mark.parametrize("max_memory", [0, 30_000, 2**30])
def test_random_outputs_are_the_same_in_every_sweep(max_memory):
    values, vectors = agop.agop_top(
        WIDE, Z, 4, outputs=3, random_state=9, max_memory=max_memory, batch_size=8
    )
    check_pairs(values, vectors, agop.agop(WIDE, Z, outputs=3, random_state=9, batch_size=8))


def test_loader():
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(Z), batch_size=8)
    for max_memory in (0, 200_000, 2**30):
        values, vectors = agop.agop_top(WIDE, loader, 3, max_memory=max_memory)
        check_pairs(values, vectors, oracle.agop(WIDE, Z))


def test_more_pairs_than_the_rank():
    W = random(2, 30)
    values, vectors = agop.agop_top(lambda x: x @ W.T, random(9, 30), 5)
    assert float(values[2:].abs().max()) < IDENTITY * float(values[0])
    check_pairs(values, vectors, W.T @ W)


def test_all_pairs_of_a_small_matrix():
    values, vectors = agop.agop_top(NET, X, 6)
    check_pairs(values, vectors, oracle.agop(NET, X))
    with pytest.raises(ValueError, match="k: expected at most 6"):
        agop.agop_top(NET, X, 7)


@settings(max_examples=20, deadline=None)
@given(decay=st.floats(0.02, 1.0), k=st.integers(1, 12), seed=st.integers(0, 50))
def test_krylov_on_any_spectrum(decay, k, seed):
    Q = torch.linalg.qr(random(120, 120, seed=seed))[0]
    A = Q * torch.exp(-decay * torch.arange(120, dtype=torch.float64)) @ Q.T
    found = top_eigenpairs(lambda V: A @ V, 120, k, dtype=A.dtype, device=A.device, tol=1e-8, max_products=60)
    assert found.residual <= 1e-8
    check_pairs(found.values, found.vectors, A)


def test_giving_up_is_said():
    with pytest.warns(UserWarning, match="agop_top stopped after 1 products"):
        agop.agop_top(WIDE, Z, 5, max_sweeps=1)


def test_float32():
    values, vectors = agop.agop_top(mlp(200, 40, 6).float(), Z.float(), 5)
    assert values.dtype == vectors.dtype == torch.float32
    expected = torch.linalg.eigvalsh(oracle.agop(WIDE, Z)).flip(0)[:5]
    assert relative_error(values, expected) < 1e-5
