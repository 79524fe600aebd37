from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agop import dropout_penalty
from agop.theory.dropout import enumerated_loss, expected_loss, loss, sampled_loss
from tests.tolerances import IDENTITY

INVALID = (ValueError, TypeError)


def top(n=12, h=6, o=3, seed=0):
    """Activations of a ReLU layer, a linear map, targets."""
    g = torch.Generator().manual_seed(seed)
    a = torch.randn(n, h, generator=g, dtype=torch.float64).relu()
    return (
        a,
        torch.randn(o, h, generator=g, dtype=torch.float64),
        torch.randn(n, o, generator=g, dtype=torch.float64),
    )


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**16), h=st.integers(1, 9), p=st.floats(0, 0.95))
def test_the_closed_form_is_the_sum_over_all_masks(seed, h, p):
    arguments = top(n=4, h=h, seed=seed)
    assert expected_loss(*arguments, p) == pytest.approx(enumerated_loss(*arguments, p), rel=IDENTITY)


def test_twelve_units_and_no_more():
    arguments = top(n=3, h=12)
    assert expected_loss(*arguments, 0.4) == pytest.approx(enumerated_loss(*arguments, 0.4), rel=IDENTITY)
    with pytest.raises(ValueError, match="activations: expected at most 12 units, got 13"):
        enumerated_loss(*top(h=13), 0.4)


@pytest.mark.parametrize("p", [0.2, 0.5])
def test_samples_agree_within_four_standard_errors(p):
    arguments = top(n=40, h=30)
    found = sampled_loss(*arguments, p, draws=4000, random_state=1)
    assert abs(found.mean - expected_loss(*arguments, p)) < 4 * found.error
    # and they can tell: half the penalty is far off
    a, U, _ = arguments
    half = loss(*arguments) + 0.5 * p / (1 - p) * float(dropout_penalty(a, U))
    assert abs(found.mean - half) > 8 * found.error
    assert sampled_loss(*arguments, p, draws=5) == sampled_loss(*arguments, p, draws=5)


def test_torch_s_own_dropout_is_the_one_meant(generator):
    a, U, y = top(n=30, h=20)
    torch.manual_seed(4)
    losses = torch.stack(
        [(torch.dropout(a, 0.3, True) @ U.T - y).square().sum(1).mean() for _ in range(3000)]
    )
    assert abs(float(losses.mean()) - expected_loss(a, U, y, 0.3)) < 4 * float(losses.std()) / 3000**0.5


def test_without_dropout_it_is_the_loss():
    arguments = top()
    assert expected_loss(*arguments, 0) == enumerated_loss(*arguments, 0) == loss(*arguments)
    a, U, y = arguments
    assert loss(*arguments) == pytest.approx(float((a @ U.T - y).square().sum(1).mean()), rel=IDENTITY)


def test_on_two_layers_it_is_not_exact():
    """Dropout below too: the units that the top reads depend on each other, and cross terms stay."""
    a, U, y = top(n=1, h=2, o=1)
    V = torch.tensor([[1.0, 2.0], [2.0, 1.0]], dtype=torch.float64)
    masks = [torch.tensor(m, dtype=torch.float64) * 2 for m in [(0, 0), (0, 1), (1, 0), (1, 1)]]
    both = sum(expected_loss((a * mask) @ V.T, U, y, 0.5) for mask in masks) / 4
    wanted = loss(a @ V.T, U, y) + float(dropout_penalty(a @ V.T, U)) + float(dropout_penalty(a, U @ V))
    assert abs(both - wanted) > 1e-3 * wanted


def test_cross_entropy_is_second_order_only():
    """½ p/(1 − p) Σ_j a_j² U_jᵀ(diag s − s sᵀ)U_j: right where units add little to the logits, 1 % off and more where they do not."""
    cross_entropy, label = torch.nn.functional.cross_entropy, torch.tensor([0])

    def ratio(size, p=0.3):
        a, U, _ = top(n=1, h=8)
        a = size * a
        s = (a @ U.T).softmax(1)[0]
        bend = torch.einsum("oj,op,pj,j->", U, torch.diag(s) - torch.outer(s, s), U, a[0].square()) / 2
        masks = torch.tensor(list(itertools.product((0.0, 1.0), repeat=8)), dtype=a.dtype)
        chances = (masks * (1 - p) + (1 - masks) * p).prod(1)
        losses = cross_entropy((a * masks / (1 - p)) @ U.T, label.expand(256), reduction="none")
        return float((chances @ losses - cross_entropy(a @ U.T, label)) / (p / (1 - p) * bend))

    assert ratio(1e-3) == pytest.approx(1, abs=1e-3)
    assert abs(ratio(1.0) - 1) > 0.01


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"p": 1}, "p: expected a probability below 1"),
        ({"p": -0.1}, "p: expected"),
        ({"p": float("nan")}, "p: expected"),
        ({"weight": torch.zeros(3, 5)}, "weight: expected 6 columns"),
        ({"targets": torch.zeros(12, 2)}, r"targets: expected shape \(12, 3\)"),
        ({"activations": torch.zeros(0, 6), "targets": torch.zeros(0, 3)}, "activations: expected at least one"),
        ({"activations": torch.full((12, 6), float("nan"))}, "activations: expected finite values"),
        ({"targets": torch.zeros(12, 3).long()}, "targets"),
    ],
)  # fmt: skip
def test_bad_input_is_one_sentence(change, says):
    arguments = {**dict(zip(("activations", "weight", "targets"), top())), "p": 0.5, **change}
    for function in (expected_loss, enumerated_loss, sampled_loss):
        with pytest.raises(INVALID, match=says):
            function(**arguments)
    with pytest.raises(ValueError, match="draws"):
        sampled_loss(*top(), 0.5, draws=1)
