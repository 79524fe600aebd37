"""Kernels of trees of patches: loops, closed forms, what they do not see, what they refuse."""

from __future__ import annotations

import math

import pytest
import torch

import agop
from agop.kernels import HierarchicalNNGP, HierarchicalNTK, ReLUNNGP, ReLUNTK
from agop.kernels.hierarchical import _Hierarchical
from tests.tolerances import IDENTITY, SINGLE, relative_error

TREES = [(2,), (4,), (2, 2), (2, 1, 2), (1, 2, 4), (2, 2, 2), (8,)]
trees = pytest.mark.parametrize("filters", TREES, ids=str)
kinds = pytest.mark.parametrize("kind", [HierarchicalNTK, HierarchicalNNGP], ids=["ntk", "nngp"])


def points(n=7, d=8, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def k0(t):
    return (math.pi - math.acos(t)) / math.pi


def k1(t):
    return (math.sqrt(1 - t * t) + (math.pi - math.acos(t)) * t) / math.pi


def slow(x, z, filters):
    """The published recursion, node by node: (NTK, NNGP)."""
    first, *groups = filters
    C = []
    for at in range(0, len(x), first):
        a, b = x[at : at + first], z[at : at + first]
        C.append(max(-1.0, min(1.0, float(a @ b / (a.norm() * b.norm())))))
    T = list(C)
    for size in (*groups, None):
        R = [k1(t) for t in C]
        T = [k0(t) * tangent + r for t, tangent, r in zip(C, T, R, strict=True)]
        size = len(R) if size is None else size
        C, T = (
            [sum(values[at : at + size]) / size for at in range(0, len(values), size)] for values in (R, T)
        )
    return T[0], C[0]


@trees
def test_it_is_the_recursion(filters):
    X, Z = points(), points(5, seed=1)
    for place, kind in enumerate((HierarchicalNTK, HierarchicalNNGP)):
        expected = torch.tensor([[slow(x, z, filters)[place] for z in Z] for x in X], dtype=torch.float64)
        assert relative_error(kind(filters)(X, Z), expected) < IDENTITY


def test_a_single_patch_is_the_kernel_of_a_dense_network():
    X = points()
    U = X / X.norm(dim=1, keepdim=True)
    assert relative_error(HierarchicalNTK((8,))(X), ReLUNTK(1)(U)) < IDENTITY
    assert relative_error(HierarchicalNNGP((8,))(X), ReLUNNGP(1)(U)) < IDENTITY
    assert relative_error(HierarchicalNTK((8, 1, 1))(X), ReLUNTK(3)(U)) < IDENTITY


@kinds
@trees
def test_it_is_positive_semi_definite_and_constant_on_the_diagonal(kind, filters):
    X, kernel = points(60), kind(filters)
    K = kernel(X)
    assert float(torch.linalg.eigvalsh(K).min()) > -1e-12
    height = len(filters) + 1 if kind is HierarchicalNTK else 1
    assert torch.allclose(K.diagonal(), torch.tensor(float(height), dtype=torch.float64), atol=1e-14)
    assert torch.equal(kernel.diagonal(kernel.points(X), torch.float64), K.diagonal())


@kinds
def test_lengths_of_patches_and_places_within_a_group_do_not_matter(kind):
    X, kernel = points(), kind((2, 2, 2))
    K = kernel(X)
    scaled = X * torch.tensor([1e-200, 1e-200, 3, 3, 1e150, 1e150, 0.5, 0.5], dtype=torch.float64)
    assert relative_error(kernel(scaled), K) < IDENTITY
    swapped = X[:, [2, 3, 0, 1, 6, 7, 4, 5]]
    assert relative_error(kernel(swapped), K) < IDENTITY
    across = X[:, [4, 5, 2, 3, 0, 1, 6, 7]]  # patches that meet in the last layer only
    assert relative_error(kernel(across), K) > 1e-3


@kinds
def test_turning_all_patches_changes_nothing(kind):
    X, kernel = points(), kind((4, 2))
    Q = torch.linalg.qr(points(4, 4, seed=2)).Q
    assert relative_error(kernel((X.view(-1, 2, 4) @ Q).flatten(1)), kernel(X)) < IDENTITY


@kinds
def test_points_that_nearly_coincide_keep_their_digits(kind):
    X = points(1)
    turned = X.clone()
    kernel = kind((2, 2))
    losses = []
    for angle in (1e-5, 1e-6):
        c, s = math.cos(angle), math.sin(angle)
        turned = (X.view(4, 2) @ torch.tensor([[c, s], [-s, c]], dtype=torch.float64)).view(1, 8)
        losses.append(float(kernel(X)[0, 0] - kernel(X, turned)[0, 0]))
    # the tangent kernel has a cusp, the covariance a smooth top
    assert losses[0] / losses[1] == pytest.approx(10 if kind is HierarchicalNTK else 100, rel=0.02)


@kinds
def test_zero_patches_are_at_right_angles_to_all(kind):
    X = points(3)
    X[0, :2] = 0
    K = kind((2, 2))(X)
    assert bool(torch.isfinite(K).all())
    Z = X[:, 2:].repeat(1, 1)
    assert Z.shape == (3, 6)
    assert float(K[0, 0]) < float(K[1, 1])


def test_single_precision_and_blocks():
    X, kernel = points(40), HierarchicalNTK((2, 2))
    K = kernel(X)
    assert relative_error(kernel(X.float()).double(), K) < SINGLE
    left = kernel.points(X)
    part, none = kernel.block(left, slice(3, 9), left, torch.float64, columns=slice(10, 30), weight=False)
    assert none is None
    assert torch.equal(part, K[3:9, 10:30])


def test_it_serves_ridge_regression_and_refuses_to_learn():
    X = points(80).numpy()
    y = (X[:, 0] * X[:, 1] > 0).astype(int)
    model = agop.RFMClassifier(kernel=HierarchicalNTK((2, 2)), n_iter=0, scaling="none").fit(X, y)
    assert model.score(X, y) == 1
    named = agop.RFMClassifier(kernel="hierarchical-ntk", n_iter=0).fit(X, y)
    assert named.predict(X[:3]).shape == (3,)
    with pytest.raises(ValueError, match=r"n_iter: expected 0 for kernel='hierarchical-ntk'"):
        agop.RFMClassifier(kernel=HierarchicalNTK((2, 2)), n_iter=1).fit(X, y)
    with pytest.raises(ValueError, match=r"kernel: expected one with gradients.*set n_iter=0"):
        HierarchicalNTK((2, 2)).gradient(points(), points(), points())
    with pytest.raises(ValueError, match=r"kernel: expected one with gradients"):
        _ = model.feature_importances_


@pytest.mark.parametrize("filters", [(), (0, 2), (-2,)])
def test_filters_are_sizes(filters):
    with pytest.raises(ValueError, match="filters: expected"):
        HierarchicalNTK(filters)


def test_columns_are_a_multiple_of_the_filters():
    with pytest.raises(ValueError, match=r"X: expected a multiple of 4 columns for filters=\(2, 2\), got 6"):
        HierarchicalNTK((2, 2))(points(d=6))
    assert HierarchicalNTK([2, 2]).filters == (2, 2)
    assert HierarchicalNTK((2, 2)) == HierarchicalNTK([2, 2])
    with pytest.raises(TypeError, match="HierarchicalNTK or"):
        _Hierarchical((2,))(points())
