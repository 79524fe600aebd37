"""Kernels of patches: values against the papers' recursions, the patch AGOP against autograd and differences."""

from __future__ import annotations

import math

import pytest
import torch

from agop.kernels import Gaussian, Laplace, ReLUNTK
from agop.kernels.cntk import CNTK
from agop.kernels.patch_agop import patch_agop
from agop.kernels.patch_gram import cross_matrix_product, fill_patch_matrix
from agop.kernels.patch_kernel import Metric
from agop.kernels.patch_named import make_patch_kernel, median_patch_distance, patch_kernel_names
from agop.kernels.patch_radial import PatchAverage
from agop.kernels.patches import PatchGrid
from tests.oracles import patches as oracle
from tests.tolerances import IDENTITY, ITERATIVE, SINGLE, relative_error

GRIDS = {
    "one channel": (1, 9, 10, 3, 1, "valid"),
    "three channels, even patches": (3, 6, 5, 2, 1, "valid"),
    "stride 2": (1, 9, 7, 3, 2, "same"),
    "even patches, padded": (2, 5, 5, 2, 1, "same"),
}
KERNELS = {
    "cntk 1": CNTK(1),
    "cntk 2": CNTK(2),
    "cntk 3": CNTK(3),
    "cntk 4": CNTK(4),
    "patch-laplace": PatchAverage(Laplace(2.0)),
    "patch-gaussian": PatchAverage(Gaussian(1.5)),
}
grids = pytest.mark.parametrize("grid", [PatchGrid(*case) for case in GRIDS.values()], ids=list(GRIDS))
kernels = pytest.mark.parametrize("kernel", KERNELS.values(), ids=list(KERNELS))


def draw(grid, n=5, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    X = torch.randn(n, grid.pixels, generator=generator, dtype=torch.float64)
    root = (
        torch.randn(grid.features, grid.features, generator=generator, dtype=torch.float64)
        / grid.features**0.5
    )
    A = torch.randn(n, 2, generator=generator, dtype=torch.float64)
    return X.to(dtype), Metric(root, X.mean(0).to(dtype)), A.to(dtype)


def slow(kernel, grid, metric):
    """The oracle of a kernel, for pairs of patches."""
    root = torch.eye(grid.features, dtype=torch.float64) if metric.root is None else metric.root
    if isinstance(kernel, CNTK):
        return oracle.cntk(grid, kernel.layers, root @ root.mT)
    length = kernel.kernel.bandwidth
    if isinstance(kernel.kernel, Laplace):
        return oracle.radial(lambda r: torch.exp(-r / length), root)
    return oracle.radial(lambda r: torch.exp(-r.square() / (2 * length**2)), root)


def full(kernel, X, grid, metric, **options):
    K = torch.full((len(X), len(X)), float("nan"), dtype=torch.float64)
    fill_patch_matrix(kernel, X, grid, metric, K, **options)
    return K.tril() + K.tril(-1).mT


def own_part(kernel, grid, metric, X, A, j):
    """∇ of A_jc K(x_j, z) at z = x_j: only what is homogeneous, for kernels of angles; it points along the patch."""
    if not isinstance(kernel, CNTK):
        return 0.0
    block = kernel.block(X[j : j + 1], grid, metric, slice(None))
    weights = kernel.adjoint(block, block, grid)[0][:, 0, 0]
    patches = oracle.patches(X[j : j + 1].view(-1, *grid.shape), grid)[0]
    return A[j][:, None, None] * (weights[:, None] * (patches @ metric.root @ metric.root.mT) / grid.channels)


@grids
def test_patches_are_those_of_two_loops(grid):
    X, _, _ = draw(grid)
    expected = oracle.patches(X.view(-1, *grid.shape), grid).transpose(0, 1)
    assert torch.equal(grid.patches(X), expected)
    columns = grid.sides()[0][1]
    assert torch.equal(grid.patches(X, slice(1, 3)), expected[columns : 3 * columns])


@grids
def test_sums_over_patches_and_their_adjoint(grid):
    side = (6, 5)
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(*side, 2, 3, generator=generator, dtype=torch.float64)
    summed = grid.box(values)
    one = oracle.box(values[..., 1, 2].flatten(), grid, side)
    assert relative_error(summed[..., 1, 2].flatten(), one) < IDENTITY
    other = torch.randn(summed.shape, generator=generator, dtype=torch.float64)
    back = grid.box_adjoint(other, side)
    assert float((summed * other).sum()) == pytest.approx(float((values * back).sum()), rel=IDENTITY)


def test_same_padding_keeps_the_size():
    for q in range(1, 6):
        assert PatchGrid(1, 6, 7, q, 1, "same").sides(3) == [(6, 7)] * 3
    assert PatchGrid(1, 6, 7, 3).sides(2) == [(4, 5), (2, 3)]


def test_an_image_smaller_than_a_patch_is_told():
    with pytest.raises(
        ValueError, match="X: expected images of at least 5x5 pixels for patch_size=5, got 4x9"
    ):
        PatchGrid(1, 4, 9, 5).sides()
    with pytest.raises(ValueError, match="before convolution 3"):
        PatchGrid(1, 6, 6, 3).sides(3)


@grids
@kernels
def test_values_are_those_of_the_paper(kernel, grid):
    if grid.padding == "valid" and min(grid.height, grid.width) <= kernel.depth * (grid.patch_size - 1):
        pytest.skip("the image is too small")
    X, metric, A = draw(grid)
    patches = oracle.patches(X.view(-1, *grid.shape), grid)
    expected = oracle.matrix(slow(kernel, grid, metric), patches, patches)
    K = full(kernel, X, grid, metric)
    off = ~torch.eye(len(X), dtype=torch.bool)
    assert relative_error(K[off], expected[off]) < IDENTITY
    product = cross_matrix_product(kernel, X, X[:3], grid, metric, A[:3])
    assert relative_error(product, K[:, :3] @ A[:3]) < IDENTITY


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_an_image_with_itself(depth):
    """κ0 and κ1 are 1 there: every convolution adds the norm once more."""
    grid = PatchGrid(2, 11, 11)
    X, metric, _ = draw(grid)
    squares = (grid.patches(X) @ metric.root).square().sum(2) / grid.channels
    for side in grid.sides(depth)[:-1]:
        squares = grid.box(squares.view(*side, -1)).flatten(0, 1)
    K = full(CNTK(depth), X, grid, metric)
    assert relative_error(K.diagonal(), (depth + 1) * squares.mean(0)) < IDENTITY


def test_one_position_is_the_tangent_kernel_of_a_dense_network():
    grid = PatchGrid(6, 1, 1, 1)
    X, _, _ = draw(grid)
    assert relative_error(full(CNTK(1), X, grid, Metric()), ReLUNTK(1)(X) / 6) < IDENTITY
    assert relative_error(full(CNTK(4), X, grid, Metric()), ReLUNTK(4)(X) / 6) < IDENTITY
    laplace = Laplace(2.0)
    assert (
        relative_error(full(PatchAverage(laplace), X, grid, Metric(None, X.mean(0))), laplace(X)) < IDENTITY
    )


@grids
@kernels
def test_the_agop_is_that_of_autograd_and_of_differences(kernel, grid):
    if grid.padding == "valid" and min(grid.height, grid.width) <= kernel.depth * (grid.patch_size - 1):
        pytest.skip("the image is too small")
    X, metric, A = draw(grid, n=4)
    patches = oracle.patches(X.view(-1, *grid.shape), grid)
    weight = torch.linspace(0.5, 2, len(X), dtype=torch.float64)
    own = [own_part(kernel, grid, metric, X, A, j) for j in range(len(X))]
    G = torch.stack(
        [oracle.gradients(slow(kernel, grid, metric), patches, A, j) + own[j] for j in range(len(X))]
    )
    M = patch_agop(kernel, X, grid, metric, A, sample_weight=weight)
    assert relative_error(M, oracle.agop(G, weight)) < IDENTITY
    streamed = patch_agop(kernel, X, grid, metric, A, sample_weight=weight, budget=2**15, sums=2**12)
    assert relative_error(streamed, oracle.agop(G, weight)) < IDENTITY
    some = patch_agop(kernel, X, grid, metric, A, at=2, positions="mean")
    assert relative_error(some * patches.shape[1], oracle.agop(G[:2])) < IDENTITY
    entries = [0, 7, patches[1].numel() // 2, patches[1].numel() - 1]
    stepped = oracle.gradients(slow(kernel, grid, metric), patches, A, 1, entries=entries)
    assert relative_error(stepped, (G[1] - own[1]).flatten(1)[:, entries]) < ITERATIVE


@kernels
def test_single_precision(kernel):
    grid = PatchGrid(1, 12, 12)
    X, metric, A = draw(grid, n=8)
    K, M = full(kernel, X, grid, metric), patch_agop(kernel, X, grid, metric, A)
    narrow = full(kernel, X.float(), grid, metric)
    assert relative_error(narrow, K) < SINGLE / 100
    assert relative_error(patch_agop(kernel, X.float(), grid, metric, A.float()), M) < SINGLE


@kernels
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("distance", [1e-3, 1e-5])
def test_images_that_nearly_coincide_keep_their_digits(kernel, dtype, distance):
    """1 − t is carried as a difference: with cosines, float32 would be wrong by 4e-4 here, and float64 by 1e-8."""
    grid = PatchGrid(1, 12, 12)
    X, _, _ = draw(grid, n=2)
    step = torch.randn(grid.pixels, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    X = torch.stack([X[0], X[0] + distance * step]).to(dtype)
    K = full(kernel, X, grid, Metric(None, X.mean(0)))
    lost = 1 - K[1, 0] / (K[0, 0] * K[1, 1]).sqrt()
    wide = full(kernel, X.double(), grid, Metric(None, X.double().mean(0)))
    expected = 1 - wide[1, 0] / (wide[0, 0] * wide[1, 1]).sqrt()
    assert float((lost - expected).abs()) < 8 * torch.finfo(dtype).eps
    if dtype == torch.float64 and isinstance(kernel, CNTK):
        halved = torch.stack([X[0], X[0] + distance / 2 * step])
        nearer = full(kernel, halved, grid, Metric())
        # κ0 has a cusp: half the distance is half the loss
        assert float(1 - nearer[1, 0] / (nearer[0, 0] * nearer[1, 1]).sqrt()) == pytest.approx(
            float(lost) / 2, rel=0.01
        )


@kernels
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_equal_black_and_constant_images_have_values(kernel, dtype):
    grid = PatchGrid(1, 10, 10)
    X, _, A = draw(grid, n=6, dtype=dtype)
    X[1], X[2], X[3] = X[0], 0, 0.3
    X[4, :50] = 0
    metric = Metric(None, X.mean(0))
    K, M = full(kernel, X, grid, metric), patch_agop(kernel, X, grid, metric, A)
    assert bool(torch.isfinite(K).all())
    assert bool(torch.isfinite(M).all())
    assert float(K[0, 1]) == pytest.approx(float(K[0, 0]), rel=8 * torch.finfo(dtype).eps)
    if isinstance(kernel, CNTK):
        assert float(K[2].abs().max()) == 0
    # two equal images with opposite coefficients cancel: the predictor of the others is left
    pair = A.clone()
    pair[1] = -pair[0]
    left = patch_agop(kernel, X[2:], grid, metric, A[2:])
    assert left.shape == M.shape
    total = patch_agop(kernel, X[[0, 1]], grid, metric, pair[[0, 1]])
    assert float(total.abs().max()) <= 1e-9 * float(M.abs().max()) if dtype == torch.float64 else True


def test_zero_patches_have_no_gradient():
    grid = PatchGrid(1, 8, 8)
    X, _, A = draw(grid, n=3)
    X[0] = 0
    M = patch_agop(CNTK(2), X, grid, Metric(), A, at=1)
    assert float(M.abs().max()) == 0


@pytest.mark.parametrize("kernel", [CNTK(2), PatchAverage(Laplace(2.0))], ids=["cntk", "patch-laplace"])
def test_it_is_the_same_in_any_order_and_any_blocks(kernel):
    grid = PatchGrid(1, 10, 10)
    X, metric, A = draw(grid, n=12)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(3))
    K, M = full(kernel, X, grid, metric), patch_agop(kernel, X, grid, metric, A)
    assert relative_error(full(kernel, X[order], grid, metric), K[order][:, order]) < IDENTITY
    assert relative_error(full(kernel, X, grid, metric, budget=2**18), K) < IDENTITY
    assert relative_error(patch_agop(kernel, X[order], grid, metric, A[order]), M) < IDENTITY
    assert relative_error(patch_agop(kernel, X, grid, metric, A, budget=2**18, sums=2**15), M) < IDENTITY


def test_the_tangent_kernel_is_homogeneous():
    grid = PatchGrid(1, 9, 9)
    X, metric, A = draw(grid)
    K = full(CNTK(2), X, grid, metric)
    assert relative_error(full(CNTK(2), 3 * X, grid, metric), 9 * K) < IDENTITY
    M = patch_agop(CNTK(2), X, grid, metric, A)
    assert relative_error(patch_agop(CNTK(2), 3 * X, grid, metric, A), 9 * M) < IDENTITY


def test_patch_averages_do_not_see_the_origin():
    grid, kernel = PatchGrid(1, 9, 9), PatchAverage(Laplace(1.0))
    X, metric, A = draw(grid)
    shifted = Metric(metric.root, metric.center + 5)
    assert relative_error(full(kernel, X + 5, grid, shifted), full(kernel, X, grid, metric)) < IDENTITY
    M = patch_agop(kernel, X, grid, metric, A)
    assert relative_error(patch_agop(kernel, X + 5, grid, shifted, A), M) < IDENTITY


def test_names():
    assert patch_kernel_names() == ["cntk", "patch-laplace", "patch-gaussian"]
    grid = PatchGrid(1, 6, 6)
    X, _, _ = draw(grid)
    assert make_patch_kernel("cntk", 2, None, X, grid) == CNTK(2)
    assert make_patch_kernel("patch-gaussian", 1, 0.5, X, grid) == PatchAverage(Gaussian(0.5))
    assert make_patch_kernel(Laplace(2.0), 1, "median", X, grid) == PatchAverage(Laplace(2.0))
    median = median_patch_distance(X, grid)
    assert make_patch_kernel("patch-laplace", 1, "median", X, grid).kernel.bandwidth == median
    patches = oracle.patches(X.view(-1, 1, 6, 6), grid)
    pairs = torch.cat([torch.pdist(patches[:, p]) for p in range(16)])
    assert median == pytest.approx(float(pairs.median()), rel=1e-6)
    for wrong, match in (
        ("relu-ntk", "kernel: expected one of 'cntk'"),
        (ReLUNTK(1), "a kernel of distances"),
    ):
        with pytest.raises((ValueError, TypeError), match=match):
            make_patch_kernel(wrong, 1, 1.0, X, grid)
    with pytest.raises(ValueError, match="depth"):
        make_patch_kernel("cntk", 0, 1.0, X, grid)
    with pytest.raises(ValueError, match="patches that differ"):
        make_patch_kernel("patch-laplace", 1, "median", torch.zeros(3, 36), grid)


def test_a_wide_convolutional_network_has_this_kernel():
    """The gradients of a random network of one convolution meet in the kernel as it gets wider."""
    grid = PatchGrid(1, 5, 5)
    X, _, _ = draw(grid, n=3)
    patches = grid.patches(X)
    generator, width = torch.Generator().manual_seed(0), 40000
    W = torch.randn(9, width, generator=generator, dtype=torch.float64)
    v = torch.randn(width, len(patches), generator=generator, dtype=torch.float64)
    before = patches @ W
    on = (before > 0).double() * math.sqrt(2)
    # by the read-out: features; by the filters: ReLU' v times patches; both over width and positions
    features = (before * on).permute(1, 2, 0).flatten(1)
    K = features @ features.mT
    slopes = on * v.mT[:, None, :]
    K += torch.einsum("pik,pjk,pid,pjd->ij", slopes, slopes, patches, patches)
    expected = full(CNTK(1), X, grid, Metric())
    assert relative_error(K / (width * len(patches)), expected) < 0.03
