"""What every kind of subject must satisfy: `check_subject(views, X, y)` with a function that yields its layers on X."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor

import agop


def check_subject(views: Callable[[], Iterable[agop.LayerView]], X: Tensor, y: Tensor) -> None:
    """One row per sample in every stage, distinct names, distances and matrices that belong together, finite tables."""
    before = X.clone()
    layers = list(views())
    assert torch.equal(X, before)
    assert layers
    assert len({view.name for view in layers}) == len(layers)
    for view in layers:
        for stage in view.stages().values():
            assert len(stage) == len(X)
            assert torch.isfinite(stage).all()
        _check_matrices(view)
    for view, again in zip(layers, views(), strict=True):
        assert all(
            torch.equal(a, b) for a, b in zip(view.stages().values(), again.stages().values(), strict=True)
        )
    table = agop.profile(layers, X, y).to_frame()
    assert table["layer"].nunique() == len(layers)
    assert np.isfinite(table[["nc1", "nc2"]].to_numpy()).all()


def _check_matrices(view: agop.LayerView) -> None:
    d = view.input.shape[1]
    for matrix in (view.feature_matrix, view.agop):
        if matrix is not None:
            assert matrix.shape == (d, d)
            scale = float(matrix.norm())
            assert (matrix - matrix.mT).norm() <= 1e-5 * scale
            assert torch.linalg.eigvalsh(matrix.double()).min() >= -1e-5 * scale
    if view.projected is not None and view.feature_matrix is not None:
        # the projected stage has the distances of the feature matrix
        steps = (view.input[1:] - view.input[:-1]).double()
        expected = (steps @ view.feature_matrix.double() * steps).sum(1)
        actual = (view.projected[1:] - view.projected[:-1]).double().square().sum(1)
        assert (actual - expected).norm() <= 1e-4 * expected.norm()
