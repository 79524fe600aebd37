"""The prior over Boolean functions: closed forms against enumeration, stacked networks against single ones."""

from __future__ import annotations

import math
from itertools import combinations

import pytest
import torch

from agop.datasets import load
from agop.datasets.boolean import nearest_function
from agop.networks.stacked import StackedMLP, train_until_fitted
from agop.probes.complexity import lz_complexities, lz_complexity
from agop.theory.function_prior import boolean_inputs, error_spectrum, fit_probability, sample_functions
from tests.tolerances import IDENTITY, SINGLE


def test_inputs_are_all_strings_in_order():
    x = boolean_inputs(3)
    assert x.tolist() == [[float(bit) for bit in f"{number:03b}"] for number in range(8)]
    with pytest.raises(ValueError, match="n: expected at most 12 bits, got 13"):
        boolean_inputs(13)


def test_the_chance_to_fit_is_a_quotient_of_binomials():
    errors = torch.arange(17, dtype=torch.float64)
    for m in (1, 5, 15):
        wanted = [math.comb(16 - e, m) / math.comb(16, m) for e in range(17)]
        torch.testing.assert_close(
            fit_probability(errors, 16, m), torch.tensor(wanted, dtype=torch.float64), atol=IDENTITY, rtol=0
        )


def test_the_predicted_error_is_that_of_all_training_sets():
    g = torch.Generator().manual_seed(0)
    functions, target, m = torch.rand(30, 8, generator=g) > 0.4, torch.rand(8, generator=g) > 0.5, 3
    wrong = fits = 0.0
    for points in combinations(range(8), m):
        chosen = list(points)
        fit = (functions[:, chosen] == target[chosen]).all(1)
        wrong += float((functions != target)[fit].sum())
        fits += float(fit.sum())
    predicted, effective = error_spectrum(functions, target).predicted_error(m)
    assert predicted == pytest.approx(wrong / fits / (8 - m), abs=IDENTITY)
    assert 1 <= effective <= 30
    with pytest.raises(ValueError, match="m: expected fewer training points than inputs"):
        error_spectrum(functions, target).predicted_error(8)
    far, none = error_spectrum(~target[None], target).predicted_error(m)
    assert math.isnan(far)
    assert none == 0


def test_a_prior_that_holds_the_target_alone_predicts_no_error():
    target = torch.tensor([True, False, False, True])
    assert error_spectrum(target[None].repeat(5, 1), target).predicted_error(2) == (0.0, 5.0)


def test_members_are_networks_of_their_own():
    model, x = StackedMLP(3, 4, width=5, depth=2, sigma_w=1.5, seed=1), torch.randn(7, 4)
    for index in range(3):
        torch.testing.assert_close(model.member(index)(x)[:, 0], model(x)[index], rtol=SINGLE, atol=1e-6)
    spread = torch.stack([w.std() * w.shape[1] ** 0.5 for w in StackedMLP(400, 16, sigma_w=3.0).weights[:-1]])
    torch.testing.assert_close(spread, torch.full_like(spread, 3.0), rtol=0.05, atol=0)


def test_training_together_is_training_alone():
    x = boolean_inputs(4)
    y = (x.sum(1) > 2).repeat(2, 1)
    y[1] = x[:, 0] > 0.5
    points, options = x.repeat(2, 1, 1), {"width": 8, "depth": 2, "sigma_w": 1.0}
    both = StackedMLP(2, 4, **options)
    steps = {}
    fitted = train_until_fitted(both, points, y, lr=0.01, each=lambda step, n: steps.setdefault(n, step))
    assert bool(fitted.all())
    assert ((both(points) > 0) == y).all()
    for index in range(2):
        alone = StackedMLP(1, 4, **options)
        whole = StackedMLP(2, 4, **options)
        with torch.no_grad():
            for one, two in zip(alone.parameters(), whole.parameters(), strict=True):
                one.copy_(two[index : index + 1])
        assert bool(train_until_fitted(alone, points[:1], y[index : index + 1], lr=0.01).all())
        torch.testing.assert_close(alone(points[:1])[0], both(points)[index], rtol=SINGLE, atol=SINGLE)


def test_members_that_never_fit_are_told():
    model = StackedMLP(2, 2, width=2, depth=1)
    x = torch.zeros(2, 2, 2)  # equal points with different labels
    assert not bool(train_until_fitted(model, x, torch.tensor([[True, False]] * 2), most_steps=3).any())


def test_functions_are_drawn_in_steps_and_their_complexity_is_as_published():
    one = sample_functions(700, seed=3)
    assert one.shape == (700, 128)
    assert torch.equal(sample_functions(600, seed=3), one[:600])
    ordered, chaotic = (
        lz_complexities(functions).quantile(torch.tensor([0.05, 0.5, 0.95], dtype=torch.float64))
        for functions in (one, sample_functions(700, sigma_w=8.0, seed=3))
    )
    # the published figure, read off: 31/84/119 and 136/147/158
    torch.testing.assert_close(ordered, torch.tensor([31.0, 84, 119], dtype=torch.float64), atol=8, rtol=0)
    torch.testing.assert_close(chaotic, torch.tensor([136.0, 147, 158], dtype=torch.float64), atol=4, rtol=0)


@pytest.mark.parametrize("complexity", [35.0, 70.0, 140.0])
def test_data_have_the_complexity_that_was_asked_for(complexity):
    values = nearest_function(complexity)
    assert float(lz_complexity(values)) == pytest.approx(complexity, abs=3.5)
    data = load("boolean", parameters={"complexity": complexity, "train": 40}, seed=1)
    assert (data.x_train.shape, data.x_test.shape) == ((40, 7), (88, 7))
    table = {tuple(x): y for x, y in zip(data.x_train.tolist(), data.y_train.tolist(), strict=True)}
    for x, value in zip(boolean_inputs().tolist(), values.tolist(), strict=True):
        assert table.get(tuple(x), value) == value
