from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agop import ClassMoments, nc2
from agop.collapse import effective_rank, equiangularity, equinorm, means_effective_rank, pairs, simplex_angle
from tests.oracles import collapse as oracle
from tests.tolerances import IDENTITY

MEASURES = [
    nc2,
    lambda m: nc2(m, "orthogonal"),
    lambda m: nc2(m, "etf", definition="frobenius"),
    lambda m: nc2(m, "orthogonal", definition="frobenius"),
    equinorm,
    equiangularity,
    simplex_angle,
]


def at_points(means):
    """Moments of classes without spread at the given means."""
    return ClassMoments.of(means, torch.arange(len(means)))


@pytest.mark.parametrize(("k", "d"), [(2, 2), (3, 3), (10, 16), (40, 64)])
def test_exact_simplex_etf(generator, k, d):
    means = 7 * oracle.simplex_etf(k, d, generator) + torch.randn(d, dtype=torch.float64, generator=generator)
    m = at_points(means)
    for value in (nc2(m), nc2(m, definition="frobenius"), equinorm(m), equiangularity(m), simplex_angle(m)):
        assert value == pytest.approx(0, abs=1e-13)
        assert value.defined
    assert nc2(m, oracle.simplex_etf_gram(k)) == pytest.approx(0, abs=1e-13)
    assert means_effective_rank(m) == pytest.approx(k - 1)
    assert means_effective_rank(m, "participation") == pytest.approx(k - 1)
    assert means_effective_rank(m).details["rank"] == k - 1


def test_orthogonal_frame(generator):
    frame, _ = torch.linalg.qr(torch.randn(12, 5, dtype=torch.float64, generator=generator))
    m = at_points(frame.T)
    assert nc2(m, "orthogonal") == pytest.approx(0, abs=1e-13)
    assert nc2(m, "orthogonal", definition="frobenius") == pytest.approx(0, abs=1e-13)
    # centred at their mean, orthonormal vectors are a simplex ETF
    assert nc2(m) == pytest.approx(0, abs=1e-13)
    assert nc2(m, "etf", centre=False) == pytest.approx(20 / 16 / 25)


def test_random_means_against_the_loops(blobs):
    x, y, _ = blobs
    m = ClassMoments.of(x, y)
    means = oracle.class_means(x, y, range(5))
    centred = means - means.mean(0)
    cosines, etf = oracle.cosines(centred), oracle.simplex_etf_gram(5)
    assert nc2(m) == pytest.approx(float((cosines - etf).square().mean()), rel=IDENTITY)
    uncentred = oracle.cosines(means) - torch.eye(5, dtype=torch.float64)
    assert nc2(m, "orthogonal") == pytest.approx(float(uncentred.square().mean()), rel=IDENTITY)
    gram = centred @ centred.T
    expected = (gram / gram.norm() - etf / etf.norm()).norm()
    assert nc2(m, definition="frobenius") == pytest.approx(float(expected), rel=IDENTITY)
    norms = centred.norm(dim=1)
    assert equinorm(m) == pytest.approx(float(norms.std(correction=0) / norms.mean()), rel=IDENTITY)
    off = cosines[~torch.eye(5, dtype=torch.bool)]
    assert equiangularity(m) == pytest.approx(float(off.std(correction=0)), rel=IDENTITY)
    assert simplex_angle(m) == pytest.approx(float((off + 1 / 4).abs().mean()), rel=IDENTITY)


def test_tiles_change_nothing(blobs, monkeypatch):
    x, y, _ = blobs
    m = ClassMoments.of(x, y)
    target = oracle.cosines(m.means) + torch.eye(5, dtype=torch.float64)
    measures = [*MEASURES, lambda m: nc2(m, target), lambda m: nc2(m, target, definition="frobenius")]
    whole = [float(measure(m)) for measure in measures]
    monkeypatch.setattr(pairs.tiles, "__defaults__", (2,))
    assert [float(measure(m)) for measure in measures] == pytest.approx(whole, rel=IDENTITY)


def test_hand_computed_two_classes():
    """Means (3, 0) and (0, 4): centred they are opposite, uncentred orthogonal."""
    m = at_points(torch.tensor([[3.0, 0.0], [0.0, 4.0]]))
    assert nc2(m) == pytest.approx(0, abs=1e-15)
    assert nc2(m, "orthogonal") == 0
    # lengths 9 and 16 on the diagonal, against the unit matrix: cos = 25 / (√337 √2)
    expected = math.sqrt(2 - 2 * 25 / math.sqrt(2 * 337))
    assert nc2(m, "orthogonal", definition="frobenius") == pytest.approx(expected)
    assert equinorm(m) == pytest.approx(0, abs=1e-15)
    tilted = at_points(torch.tensor([[1.0, 0.0], [1.0, 1.0]]))
    assert nc2(tilted, "orthogonal") == pytest.approx(0.25)  # two entries of 1/2 out of four


def test_given_target_sees_imbalanced_optima(generator):
    """A Gram matrix with unequal lengths: reached exactly by its own means, not by the ETF's."""
    wanted = torch.randn(4, 9, dtype=torch.float64, generator=generator)
    wanted = wanted - wanted.mean(0)
    target = wanted @ wanted.T
    m = at_points(5 * wanted)
    assert nc2(m, target, definition="frobenius") == pytest.approx(0, abs=1e-13)
    assert nc2(m, target) == pytest.approx(0, abs=1e-13)
    assert nc2(m, "etf", definition="frobenius") > 0.1
    without = ClassMoments.of(5 * wanted[:3], torch.arange(3), 4)
    assert nc2(without, target).details["absent_classes"] == [3]


def test_bad_targets_are_explained(blobs):
    x, y, _ = blobs
    m = ClassMoments.of(x, y)
    eye = torch.eye(5)
    with pytest.raises((ValueError, TypeError), match="target"):
        nc2(m, "simplex")
    with pytest.raises(ValueError, match=r"shape \(5, 5\)"):
        nc2(m, torch.eye(4))
    with pytest.raises(ValueError, match="symmetric"):
        nc2(m, eye + torch.triu(torch.ones(5, 5)))
    with pytest.raises(ValueError, match="positive diagonal"):
        nc2(m, eye - torch.diag(torch.tensor([1.0, 0, 0, 0, 0])))


def test_undefined_has_a_reason():
    equal = at_points(torch.full((3, 4), 0.1))
    for measure in MEASURES:
        result = measure(equal)
        assert result.undefined_because is not None or result > 0
        assert result != 0
    one_at_centre = at_points(torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 0.0]]))
    for measure in (nc2, equiangularity, simplex_angle):
        assert "class 2 lies at the global mean" in measure(one_at_centre).undefined_because
    assert "class 2 lies at the origin" in nc2(one_at_centre, "orthogonal").undefined_because
    assert equinorm(one_at_centre).defined


def test_more_classes_than_an_etf_fits(generator):
    m = at_points(torch.randn(9, 3, dtype=torch.float64, generator=generator))
    assert nc2(m).details["etf_fits"] is False
    assert nc2(m) > 0.01
    assert means_effective_rank(m).details["rank"] == 3


def test_effective_rank(blobs):
    x, y, _ = blobs
    m = ClassMoments.of(x, y, scatter="full")
    assert effective_rank(m) == pytest.approx(oracle.entropy_rank(x), rel=1e-9)
    assert effective_rank(m).details["rank"] == 12
    values = torch.linalg.svdvals(x - x.mean(0)).square()
    expected = float(values.sum().square() / values.square().sum())
    assert effective_rank(m, "participation") == pytest.approx(expected, rel=1e-9)
    assert 'scatter="full"' in effective_rank(ClassMoments.of(x, y)).undefined_because
    flat = ClassMoments.of(torch.full((4, 3), 0.1), torch.tensor([0, 0, 1, 1]), scatter="full")
    assert math.isnan(effective_rank(flat))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**20), k=st.integers(2, 7), scale=st.sampled_from([1e-4, 3.0, 1e5]))
def test_rotation_scale_and_relabelling(seed, k, scale):
    g = torch.Generator().manual_seed(seed)
    means = torch.randn(k, 5, dtype=torch.float64, generator=g)
    rotation, _ = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64, generator=g))
    a, b = at_points(means), at_points((means @ rotation * scale)[torch.randperm(k, generator=g)])
    for measure in MEASURES:
        assert measure(b) == pytest.approx(measure(a), rel=1e-8, abs=1e-12)
