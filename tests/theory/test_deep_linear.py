from __future__ import annotations

import math
import re

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import agop
from agop import DeepLinearCollapse, deep_linear_collapse
from agop.networks.unconstrained_features import train_unconstrained_features
from tests.oracles import deep_linear as oracle
from tests.sentences import one_sentence
from tests.tolerances import IDENTITY, ITERATIVE, relative_error

TRAINED = 1e-5
GRAMS = ("weight_gram", "feature_gram", "cross_gram")
COUNTS = st.lists(st.integers(1, 60), min_size=1, max_size=5)
DECAYS = st.floats(1e-5, 1e-2)


def collapse(counts, M, decay=1e-3, **options):
    return deep_linear_collapse(
        counts, **{"n_layers": M, "weight_decay": decay, "feature_decay": decay} | options
    )


def at_boundary(M, counts=(30, 10), k=1, factor=1.0):
    """The decay of the weights at which β of class k is `factor` times the threshold; λ_H = 0.01."""
    N = sum(counts)
    threshold = (M - 1) ** ((M - 1) / M) / M
    return factor * threshold / (N / counts[k] * M * (N * 0.01) ** (1 / M))


@pytest.mark.parametrize(
    ("counts", "M", "decay", "expected"),
    [
        ([40, 20, 10, 10], 1, 1e-3, [6.244555, 4.392136, 3.082278, 3.082278]),
        ([40, 20, 10, 10], 2, 1e-3, [11.589282, 7.261201, 4.534610, 4.534610]),
        ([40, 20, 10, 10], 3, 1e-3, [15.785263, 9.337159, 5.502978, 5.502978]),
        ([40, 20, 4, 4], 2, 2e-2, [9.842190, 5.483527, 0, 0]),
    ],
)
def test_anchors(counts, M, decay, expected):
    found = collapse(counts, M, decay)
    assert found.weight_gram.diagonal().tolist() == pytest.approx(expected, abs=6e-7)
    assert torch.equal(found.weight_gram, torch.diag(found.weight_gram.diagonal()))
    assert found.collapsed == tuple(k for k, value in enumerate(expected) if value == 0)
    assert found.defined


@settings(max_examples=40, deadline=None)
@given(COUNTS, st.integers(1, 6), DECAYS, DECAYS)
def test_scalar_problem_is_solved_as_by_brute_force(counts, M, weight_decay, feature_decay):
    found = collapse(counts, M, weight_decay=weight_decay, feature_decay=feature_decay)
    assume(bool(((found.beta / found.threshold - 1).abs() > 1e-6).all()))  # at it, two minima are as low
    expected = oracle.strengths(counts, M, weight_decay, feature_decay)
    assert found.weight_gram.diagonal().tolist() == pytest.approx(expected, rel=ITERATIVE, abs=1e-9)
    noise = sum(counts) * feature_decay
    for k, strength in enumerate(found.weight_gram.diagonal().tolist()):
        assert float(found.cross_gram[k, k]) == pytest.approx(strength / (strength + noise), rel=IDENTITY)
        assert float(found.feature_gram[k, k]) == pytest.approx(
            strength / (strength + noise) ** 2, rel=IDENTITY
        )


def test_one_layer_is_a_soft_threshold():
    counts, weight_decay, feature_decay = [50, 20, 3, 1], 0.02, 0.01
    found = collapse(counts, 1, weight_decay=weight_decay, feature_decay=feature_decay)
    for n, strength in zip(counts, found.weight_gram.diagonal().tolist(), strict=True):
        # W h = σ²/(σ² + N λ_H), the singular value √n of Y less N √(λ_W λ_H), over √n
        shrunk = max(0.0, math.sqrt(n) - 74 * math.sqrt(weight_decay * feature_decay))
        assert strength == pytest.approx(shrunk * math.sqrt(feature_decay / weight_decay), rel=IDENTITY)
    assert found.collapsed == (3,)


@pytest.mark.parametrize("M", [1, 2, 3, 6])
def test_minority_collapse_is_at_the_threshold_from_both_sides(M):
    kept, gone = (
        collapse((30, 10), M, weight_decay=at_boundary(M, factor=factor), feature_decay=0.01)
        for factor in (1 - 1e-12, 1 + 1e-12)
    )
    assert kept.threshold == {1: 1.0, 2: 0.5}.get(M, (M - 1) ** ((M - 1) / M) / M)
    assert kept.collapsed == ()
    assert (gone.collapsed, list(gone.reasons)) == ((1,), [1])
    assert float(gone.weight_gram[1, 1]) == float(gone.feature_gram[1, 1]) == 0
    assert gone.reasons[1].startswith("class 1 has 10 of 40 samples: beta = ")
    # the minimum jumps from x = (M - 1)^(1/M), where the scalar problem has the value 1 that it has at 0
    jump = 0.4 * (M - 1)
    assert float(kept.weight_gram[1, 1]) == pytest.approx(jump, abs=1e-9)


@pytest.mark.parametrize("M", [2, 3])
def test_a_larger_root_that_is_only_a_local_minimum_is_not_taken(M):
    found = collapse((30, 10), M, weight_decay=at_boundary(M, factor=1.1), feature_decay=0.01)
    beta, steepest = float(found.beta[1]), ((M - 1) / (M + 1)) ** (1 / M)
    assert M * steepest ** (M - 1) / (steepest**M + 1) ** 2 > beta  # the stationary points are there
    assert found.collapsed == (1,)


@settings(max_examples=25, deadline=None)
@given(COUNTS, st.integers(1, 4), DECAYS, st.randoms(use_true_random=False))
def test_order_of_classes_is_the_order_of_the_result(counts, M, decay, random):
    order = list(range(len(counts)))
    random.shuffle(order)
    found, moved = collapse(counts, M, decay), collapse([counts[k] for k in order], M, decay)
    for name in GRAMS:
        assert torch.equal(getattr(moved, name), getattr(found, name)[order][:, order])
    assert sorted(order[k] for k in moved.collapsed) == list(found.collapsed)


@settings(max_examples=25, deadline=None)
@given(COUNTS, st.integers(1, 4), DECAYS, DECAYS, st.integers(2, 9), st.floats(0.1, 10))
def test_scales_of_counts_and_decays(counts, M, weight_decay, feature_decay, times, factor):
    options = {"weight_decay": weight_decay, "feature_decay": feature_decay}
    found = collapse(counts, M, **options)
    assume(bool(((found.beta / found.threshold - 1).abs() > 1e-6).all()))
    more = collapse([times * n for n in counts], M, **options | {"feature_decay": feature_decay / times})
    # c^M λ_H with λ_W / c keeps β, and σ² is proportional to λ_H
    stretched = collapse(
        counts, M, weight_decay=weight_decay / factor, feature_decay=feature_decay * factor**M
    )
    for name, power in zip(GRAMS, (1, -1, 0), strict=True):
        assert relative_error(getattr(more, name), getattr(found, name)) < 1e-9
        expected = getattr(found, name) * factor ** (M * power)
        assert relative_error(getattr(stretched, name), expected) < 1e-9


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("M", [1, 2, 3])
def test_layers_in_the_frame_make_up_the_result_and_are_a_stationary_point(M, bias):
    counts = [3, 3, 3] if bias else [4, 2, 1]
    decays = [0.002, 0.001, 0.003][:M]
    found = collapse(counts, M, weight_decay=decays, feature_decay=0.004, bias=bias)
    weights = [found.layer_weight(m).requires_grad_() for m in range(1, M + 1)]
    labels = torch.repeat_interleave(torch.tensor(counts)).tolist()
    features = found.layer_means(1)[labels].requires_grad_()
    rows = found.layer_means(1)
    for m, weight in enumerate(weights, 1):
        assert relative_error(rows, found.layer_means(m)) < IDENTITY
        rows = rows @ weight.detach().mT
    assert relative_error(rows + found.output_bias, found.output_means) < IDENTITY
    product = weights[0].detach()
    for weight in weights[1:]:
        product = weight.detach() @ product
    assert relative_error(product @ product.mT, found.weight_gram) < IDENTITY
    assert relative_error(product @ found.layer_means(1).mT, found.cross_gram) < IDENTITY
    assert relative_error(found.layer_means(1) @ found.layer_means(1).mT, found.feature_gram) < IDENTITY
    bias_part = found.output_bias.requires_grad_()
    value = oracle.loss(features, weights, bias_part, labels, decays, 0.004)
    gradients = torch.autograd.grad(value, [features, *weights, *([bias_part] if bias else [])])
    assert max(float(gradient.abs().max()) for gradient in gradients) < 1e-15
    # rows of the product are multiples of the class means, another for each class (NC3)
    factors = found.weight_gram.diagonal() / found.cross_gram.diagonal()
    assert relative_error(product, factors[:, None] * found.layer_means(1)) < IDENTITY


SLOW = {"weight_decay": 1e-3, "feature_decay": 1e-3}  # the smaller the decay, the more steps
CASES = [
    ([40, 20, 10, 10], 1, SLOW),
    ([40, 20, 10, 10], 2, SLOW),
    ([40, 20, 10, 10], 3, SLOW),
    ([20, 20, 20, 20], 1, {}),
    ([20, 20, 20, 20], 2, {}),
    ([20, 20, 20, 20], 3, {}),
    ([20, 20, 20], 1, {"bias": True}),
    ([20, 20, 20], 2, {"bias": True}),
    ([20, 20, 20], 3, {"bias": True}),
    ([10, 10, 10, 10], 2, {"bias": True, "width": 3}),
    ([40, 20, 4, 4], 2, {"weight_decay": 2e-2, "feature_decay": 2e-2}),
    ([40, 20, 4, 4], 2, {}),
    ([40, 20, 10], 3, {"weight_decay": [3e-3, 12e-3, 6e-3]}),
    ([40, 20, 12, 10], 1, {"width": 2}),
    ([40, 20, 12, 10], 2, {"width": 2}),
    ([40, 20, 12, 10], 3, {"width": 2}),
]


@pytest.mark.parametrize(("counts", "M", "options"), CASES)
def test_a_trained_network_agrees(counts, M, options):
    options = {"n_layers": M, "weight_decay": 5e-3, "feature_decay": 5e-3} | options
    fit = train_unconstrained_features(counts, **{"width": 6} | options)
    found = deep_linear_collapse(counts, **options)
    assert fit.converged
    for name in GRAMS:
        assert float((getattr(fit, name) - getattr(found, name)).abs().max()) < TRAINED
    outputs = fit.model().detach()
    assert (
        float((outputs - found.output_means[fit.labels]).abs().max()) < TRAINED
    )  # no scatter within classes
    weights = [torch.linalg.svdvals(weight.detach()) for weight in fit.model.weights]
    for trained, known in zip(weights, found.singular_values, strict=True):
        directions = min(
            len(trained), len(counts) - options.get("bias", False)
        )  # all ones is not used beside a bias
        largest = known.sort(descending=True).values[:directions]
        assert float((trained[:directions] - largest).abs().max()) < 10 * TRAINED


def test_equal_counts_in_too_narrow_a_network_leave_the_frame_open():
    """Trained from different starts, other classes survive: what the theory calls undefined is."""
    options = {"n_layers": 2, "weight_decay": 5e-3, "feature_decay": 5e-3, "width": 2}
    first, second = (train_unconstrained_features([20] * 4, random_state=seed, **options) for seed in (0, 1))
    assert first.loss == pytest.approx(second.loss, rel=1e-9)
    assert float((first.weight_gram - second.weight_gram).abs().max()) > 0.1
    found = deep_linear_collapse([20] * 4, **options)
    assert not found.defined
    assert "equal counts" in found.undefined_because
    # but for the frame, what survives is as wide networks have it
    wide = deep_linear_collapse([20] * 4, **options | {"width": None})
    values = torch.linalg.eigvalsh(first.weight_gram).tolist()
    assert values == pytest.approx([0, 0, *[float(wide.weight_gram[0, 0])] * 2], abs=TRAINED)


def test_bias_makes_a_simplex_of_the_orthogonal_frame():
    without, with_bias = collapse([20] * 4, 2), collapse([20] * 4, 2, bias=True)
    simplex = torch.eye(4, dtype=torch.float64) - 1 / 4
    assert relative_error(with_bias.weight_gram, without.weight_gram[0, 0] * simplex) < IDENTITY
    assert torch.equal(with_bias.singular_values, without.singular_values)
    assert torch.allclose(with_bias.output_means.sum(1), torch.ones(4, dtype=torch.float64))
    alone = collapse([20], 2, bias=True)
    assert alone.collapsed == (0,)
    assert alone.output_means.tolist() == [[1.0]]


@pytest.mark.parametrize(
    ("counts", "options", "word"),
    [
        ([40, 20], {"bias": True}, "with a bias .* equal counts, and these differ"),
        ([10] * 4, {"width": 3}, "no room for both of classes 2 and 3"),
        ([10, 20, 20, 20], {"width": 2}, "no room for both of classes 2 and 3"),
        ([10] * 4, {"width": 2, "bias": True}, "no room"),
    ],
)
def test_without_a_closed_form_all_is_undefined_with_the_reason(counts, options, word):
    found = collapse(counts, 2, **options)
    assert not found.defined
    assert re.search(word, found.undefined_because)
    for name in (*GRAMS, "singular_values", "output_means"):
        assert bool(torch.isnan(getattr(found, name)).all())
    assert bool(torch.isnan(found.layer_means(2)).any())
    assert found.collapsed == ()
    assert bool((found.beta > 0).all())


def test_narrow_networks_keep_the_largest_classes():
    found = collapse([10, 40, 4, 20], 2, width=2)
    assert found.collapsed == (0, 2)
    assert found.reasons[0] == "class 0 is not among the 2 largest, and the width is 2"
    wide = collapse([10, 40, 4, 20], 2)
    assert float(found.weight_gram[1, 1]) == float(wide.weight_gram[1, 1])
    assert collapse([20, 20, 20], 2, width=3).defined  # room for all
    assert collapse([30, 1, 1], 2, 0.05, width=1).collapsed == (1, 2)
    assert collapse([30, 1, 1], 2, 0.05, width=2).defined  # equal, but both are gone


def test_decays_of_layers_count_by_their_geometric_mean():
    even, uneven = (
        collapse([40, 20, 10], 2, 2e-3),
        collapse([40, 20, 10], 2, weight_decay=[1e-3, 4e-3], feature_decay=2e-3),
    )
    for name in GRAMS:
        assert relative_error(getattr(uneven, name), getattr(even, name)) < IDENTITY
    balance = uneven.singular_values.square() * torch.tensor([[1e-3], [4e-3]], dtype=torch.float64)
    assert relative_error(balance[0], balance[1]) < IDENTITY
    assert collapse([4], 1, weight_decay=torch.tensor([0.1])).weight_decay == pytest.approx((0.1,))


@pytest.mark.parametrize(("M", "decay"), [(1, 1e-100), (3, 1e-60), (1, 1e-15), (200, 1e-3), (2, 1e3)])
def test_extreme_decays(M, decay):
    found = collapse([7, 3], M, decay)
    assert all(bool(torch.isfinite(getattr(found, name)).all()) for name in GRAMS)
    if decay < 1e-10:
        assert found.cross_gram.diagonal().tolist() == pytest.approx([1, 1], abs=1e-6)
    else:
        assert found.collapsed == ((0, 1) if decay > 1 else ())


def test_counts_of_any_integer_kind_and_the_public_name():
    assert agop.deep_linear_collapse is deep_linear_collapse
    assert isinstance(collapse([3, 2], 1), DeepLinearCollapse)
    for counts in ((3, 2), torch.tensor([3, 2]), torch.tensor([3, 2], dtype=torch.uint8).numpy()):
        assert collapse(counts, 2).counts == (3, 2)
    with pytest.raises(AttributeError):
        collapse([3, 2], 1).bias = True


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"counts": []}, "counts: .*none"),
        ({"counts": [3, 0]}, r"counts\[1\]: expected an integer >= 1, got 0"),
        ({"counts": [-3]}, r"counts\[0\]"),
        ({"counts": [2.5, 3]}, r"counts\[0\]: expected an integer >= 1, got 2.5"),
        ({"counts": [True, 3]}, r"counts\[0\]"),
        ({"counts": "ab"}, "counts: "),
        ({"counts": 5}, "counts: "),
        ({"counts": None}, "counts: "),
        ({"counts": torch.ones(2, 2, dtype=torch.int64)}, r"counts\[0\]"),
        ({"counts": [2**53, 1]}, "counts: .*samples"),
        ({"n_layers": 0}, "n_layers"),
        ({"n_layers": 1.0}, "n_layers"),
        ({"weight_decay": 0.0}, "weight_decay"),
        ({"weight_decay": -1}, "weight_decay"),
        ({"weight_decay": math.nan}, "weight_decay"),
        ({"weight_decay": "much"}, "weight_decay"),
        ({"weight_decay": [1e-3]}, "weight_decay: .*each of the 2 layers, got 1"),
        ({"weight_decay": [1e-3, math.nan]}, r"weight_decay\[1\]"),
        ({"weight_decay": 1e-300, "feature_decay": 1e300}, "weight_decay: .*range"),
        ({"feature_decay": 0}, "feature_decay"),
        ({"feature_decay": math.inf}, "feature_decay"),
        ({"bias": None}, "bias"),
        ({"width": 0}, "width: .*None"),
    ],
)
@pytest.mark.usefixtures("as_in_production")
def test_bad_input_is_refused_in_one_sentence(change, word):
    good = {"counts": [3, 2], "n_layers": 2, "weight_decay": 1e-3, "feature_decay": 1e-3}
    with one_sentence(match=word):
        deep_linear_collapse(**(good | change))


@pytest.mark.parametrize("m", [0, 3, 1.5])
def test_layers_are_counted_from_one(m):
    with pytest.raises((ValueError, TypeError), match="m"):
        collapse([3, 2], 2).layer_means(m)
