"""Scores against scikit-learn and NumPy, and the honest score of a choice against its definition."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from agop.concepts.scores import Concept, auc, chosen, correlation

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("ties", [False, True])
def test_auc_is_that_of_scikit_learn_with_ties_and_without(ties):
    values, positive = RNG.normal(size=(5, 60)), RNG.random(60) < 0.3
    values = values.round(0) if ties else values
    expected = [roc_auc_score(positive, one) for one in values]
    np.testing.assert_allclose(auc(values, positive), expected, rtol=1e-12)
    np.testing.assert_allclose(auc(-values, positive), 1 - auc(values, positive), rtol=1e-12)
    np.testing.assert_allclose(auc(np.exp(values), positive), auc(values, positive), rtol=1e-12)


def test_auc_in_closed_form():
    assert auc(np.array([0.0, 1.0, 2.0, 3.0]), np.array([False, False, True, True])) == 1
    assert auc(np.array([0.0, 1.0, 2.0, 3.0]), np.array([False, True, False, True])) == 0.75
    assert auc(np.zeros(4), np.array([False, True, False, True])) == 0.5
    assert np.isnan(auc(np.zeros(4), np.ones(4, dtype=bool)))


def test_correlation_is_pearson_s_and_zero_for_what_is_constant():
    values, y = RNG.normal(size=(3, 40)), RNG.normal(size=40)
    np.testing.assert_allclose(correlation(values, y), [np.corrcoef(one, y)[0, 1] for one in values])
    assert correlation(np.ones(40), y) == 0


def test_several_classes_are_each_against_all_others():
    y = np.array(["b", "a", "c"] * 20)
    concept, values = Concept.of(y), RNG.normal(size=(1, 60, 3))
    expected = np.mean([roc_auc_score(y == label, values[0, :, j]) for j, label in enumerate("abc")])
    assert concept.scores(values, np.arange(60))[0] == pytest.approx(expected)
    values[0, 3, 1] = np.nan
    assert concept.scores(values, np.arange(60))[0] == -np.inf


def test_the_honest_score_is_that_of_what_the_other_folds_choose():
    by_fold = np.array([[0.9, 0.5, 0.6], [0.7, 0.7, 0.7], [0.6, 0.9, 0.55]])
    best, honest = chosen(by_fold)
    assert best == 1
    # without fold 0 the last is best (.725), without fold 1 the first (.75), without fold 2 the last (.75)
    assert honest == pytest.approx((0.6 + 0.5 + 0.55) / 3)
    assert chosen(np.array([[0.5, 0.5], [0.5, 0.5]]))[0] == 0
    assert chosen(np.array([[-np.inf, 0.9], [0.6, 0.6]])) == (1, pytest.approx(0.6))


def test_what_y_describes():
    assert Concept.of([True, False, True]).classes.tolist() == [False, True]
    assert Concept.of(["no", "yes"]).y.tolist() == [0, 1]
    assert Concept.of([1.0, 0.0, 2.0]).columns == 3
    assert Concept.of([0.5, 0.25]).kind == "correlation"
    for bad in (None, [], [[1, 2]], ["a", "a"], [0.5, float("nan")], [object(), object()], [1j, 2j], 3):
        with pytest.raises((ValueError, TypeError), match="y: expected"):
            Concept.of(bad)
