from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import agop
from agop.linalg.compare import matrix_correlation
from agop.linalg.psd import psd_power
from tests.gradients.test_outer import random
from tests.tolerances import IDENTITY, relative_error


def psd(d, seed=0):
    A = random(d, d, seed=seed)
    return A.T @ A


def test_deep_linear_network_with_weight_decay_obeys_the_ansatz_exactly():
    """At a stationary point W_lᵀW_l = AGOP_l^{1/(L−l+1)} (PAPER.md, section 5)."""
    widths, decay = [6, 8, 7, 5, 4], 0.05
    weights = [(random(b, a, seed=i) * 0.7).requires_grad_() for i, (a, b) in enumerate(pairwise(widths))]
    X = random(60, 6, seed=10)
    Y = X @ random(6, 4, seed=11)

    def loss():
        return ((X @ torch.linalg.multi_dot([W.T for W in weights]) - Y) ** 2).mean() + decay * sum(
            (W**2).sum() for W in weights
        )

    optimizer = torch.optim.LBFGS(
        weights,
        max_iter=4000,
        tolerance_grad=1e-12,
        tolerance_change=0,
        history_size=50,
        line_search_fn="strong_wolfe",
    )

    def step():
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    optimizer.step(step)
    loss().backward()
    gradient = max(float(g.abs().max()) for g in torch.autograd.grad(loss(), weights))
    assert gradient < 1e-8
    model = nn.Sequential(*[nn.Linear(a, b, bias=False).double() for a, b in pairwise(widths)])
    for layer, W in zip(model, weights):
        layer.weight.data = W.detach()
        assert float(W.detach().norm()) > 0.5  # the trivial stationary point is zero
    agops = agop.layer_agops(model, X)
    for index, layer in enumerate(model):
        power = 1 / (len(widths) - 1 - index)
        assert agop.nfa(agop.nfm(layer), agops[str(index)], power=power) > 0.9999
        assert relative_error(psd_power(agops[str(index)], power).matrix, agop.nfm(layer)) < 1e-3
        fit = agop.nfa_best_power(agop.nfm(layer), agops[str(index)])
        assert fit.correlation > 0.9999


@pytest.mark.parametrize(
    ("layer", "d"),
    [
        (nn.Linear(4, 3), 4),
        (nn.Conv2d(4, 6, 3, groups=2), 18),
        (nn.Conv1d(2, 3, 5), 10),
        (nn.MultiheadAttention(8, 2), 8),
        (nn.LSTM(5, 3, bidirectional=True), 5),
        (nn.ConvTranspose2d(4, 6, 3), 4),
        (nn.Linear(4, 3).bfloat16(), 4),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else str(value),
)
def test_nfm(layer, d):
    value = agop.nfm(layer)
    assert value.shape == (d, d)
    assert value.dtype == torch.float32
    weights = [
        p.detach().float()
        for name, p in layer.named_parameters()
        if "weight_ih" in name or name in ("weight", "in_proj_weight")
    ]
    total = sum(float(w.square().sum()) for w in weights)
    assert float(value.trace()) == pytest.approx(total, rel=1e-3)
    if isinstance(layer, nn.Conv2d):
        W = layer.weight.detach().flatten(1)
        torch.testing.assert_close(value, W.T @ W)


def test_nfm_errors():
    for layer in (nn.Tanh(), nn.LayerNorm(4), nn.Embedding(3, 4)):
        with pytest.raises(TypeError, match="layer: expected a layer with a weight matrix"):
            agop.nfm(layer)


def test_nfa_of_matrices_and_views():
    M, A = psd(5), psd(5, seed=1)
    for power in (0.5, 1, 1.3):
        for centered in (True, False):
            expected = matrix_correlation(M, psd_power(A, power).matrix, centered=centered)
            assert agop.nfa(M, A, power=power, centered=centered) == expected
    view = SimpleNamespace(name="l", feature_matrix=M, agop=A)
    assert agop.nfa(view) == agop.nfa(M, A)
    with pytest.raises(ValueError, match="a view with its agop, got view 'l' without one"):
        agop.nfa(SimpleNamespace(name="l", feature_matrix=M, agop=None))
    with pytest.raises(ValueError, match="agop: expected the AGOP that belongs to the NFM"):
        agop.nfa(M)
    with pytest.raises(TypeError, match="nfm_or_view: expected a matrix or an object"):
        agop.nfa(3)


@settings(max_examples=25, deadline=None)
@given(power=st.floats(0.15, 1.45), seed=st.integers(0, 100), centered=st.booleans())
def test_best_power_is_found_where_it_is_known(power, seed, centered):
    A = psd(6, seed)
    fit = agop.nfa_best_power(3 * psd_power(A, power).matrix, A, centered=centered)
    assert fit.power == pytest.approx(power, abs=1e-3)
    assert fit.correlation > 1 - 1e-9


@pytest.mark.parametrize("centered", [True, False])
def test_the_curve_is_that_of_nfa(centered):
    M, A = psd(6), psd(6, seed=1)
    fit = agop.nfa_best_power(M, A, centered=centered)
    for power, value in list(zip(fit.powers, fit.correlations))[::8]:
        assert value == pytest.approx(agop.nfa(M, A, power=power, centered=centered), abs=IDENTITY)
    assert fit.correlation >= max(fit.correlations)
    assert fit.powers[0] == pytest.approx(0.1)
    assert fit.powers[-1] == pytest.approx(1.5)


def test_best_power_of_constant_matrices_is_nan_and_bad_intervals_are_refused():
    fit = agop.nfa_best_power(torch.zeros(3, 3), torch.eye(3))
    assert torch.tensor(fit.correlation).isnan()
    assert torch.tensor(agop.nfa_best_power(torch.eye(3), torch.zeros(3, 3)).correlation).isnan()
    with pytest.raises(ValueError, match="between: expected a finite number > 1"):
        agop.nfa_best_power(torch.eye(3), torch.eye(3), between=(1.0, 0.5))
