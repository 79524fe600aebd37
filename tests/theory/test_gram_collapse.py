from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agop.collapse import ClassMoments, nc1, nc2
from agop.theory.gram_collapse import gram_nc1, gram_nc2
from tests.oracles import theory as oracle
from tests.tolerances import IDENTITY


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 5), st.integers(1, 12), st.floats(0.01, 3))
def test_equal_to_the_measures_of_features(seed, n_classes, d, spread):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.cat([torch.arange(n_classes), torch.randint(n_classes, (20,), generator=generator)])
    means = torch.randn(n_classes, d, generator=generator, dtype=torch.float64)
    X = means[labels] + spread * torch.randn(len(labels), d, generator=generator, dtype=torch.float64)
    moments = ClassMoments.of(X, labels)
    assert float(gram_nc1(X @ X.T, labels)) == pytest.approx(float(nc1(moments)), rel=1e-8)
    assert float(gram_nc2(X @ X.T, labels)) == pytest.approx(float(nc2(moments)), rel=1e-7, abs=1e-12)
    within, between = oracle.class_traces(X @ X.T, labels)
    assert float(gram_nc1(X @ X.T, labels)) == pytest.approx(within / between, rel=1e-7)


def test_absent_classes_are_left_out(toy):
    X, labels, _ = toy
    assert float(gram_nc1(X @ X.T, labels * 2)) == pytest.approx(
        float(gram_nc1(X @ X.T, labels)), rel=IDENTITY
    )


def test_collapse_and_what_is_undefined():
    labels = torch.tensor([0, 0, 1, 1, 2])
    collapsed = (labels[:, None] == labels).double()
    assert float(gram_nc1(collapsed, labels)) == 0
    assert float(gram_nc2(collapsed, labels)) == pytest.approx(0, abs=1e-30)
    one_point = torch.ones(5, 5, dtype=torch.float64)
    assert "equal" in (gram_nc1(one_point, labels).undefined_because or "")
    assert "direction" in (gram_nc2(one_point, labels).undefined_because or "")
    assert "one class" in (gram_nc1(collapsed, torch.zeros(5, dtype=torch.int64)).undefined_because or "")
    assert "one class" in (gram_nc2(collapsed, torch.zeros(5, dtype=torch.int64)).undefined_because or "")
    with pytest.raises(ValueError, match="square"):
        gram_nc1(torch.ones(5, 4), labels)
    with pytest.raises(ValueError, match="rows"):
        gram_nc2(collapsed, labels[:4])
