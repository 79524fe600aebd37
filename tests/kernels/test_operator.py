"""A kernel matrix that is never stored, against the stored one."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agop.kernels import Gaussian, Laplace, ReLUNTK
from agop.kernels.operator import KernelOperator, _entries, single_precision_suffices
from agop.ranks import Ranks
from tests.tolerances import IDENTITY, SINGLE, relative_error

KERNELS = [Laplace(bandwidth=2.0), Gaussian(bandwidth=2.0), ReLUNTK(depth=1)]


class Silent(Ranks):
    """A rank that keeps its share to itself."""

    def sum_(self, tensor):
        return tensor


def operator(kernel, X, *, distances=torch.float64, dtype=torch.float64, **options):
    return KernelOperator(kernel, X, kernel.points(X, dtype=distances), dtype, **options)


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda k: type(k).__name__)
@settings(max_examples=15, deadline=None)
@given(
    n=st.integers(1, 60),
    c=st.integers(1, 4),
    tile=st.sampled_from([16, 512, 4096, None]),
    seed=st.integers(0, 9),
)
def test_product_is_that_of_the_matrix(kernel, n, c, tile, seed):
    generator = torch.Generator().manual_seed(seed)
    X = torch.randn(n, 3, dtype=torch.float64, generator=generator)
    X[n // 2 :] = X[: n - n // 2].clone()  # coincident points
    V = torch.randn(n, c, dtype=torch.float64, generator=generator)
    assert relative_error(operator(kernel, X, tile_bytes=tile) @ V, kernel(X) @ V) < IDENTITY


@pytest.mark.parametrize("distances", [torch.float32, torch.float64])
def test_single_precision(distances, generator):
    X = torch.randn(300, 5, generator=generator)
    V = torch.randn(300, 2, generator=generator)
    kernel = Laplace(bandwidth=2.0)
    product = operator(kernel, X, distances=distances, dtype=torch.float32) @ V
    assert product.dtype == torch.float32
    assert relative_error(product, kernel(X.double()) @ V.double()) < SINGLE / 10


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda k: type(k).__name__)
def test_diagonal_and_columns(kernel, generator):
    X = torch.randn(50, 3, dtype=torch.float64, generator=generator)
    X[7] = X[3]
    K, L = kernel(X), operator(kernel, X, tile_bytes=256)
    index = torch.tensor([3, 40, 7])
    assert relative_error(L.diagonal(), K.diagonal()) < IDENTITY
    assert relative_error(L.columns(index), K[:, index]) < IDENTITY
    assert relative_error(L.columns(index, rows=slice(10, 20)), K[10:20, index]) < IDENTITY
    assert relative_error(L.columns(index, rows=torch.tensor([7, 1])), K[[7, 1]][:, index]) < IDENTITY
    assert L.columns(index)[3, 2] == L.columns(index)[3, 0]


@pytest.mark.parametrize("size", [2, 3, 8])
def test_ranks_share_the_tiles_evenly(size, generator):
    X = torch.randn(3000, 2, dtype=torch.float64, generator=generator)
    V = torch.randn(3000, 1, dtype=torch.float64, generator=generator)
    shares = [operator(KERNELS[0], X, ranks=Silent(rank, size)) for rank in range(size)]
    entries = [sum(map(_entries, share._tiles())) for share in shares]
    assert max(entries) < 1.15 * sum(entries) / size
    assert relative_error(sum(share @ V for share in shares), operator(KERNELS[0], X) @ V) < IDENTITY


def test_threads_share_the_tiles_and_leave_their_number_alone(generator):
    X = torch.randn(600, 2, dtype=torch.float64, generator=generator)
    V = torch.randn(600, 2, dtype=torch.float64, generator=generator)
    L, before = operator(KERNELS[0], X, tile_bytes=2**16), torch.get_num_threads()
    expected = KERNELS[0](X) @ V
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            assert relative_error(L @ V, expected) < IDENTITY
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


def test_collapsed_classes_need_double_precision(generator):
    apart = torch.randn(400, 20, generator=generator)
    together = apart[:10].repeat(40, 1) + 1e-3 * apart
    kernel = Laplace()
    assert single_precision_suffices(kernel.points(apart))
    assert not single_precision_suffices(kernel.points(together))


@pytest.mark.parametrize(("share", "threads"), [(0.5, 1), (1.0, 1), (1.0, 2)])
def test_kept_tiles_are_formed_once_and_change_nothing(share, threads, generator, monkeypatch):
    X = torch.randn(90, 3, dtype=torch.float64, generator=generator)
    V = torch.randn(90, 2, dtype=torch.float64, generator=generator)
    kernel = Laplace(bandwidth=2.0)
    fresh = operator(kernel, X, tile_bytes=4096)
    whole = int(sum(_entries(tile) for tile in fresh._tiles())) * 8
    keeping = operator(kernel, X, tile_bytes=4096, keep_bytes=int(share * whole))
    assert abs(keeping.kept - share) < 0.2
    formed, form = [], KernelOperator._block
    monkeypatch.setattr(KernelOperator, "_block", lambda *a: formed.append(a) or form(*a))
    usual = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        first = keeping @ V
        tiles = len(formed)
        assert relative_error(first, kernel(X) @ V) < IDENTITY
        assert torch.equal(keeping @ V, first)
    finally:
        torch.set_num_threads(usual)
    assert len(formed) - tiles == round((1 - keeping.kept) * tiles)
