"""Gaussian fields on trees of patches: their covariance, what they depend on, the named data set."""

from __future__ import annotations

import pytest
import torch

from agop.datasets import load
from agop.datasets.fields import gaussian_fields, sphere_patches
from agop.kernels import HierarchicalNTK
from agop.networks.streams import stream


def test_patches_are_on_spheres_and_uniform():
    X = sphere_patches(20_000, 2, 3, stream(0))
    patches = X.view(-1, 2, 3)
    assert torch.allclose(patches.norm(dim=2), torch.ones(20_000, 2, dtype=torch.float64))
    second = (patches[:, :, :, None] * patches[:, :, None, :]).mean((0, 1))
    assert float((second - torch.eye(3) / 3).abs().max()) < 0.01


def test_fields_have_the_covariance_of_the_kernel():
    X, kernel, draws = sphere_patches(6, 4, 2, stream(1)), HierarchicalNTK((2, 2)), 40_000
    Y = gaussian_fields(X, kernel, draws, stream(2))
    K = kernel(X)
    error = (K.diagonal()[:, None] * K.diagonal() + K**2).sqrt() / draws**0.5
    assert float(((Y @ Y.mT / draws - K).abs() / error).max()) < 4


def test_a_field_of_one_layer_is_a_sum_over_patches():
    a, b = sphere_patches(2, 2, 2, stream(3)).view(2, 2, 2)
    rows = torch.stack([torch.cat([p, q]) for p in (a[0], b[0]) for q in (a[1], b[1])])
    mixed = torch.tensor([1.0, -1.0, -1.0, 1.0], dtype=torch.float64)
    local, joint = (mixed @ HierarchicalNTK(filters)(rows) @ mixed for filters in ((2,), (2, 2)))
    assert float(local.abs()) < 1e-12  # no interaction of patches
    assert float(joint) > 0.1


def test_the_named_set():
    chosen = {"depth": 3, "train": 40, "test": 20}
    one, again, other = (load("tree-field", seed=seed, parameters=chosen) for seed in (0, 0, 1))
    assert one.x_train.shape == (40, 8)
    assert one.x_train.tolist() == again.x_train.tolist() != other.x_train.tolist()
    assert abs(int(one.y_train.sum() + one.y_test.sum()) - 30) <= 1
    with pytest.raises(ValueError, match=r"patches: expected a multiple of 4 for depth=3, got 6"):
        load("tree-field", parameters={"depth": 3, "patches": 6})
