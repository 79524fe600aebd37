"""Generalised cross-validation of a fit, and the warning of one that passes through noise."""

import warnings

import numpy as np
import pytest
import torch

import agop
from agop.machines.generalised import judged


def system(n=200, ridge=0.3, seed=0, weights=False):
    rng = torch.Generator().manual_seed(seed)
    X = torch.randn(n, 4, dtype=torch.float64, generator=rng)
    Y = torch.stack([X[:, 0].sin(), X[:, 1] * X[:, 2]], 1)
    K = torch.exp(-torch.cdist(X, X))
    w = torch.rand(n, dtype=torch.float64, generator=rng) + 0.5 if weights else None
    damping = (ridge / (torch.ones(n).double() if w is None else w))[:, None]
    return K, Y, damping, w


@pytest.mark.parametrize("weights", [False, True])
def test_shares_are_those_of_the_explicit_hat_matrix(weights):
    K, Y, damping, w = system(weights=weights)
    inverse = torch.linalg.inv(K + damping[:, 0].diag())
    left = torch.eye(len(K), dtype=torch.float64) - K @ inverse
    found = judged(Y, damping * (inverse @ Y), damping, lambda V: inverse @ V, w)
    free = float(left.trace()) / len(K)
    assert found["free"] == pytest.approx(free, rel=0.03)  # sixteen random signs
    mass = torch.ones(len(K)).double() if w is None else w
    residual = left @ Y
    centred = Y - (mass[:, None] * Y).sum(0) / mass.sum()
    exact = float((mass[:, None] * residual**2).sum() / free**2 / (mass[:, None] * centred**2).sum())
    assert found["unexplained"] == pytest.approx(exact, rel=0.06)


def test_weights_and_targets_have_no_unit():
    K, Y, damping, w = system(weights=True)
    inverse = torch.linalg.inv(K + damping[:, 0].diag())
    one = judged(Y, damping * (inverse @ Y), damping, lambda V: inverse @ V, w)
    other = judged(1e9 * Y + 0, 1e9 * damping * (inverse @ Y), damping, lambda V: inverse @ V, 1e-30 * w)
    assert one == pytest.approx(other, rel=1e-9)


def noisy(seed, n=300):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 3))
    return X, np.where(X[:, 0] + X[:, 1] + rng.logistic(size=n) > 0, "yes", "no")


@pytest.mark.parametrize("seed", range(3))
def test_a_fit_through_noisy_labels_is_told(seed):
    with pytest.warns(UserWarning, match=r"passes through noisy targets.* Raise ridge"):
        model = agop.RFMClassifier(ridge=1e-4).fit(*noisy(seed))
    assert any("noisy" in note for note in model.history_[-1]["notes"])


def test_the_default_and_a_clean_problem_are_quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        agop.RFMClassifier().fit(*noisy(0))
        X = np.random.default_rng(0).normal(size=(200, 3))
        agop.RFMRegressor(ridge=1e-6).fit(X, np.sin(X[:, 0]))
        agop.RFMRegressor(ridge=1e-6).fit(X, np.ones(200))
