from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agop import ClassMoments, SpanScatter, nc1
from agop.collapse import cdnv, cdnv_pairs, pairs, trace_between_share, trace_within_share
from tests.oracles import collapse as oracle
from tests.tolerances import IDENTITY, MERGE


@pytest.mark.parametrize("weighting", ["class", "sample"])
def test_trace_definitions(blobs, weighting):
    x, y, _ = blobs
    m = ClassMoments.of(x, y)
    within, between, k = oracle.scatter_matrices(x, y, weighting)
    expected = float(torch.trace(within) / torch.trace(between))
    assert nc1(m, weighting=weighting) == pytest.approx(expected, rel=IDENTITY)
    assert nc1(m, "trace-released", weighting=weighting) == pytest.approx(expected / k, rel=IDENTITY)


@pytest.mark.parametrize("weighting", ["class", "sample"])
@pytest.mark.parametrize(("classes", "d"), [(5, 12), (5, 3), (2, 4), (9, 9)])
def test_pseudo_inverse_by_second_pass_and_by_scatter(generator, weighting, classes, d):
    y = torch.cat([torch.arange(classes), torch.randint(0, classes, (300,), generator=generator)])
    x = torch.randn(classes, d, generator=generator, dtype=torch.float64)[y]
    x = x + torch.randn(len(y), d, generator=generator, dtype=torch.float64) / 3
    expected = oracle.nc1_pinv(x, y, weighting)
    m = ClassMoments.of(x, y)
    span = SpanScatter.of(m, x[:100], y[:100], weighting=weighting)
    span = span + SpanScatter.of(m, x[100:], y[100:], weighting=weighting)
    result = nc1(m, "pinv", span=span, weighting=weighting)
    assert result == pytest.approx(expected, rel=1e-9)
    assert result.details["rank"] == min(classes - 1, d)
    full = ClassMoments.of(x, y, scatter="full")
    assert nc1(full, "pinv", weighting=weighting) == pytest.approx(expected, rel=1e-9)


def test_pseudo_inverse_of_deficient_means(generator):
    """Three of four class means on a line: Σ_B has rank 2, not 3."""
    means = torch.tensor([[0.0, 0, 0, 0], [1, 0, 0, 0], [2, 0, 0, 0], [0, 5, 0, 0]], dtype=torch.float64)
    y = torch.arange(4).repeat(50)
    x = means[y] + torch.randn(200, 4, dtype=torch.float64, generator=generator) / 10
    x = x - oracle.class_means(x, y, range(4))[y] + means[y]
    result = nc1(ClassMoments.of(x, y, scatter="full"), "pinv")
    assert result.details["rank"] == 2
    assert result == pytest.approx(oracle.nc1_pinv(x, y), rel=1e-8)


def test_pseudo_inverse_says_what_it_needs(blobs):
    x, y, _ = blobs
    m = ClassMoments.of(x, y)
    with pytest.raises(ValueError, match=r"SpanScatter\.of\(m, features, labels\)"):
        nc1(m, "pinv")
    with pytest.raises(ValueError, match="all 500 samples"):
        nc1(m, "pinv", span=SpanScatter.of(m, x[:10], y[:10]))
    other = SpanScatter.of(ClassMoments.of(x, y), x, y)
    with pytest.raises(ValueError, match="about these moments"):
        nc1(m, "pinv", span=other)
    with pytest.raises(ValueError, match="same moments"):
        other + SpanScatter.of(m, x, y)


def test_cdnv_mean_pairs_and_largest(blobs):
    x, y, _ = blobs
    m = ClassMoments.of(x, y)
    expected = oracle.cdnv_matrix(x, y)
    result = nc1(m, "cdnv")
    assert result == pytest.approx(float(expected.nanmean()), rel=IDENTITY)
    assert torch.allclose(cdnv_pairs(m), expected, rtol=IDENTITY, equal_nan=True)
    a, b = result.details["largest_pair"]
    assert result.details["largest"] == pytest.approx(float(expected.nan_to_num(0).max()), rel=IDENTITY)
    assert float(expected[a, b]) == pytest.approx(result.details["largest"], rel=IDENTITY)


def test_cdnv_in_tiles_and_for_close_means(generator, monkeypatch):
    """Two means 1e-9 apart among far ones: the Gram formula alone would lose their distance."""
    means = torch.randn(7, 6, dtype=torch.float64, generator=generator)
    means[4] = means[2]
    means[4, 0] += 1e-9
    y = torch.arange(7).repeat(6)
    x = means[y] + 1e-11 * torch.randn(42, 6, dtype=torch.float64, generator=generator)
    m = ClassMoments.of(x, y)
    expected = oracle.cdnv_matrix(x, y)
    assert torch.allclose(cdnv_pairs(m), expected, rtol=1e-6, equal_nan=True)
    whole = cdnv(m)
    monkeypatch.setattr(pairs, "TILE", 3)
    monkeypatch.setattr(pairs.tiles, "__defaults__", (3,))
    tiled = cdnv(m)
    assert whole == pytest.approx(float(expected.nanmean()), rel=1e-6)
    assert tiled == pytest.approx(whole, rel=IDENTITY)
    assert tiled.details["largest_pair"] == whole.details["largest_pair"] == (2, 4)


def test_hand_computed_two_classes():
    """Means (±3, 0), deviations (0, ±1): V = 1, tr Σ_W = 1, tr Σ_B = 9, squared distance 36."""
    x = torch.tensor([[3.0, 1], [3, -1], [-3, 1], [-3, -1]])
    y = torch.tensor([0, 0, 1, 1])
    m = ClassMoments.of(x, y, scatter="full")
    assert nc1(m) == pytest.approx(1 / 9)
    assert nc1(m, "trace-released") == pytest.approx(1 / 18)
    assert nc1(m, "pinv") == pytest.approx(
        0, abs=1e-15
    )  # the noise is orthogonal to the difference of the means
    assert nc1(m, "cdnv") == pytest.approx(1 / 36)
    assert trace_within_share(m) == pytest.approx(0.1)
    assert trace_between_share(m) == pytest.approx(0.9)
    turned = ClassMoments.of(torch.stack([x[:, 0] + x[:, 1], x[:, 1]], 1), y, scatter="full")
    # shear: means (±3, 0), deviations ±(1, 1): along (1, 0) the variance is 1, over 9, over C
    assert nc1(turned, "pinv") == pytest.approx(1 / 18)


def test_no_spread_within_is_collapse():
    y = torch.arange(3).repeat(4)
    m = ClassMoments.of(torch.eye(3)[y], y)
    assert nc1(m) == 0
    assert nc1(m).defined
    assert nc1(m, "cdnv") == 0
    assert trace_between_share(m) == 1


def test_undefined_has_a_reason_and_no_number(generator):
    y = torch.arange(3).repeat(4)
    noise = torch.randn(4, 5, generator=generator)
    same_means = ClassMoments.of(noise.repeat_interleave(3, 0) + 0.1, y)
    one_class = ClassMoments.of(noise, torch.zeros(4, dtype=torch.int64), 3)
    nothing = ClassMoments.empty(3, 5)
    for definition in ("trace", "trace-released", "cdnv"):
        for m, says in ((same_means, "equal"), (one_class, "1 of 3 classes"), (nothing, "0 of 3 classes")):
            result = nc1(m, definition)
            assert math.isnan(result)
            assert says in result.undefined_because
            assert "undefined" in repr(result)
    two_equal = ClassMoments.of(torch.eye(3)[torch.tensor([0, 0, 1, 1])], torch.tensor([0, 1, 2, 2]))
    assert "one pair of classes" in nc1(two_equal, "cdnv").undefined_because
    assert nc1(two_equal).defined
    assert math.isnan(trace_within_share(ClassMoments.of(torch.ones(4, 2), torch.tensor([0, 0, 1, 1]))))
    assert trace_within_share(same_means) == pytest.approx(1)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**20),
    classes=st.integers(2, 6),
    scale=st.sampled_from([1e-3, 1.0, 64.0]),
)
def test_rotation_scale_and_relabelling(seed, classes, scale):
    g = torch.Generator().manual_seed(seed)
    y = torch.cat([torch.arange(classes), torch.randint(0, classes, (40,), generator=g)])
    x = torch.randn(classes, 5, generator=g, dtype=torch.float64)[y] * 3
    x = x + torch.randn(len(y), 5, generator=g, dtype=torch.float64)
    rotation, _ = torch.linalg.qr(torch.randn(5, 5, generator=g, dtype=torch.float64))
    names = torch.randperm(classes, generator=g)
    a = ClassMoments.of(x, y, scatter="full")
    b = ClassMoments.of(x @ rotation * scale, names[y], scatter="full")
    for definition in ("trace", "cdnv", "pinv"):
        assert nc1(b, definition) == pytest.approx(nc1(a, definition), rel=1e-8)


def test_pinv_survives_any_batching(generator):
    y = torch.arange(4).repeat(25)
    x = torch.randn(4, 8, generator=generator)[y] + torch.randn(100, 8, generator=generator)
    m = ClassMoments.of(x, y)
    whole = SpanScatter.of(m, x, y)
    parts = [
        SpanScatter.of(m, x[rows], y[rows]) for rows in torch.randperm(100, generator=generator).split(7)
    ]
    assert sum(parts[1:], parts[0]).total == pytest.approx(whole.total, rel=MERGE)
