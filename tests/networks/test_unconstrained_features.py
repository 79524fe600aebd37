from __future__ import annotations

import math

import pytest
import torch

import agop
from agop.networks.unconstrained_features import UnconstrainedFeatures, train_unconstrained_features
from tests.oracles import deep_linear as oracle
from tests.tolerances import IDENTITY

GOOD = {"counts": [3, 2], "n_layers": 2, "width": 3, "weight_decay": 0.01, "feature_decay": 0.02}


def test_start_is_seeded_and_leaves_the_global_generator():
    state = torch.random.get_rng_state()
    first, again, other = (UnconstrainedFeatures(5, 2, n_layers=3, width=4, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(first(), again())
    assert not torch.equal(first(), other())
    assert [tuple(weight.shape) for weight in first.weights] == [(4, 4), (4, 4), (2, 4)]
    assert all(part.dtype == torch.float64 for part in first.parameters())
    names = [
        name for name, _ in UnconstrainedFeatures(5, 2, n_layers=2, width=4, bias=True).named_parameters()
    ]
    assert names == ["features", "layers.0.weight", "layers.1.weight", "layers.1.bias"]


@pytest.mark.parametrize("bias", [False, True])
def test_loss_is_the_sum_as_it_is_written_down(bias):
    fit = train_unconstrained_features(**GOOD | {"weight_decay": [0.01, 0.03], "bias": bias}, max_steps=7)
    model = fit.model
    offset = model.layers[-1].bias.detach() if bias else torch.zeros(2)
    weights = [weight.detach() for weight in model.weights]
    expected = oracle.loss(model.features.detach(), weights, offset, fit.labels, [0.01, 0.03], 0.02)
    assert fit.loss == pytest.approx(float(expected), rel=IDENTITY)
    assert not fit.converged
    assert fit.labels.tolist() == [0, 0, 0, 1, 1]


def test_training_ends_where_the_gradient_does_and_says_so():
    loose, tight = (train_unconstrained_features(**GOOD, tolerance=tolerance) for tolerance in (1e-3, 1e-10))
    assert loose.converged
    assert tight.converged
    assert loose.gradient <= 1e-3
    assert tight.gradient < 1e-8
    assert loose.steps < tight.steps
    assert all(part.grad is None for part in tight.model.parameters())
    again = train_unconstrained_features(**GOOD)
    assert torch.equal(again.weight_gram, tight.weight_gram)


def test_class_means_and_product_are_those_by_hand():
    fit = train_unconstrained_features(**GOOD, max_steps=3)
    H = fit.model.features.detach()
    means = torch.stack([H[:3].mean(0), H[3:].mean(0)])
    W = fit.model.weights[1].detach() @ fit.model.weights[0].detach()
    for found, expected in (
        (fit.weight_gram, W @ W.T),
        (fit.feature_gram, means @ means.T),
        (fit.cross_gram, W @ means.T),
    ):
        assert torch.allclose(found, expected, rtol=0, atol=IDENTITY)


def test_its_layers_are_profiled_like_any_network():
    fit = train_unconstrained_features([6, 6, 6], n_layers=2, width=5, weight_decay=5e-3, feature_decay=5e-3)
    profile = agop.profile(fit.model.layers, fit.model.features.detach(), fit.labels)
    frame = profile.to_frame()
    assert float(frame["nc1"].max()) < 1e-9  # collapsed in all layers


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"counts": []}, "counts: .*none"),
        ({"counts": [0, 3]}, r"counts\[0\]"),
        ({"n_layers": 0}, "n_layers"),
        ({"width": 0}, "width"),
        ({"weight_decay": -1.0}, "weight_decay"),
        ({"weight_decay": math.nan}, "weight_decay"),
        ({"weight_decay": [0.1]}, "weight_decay: .*each of the 2 layers"),
        ({"feature_decay": math.inf}, "feature_decay"),
        ({"max_steps": 0}, "max_steps"),
        ({"tolerance": 0.0}, "tolerance"),
        ({"random_state": -1}, "random_state"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(change, word):
    with pytest.raises(ValueError, match=word):
        train_unconstrained_features(**GOOD | change)
