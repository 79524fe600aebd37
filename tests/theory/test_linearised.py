from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agop.collapse import ClassMoments, nc1
from agop.kernels import Laplace
from agop.linalg.ridge import SingularSystemError
from agop.theory.linear_machine import linear_deep_rfm
from agop.theory.linearised import fitted_values, limit, linearised_layers, normalised, ridge_shift
from tests.oracles import theory as oracle
from tests.tolerances import IDENTITY, ITERATIVE, relative_error


def factors(layers, labels):
    values = [float(nc1(ClassMoments.of(layer.fitted, labels))) for layer in layers]
    return [later / earlier for earlier, later in itertools.pairwise(values)]


@pytest.mark.parametrize(("lambda_k", "lambda_phi"), [(1.0, 1.0), (0.1, 0.1), (0.01, 0.1), (1.0, 0.1)])
def test_recursion_is_the_one_of_the_paper(toy, lambda_k, lambda_phi):
    X, _, Y = toy
    layers = linearised_layers(X @ X.T, Y, lambda_k, lambda_phi, 5)
    for layer, expected in zip(layers, oracle.recursion(X @ X.T, Y, lambda_k, lambda_phi, 5), strict=True):
        assert relative_error(layer.projected, expected) < IDENTITY


def test_projection_is_that_of_the_agop_by_autograd(toy):
    X, _, Y = toy
    Z = oracle.linear_layer(X, Y, 0.3)
    F = fitted_values(X @ X.T, Y, 0.3)
    assert relative_error(F @ F.T, Z @ Z.T) < IDENTITY
    view = next(linear_deep_rfm(X, Y, 0.3, 0.1, 1, normalise="none"))
    assert relative_error(view.projected @ view.projected.T, Z @ Z.T) < IDENTITY


@pytest.mark.parametrize("normalise", ["trace", "rows", "none"])
def test_exact_features_follow_the_recursion(toy, normalise):
    X, labels, Y = toy
    layers = linearised_layers(X @ X.T, Y, 0.5, 0.2, 6, normalise=normalise)
    views = linear_deep_rfm(X, Y, 0.5, 0.2, 6, normalise=normalise)
    for layer, view in zip(layers, views, strict=True):
        for gram, stage in (
            (layer.gram, view.input),
            (layer.projected, view.projected),
            (layer.output, view.output),
        ):
            assert relative_error(stage @ stage.T, gram) < IDENTITY
        predicted = nc1(ClassMoments.of(layer.fitted, labels))
        assert float(nc1(ClassMoments.of(view.projected, labels))) == pytest.approx(predicted, rel=ITERATIVE)


def test_wide_features_approach_the_recursion_like_one_over_root_width(toy):
    X, _, Y = toy
    expected = linearised_layers(X @ X.T, Y, 0.5, 0.2, 1)[0].output
    errors = []
    for width in (400, 40_000):
        generator = torch.Generator().manual_seed(0)
        view = next(linear_deep_rfm(X, Y, 0.5, 0.2, 1, width=width, generator=generator))
        errors.append(relative_error(view.output @ view.output.T, expected))
    assert 5 < errors[0] / errors[1] < 20  # ten, but for chance


@pytest.mark.parametrize("normalise", ["trace", "none"])
@pytest.mark.parametrize(("lambda_k", "lambda_phi"), [(1.0, 1.0), (0.1, 0.3), (0.3, 0.1)])
def test_rates_in_closed_form_are_those_of_the_recursion(toy, lambda_k, lambda_phi, normalise):
    X, labels, Y = toy  # imbalanced
    layers = linearised_layers(X @ X.T, Y, lambda_k, lambda_phi, 80, normalise=normalise)
    values = [float(nc1(ClassMoments.of(layer.fitted, labels))) for layer in layers]
    usable = [value for value in values if value > 1e-24]
    found = (usable[-1] / usable[-6]) ** (1 / 5)
    expected = limit(Y, lambda_k, lambda_phi, normalise=normalise)
    assert found == pytest.approx(expected.nc1_factor, rel=0.02)
    spectrum = torch.linalg.eigvalsh(layers[-1].projected)[-3:].flip(0)
    assert spectrum.tolist() == pytest.approx(sorted(expected.values, reverse=True), rel=1e-3)


def test_signed_targets_too(toy):
    X, labels, Y = toy
    layers = linearised_layers(X @ X.T, 2 * Y - 1, 0.3, 0.3, 30)
    values = [v for v in (float(nc1(ClassMoments.of(layer.fitted, labels))) for layer in layers) if v > 1e-24]
    assert values[-1] / values[-2] == pytest.approx(limit(2 * Y - 1, 0.3, 0.3).nc1_factor, rel=0.02)


def test_strong_signals_collapse_by_the_ratio_of_the_shifts():
    Y = torch.eye(2, dtype=torch.float64).repeat_interleave(10_000, 0)
    assert limit(Y, 0.2, 0.3, normalise="none").nc1_factor == pytest.approx((0.2 / 0.5) ** 2, rel=1e-3)


@settings(max_examples=25, deadline=None)
@given(st.floats(0.01, 2), st.floats(0.05, 2), st.floats(0.3, 0.95))
def test_smaller_ratio_is_faster(lambda_k, lambda_phi, shrink):
    Y = torch.eye(4, dtype=torch.float64).repeat_interleave(25, 0)
    assert limit(Y, shrink * lambda_k, lambda_phi).nc1_factor < limit(Y, lambda_k, lambda_phi).nc1_factor


def test_without_ridge_one_layer_is_enough(toy):
    X, _, Y = toy
    layer = linearised_layers(X @ X.T, Y, 0.0, 0.1, 1)[0]
    assert relative_error(layer.projected, Y @ Y.T) < IDENTITY
    assert limit(Y, 0, 0.1).nc1_factor == 0
    with pytest.raises(SingularSystemError, match="ridge"):
        linearised_layers(torch.ones(4, 4, dtype=torch.float64), Y[:4], 0.0, 0.1, 1)


def test_without_noise_nothing_more_is_separated(toy):
    """λ_Φ = 0: the projected Gram has rank c, and its class structure changes no more within the range."""
    X, labels, Y = toy
    steps = factors(linearised_layers(X @ X.T, Y, 0.1, 0.0, 6), labels)
    assert all(step > 0.9 for step in steps[2:])


def test_offset_changes_no_gradient_only_the_fit(toy):
    X, _, Y = toy
    G = X @ X.T
    smoother = torch.linalg.inv(G + 0.2 * torch.eye(60, dtype=torch.float64) + 0.7)
    assert relative_error(fitted_values(G, Y, 0.2, offset=0.7), G @ smoother @ Y) < IDENTITY


@settings(max_examples=25, deadline=None)
@given(st.floats(0.1, 10), st.floats(0, 3), st.floats(0, 3))
def test_shift_of_an_exactly_linear_kernel_is_found(slope, offset, shift):
    X = torch.randn(12, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    G = X @ X.T
    found = ridge_shift(slope * (G + offset + shift * torch.eye(12, dtype=torch.float64)), G)
    assert (found.slope, found.offset, found.shift, found.r2) == pytest.approx(
        (slope, offset, shift, 1), abs=1e-9
    )


def test_laplace_kernel_on_the_sphere_has_a_ridge(toy):
    X = toy[0] / toy[0].norm(dim=1, keepdim=True)
    found = ridge_shift(Laplace(bandwidth=2.0)(X), X @ X.T)
    assert found.shift > 0
    assert 0.5 < found.r2 <= 1


def test_normalisations():
    G = torch.tensor([[4.0, 1.0], [1.0, 0.0]], dtype=torch.float64)
    assert float(normalised(G, "trace").trace()) == pytest.approx(2)
    assert normalised(G, "rows").tolist() == [[1.0, 0.5], [0.5, 0.0]]
    assert normalised(G, "none") is G


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"G": torch.ones(3, 4, dtype=torch.float64)}, "square"),
        ({"Y": torch.ones(3, 2, dtype=torch.float64)}, "rows"),
        ({"lambda_k": -1.0}, "lambda_k"),
        ({"lambda_phi": math.nan}, "lambda_phi"),
        ({"n_layers": 0}, "n_layers"),
        ({"normalise": "max"}, "normalise"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(toy, change, word):
    X, _, Y = toy
    good = {"G": X @ X.T, "Y": Y, "lambda_k": 0.1, "lambda_phi": 0.1, "n_layers": 2}
    with pytest.raises(ValueError, match=word):
        linearised_layers(**(good | change))
    with pytest.raises(ValueError, match="generator"):
        linear_deep_rfm(X, Y, 0.1, 0.1, 1, width=5)
    with pytest.raises(ValueError, match="lambda_phi"):
        limit(Y, 0, 0)
    with pytest.raises(ValueError, match="grow"):
        ridge_shift(-(X @ X.T), X @ X.T)
