from __future__ import annotations

import itertools
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agop import ClassMoments, collapse_report, nc1
from agop.collapse import _accumulate
from agop.collapse.moments import check_labels
from agop.probes import DEFAULTS
from tests.oracles import collapse as oracle
from tests.tolerances import IDENTITY, MERGE, relative_error


def deep_collapse(generator, shift=0.0, n=4000, d=64):
    """Float32 features with means ~ N(50, 10²) and a spread of 1e-6 before rounding."""
    means = 50 + 10 * torch.randn(10, d, dtype=torch.float64, generator=generator)
    labels = torch.randint(0, 10, (n,), generator=generator)
    noise = 1e-6 * torch.randn(n, d, dtype=torch.float64, generator=generator)
    return (means[labels] + noise).float() + shift, labels


def assert_same(a, b, tolerance):
    assert torch.equal(a.counts, b.counts)
    assert relative_error(a.means, b.means) <= tolerance
    assert torch.allclose(a.within, b.within, rtol=tolerance, atol=0)
    if a.scatter is not None:
        assert relative_error(a.scatter, b.scatter) <= tolerance


def test_fields_are_the_definition(blobs):
    x, y, _ = blobs
    m = ClassMoments.of(x, y, scatter="full")
    within, _, _ = oracle.scatter_matrices(x, y)
    assert torch.equal(m.counts, torch.bincount(y).double())
    assert relative_error(m.means, oracle.class_means(x, y, range(5))) < IDENTITY
    assert relative_error(m.scatter / len(y), within) < IDENTITY
    for c in range(5):
        expected = (x[y == c] - x[y == c].mean(0)).square().sum()
        assert float(m.within[c]) == pytest.approx(float(expected), rel=IDENTITY)


@pytest.mark.parametrize("shift", [0.0, 1e4])
def test_deep_collapse_in_float32(generator, shift):
    x, y = deep_collapse(generator, shift, n=20_000, d=512)
    value, expected = float(nc1(ClassMoments.of(x, y))), oracle.nc1_trace(x, y)
    if shift == 0:
        assert 2e-14 < expected < 3e-14
    assert value == pytest.approx(expected, rel=1e-9)


def test_batches_agree_at_deep_collapse(generator):
    x, y = deep_collapse(generator)
    whole = ClassMoments.of(x, y)
    for size in (1, 7, 1000):
        if size == 1:
            part = x[:300], y[:300]
            whole_part = ClassMoments.of(*part, 10)
        else:
            part, whole_part = (x, y), whole
        merged = ClassMoments.empty(10, 64)
        for rows in torch.arange(len(part[1])).split(size):
            merged = merged + ClassMoments.of(part[0][rows], part[1][rows], 10)
        assert_same(merged, whole_part, MERGE)


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(1, 60),
    classes=st.integers(1, 6),
    cuts=st.lists(st.integers(0, 60), max_size=4),
    log_offset=st.integers(-2, 6),
    dtype=st.sampled_from([torch.float64, torch.float32, torch.float16, torch.bfloat16]),
    seed=st.integers(0, 2**20),
)
def test_any_split_and_order_give_the_same(n, classes, cuts, log_offset, dtype, seed):
    g = torch.Generator().manual_seed(seed)
    offset = 0.0 if log_offset < 0 else 10.0 ** min(log_offset, 4 if dtype is torch.float16 else 6)
    x = (torch.randn(n, 4, generator=g) + offset * torch.randn(4, generator=g).clamp(-3, 3)).to(dtype)
    y = torch.randint(0, classes, (n,), generator=g)
    whole = ClassMoments.of(x, y, classes, scatter="full")
    assert whole.means.dtype == torch.float64
    order = torch.randperm(n, generator=g)
    bounds = [0, *sorted(min(c, n) for c in cuts), n]
    parts = [order[a:b] for a, b in itertools.pairwise(bounds)]
    moments = [ClassMoments.of(x[p], y[p], classes, scatter="full") for p in parts]
    left = sum(moments[1:], moments[0])
    right = moments[-1]
    for m in reversed(moments[:-1]):
        right = m + right
    for merged in (left, right):
        assert torch.equal(merged.counts, whole.counts)
        assert torch.allclose(merged.means, whole.means, rtol=MERGE, atol=0)
        scale = float(whole.within.max())
        assert torch.allclose(merged.within, whole.within, rtol=MERGE, atol=MERGE * scale)
        assert torch.allclose(merged.scatter, whole.scatter, rtol=MERGE, atol=MERGE * scale)


def test_blocks_segments_and_the_many_class_route_agree(blobs, monkeypatch):
    x, y, _ = blobs
    whole = ClassMoments.of(x, y, scatter="full")
    monkeypatch.setattr(_accumulate, "SEGMENT_ROWS", 37)  # 37 // 16 < 5 classes: the route for many classes
    monkeypatch.setattr(_accumulate, "CPU_BLOCK_BYTES", 5 * 16 * 12)
    assert_same(ClassMoments.of(x, y, scatter="full"), whole, MERGE)
    monkeypatch.setattr(_accumulate, "SEGMENT_ROWS", 90)
    assert_same(ClassMoments.of(x, y, scatter="full"), whole, MERGE)


def test_an_outlier_as_first_sample_costs_no_digits(generator):
    x = torch.randn(5000, 3, dtype=torch.float64, generator=generator)
    x[0] = 1e6
    y = torch.zeros(5000, dtype=torch.int64)
    expected = (x - x.mean(0)).square().sum()
    assert float(ClassMoments.of(x, y).within[0]) == pytest.approx(float(expected), rel=1e-12)
    rest = ClassMoments.of(x[1:], y[1:]).within[0]
    assert float(rest) == pytest.approx(float((x[1:] - x[1:].mean(0)).square().sum()), rel=1e-12)


def test_a_shift_changes_nothing(blobs):
    x, y, _ = blobs
    x = (x * 1024).round() / 1024  # so that adding 2^20 rounds nothing
    a, b = ClassMoments.of(x, y), ClassMoments.of(x + 2.0**20, y)
    assert torch.allclose(a.within, b.within, rtol=MERGE, atol=0)
    assert a.trace_between() == pytest.approx(b.trace_between(), rel=MERGE)


def test_total_variance_decomposes(blobs):
    x, y, _ = blobs
    m = ClassMoments.of(x, y)
    total = float((x - x.mean(0)).square().sum(1).mean())
    assert m.trace_within() + m.trace_between("sample") == pytest.approx(total, rel=IDENTITY)
    assert relative_error(m.global_mean("sample"), x.mean(0)) < IDENTITY
    assert relative_error(m.global_mean("class"), m.means.mean(0)) < IDENTITY


def test_absent_and_single_sample_classes():
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 8.0]])
    m = ClassMoments.of(x, torch.tensor([1, 3, 3]), 6)
    assert m.present.tolist() == [1, 3]
    assert m.absent.tolist() == [0, 2, 4, 5]
    assert m.n == 3
    assert m.within.tolist() == pytest.approx([0, 0, 0, 10, 0, 0])
    assert not m.means[m.absent].any()
    wider = m.with_classes(8)
    assert wider.n_classes == 8
    assert wider.absent.tolist() == [0, 2, 4, 5, 6, 7]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_inputs_stay_as_they_are(blobs, dtype):
    x, y, weight = blobs
    x, weight = x.to(dtype).requires_grad_(), weight.to(dtype).requires_grad_()
    before, weight_before = x.detach().clone(), weight.detach().clone()
    report = collapse_report(x, y.to(torch.uint8), weight=weight, bias=weight[:, 0], ood=x, scatter="full")
    assert len(report.measurements) == len(DEFAULTS["features"])
    assert torch.equal(x.detach(), before)
    assert torch.equal(weight.detach(), weight_before)
    m = report.moments
    assert not m.means.requires_grad
    copy = pickle.loads(pickle.dumps(m))
    assert torch.equal(copy.means, m.means)


def test_empty_is_the_neutral_element(blobs):
    x, y, _ = blobs
    m = ClassMoments.of(x, y, scatter="full")
    empty = ClassMoments.empty(5, 12, scatter="full")
    for merged in (empty + m, m + empty):
        assert torch.equal(merged.means, m.means)
        assert torch.equal(merged.within, m.within)
    none = ClassMoments.of(x[:0], y[:0], 5)
    assert none.n == 0
    assert none.global_mean().tolist() == [0] * 12


@pytest.mark.parametrize(
    ("labels", "error", "says"),
    [
        (torch.tensor([0.0, 1.0]), TypeError, "labels: expected integer labels"),
        (torch.tensor([True, False]), TypeError, "labels: expected integer labels"),
        (torch.tensor([[0, 1]]), ValueError, "argmax"),
        (torch.tensor([0, -100]), ValueError, "from -100 to 0"),
        (torch.tensor([0, 7]), ValueError, r"0\.\.4"),
    ],
)
def test_bad_labels_are_explained(labels, error, says):
    with pytest.raises(error, match=says):
        check_labels(labels, 5)


def test_other_bad_input_is_explained(blobs):
    x, y, _ = blobs
    m = ClassMoments.of(x, y)
    x = x.clone()
    x[3, 4] = torch.nan
    with pytest.raises(ValueError, match="features: expected finite values, got 1 NaN"):
        ClassMoments.of(x, y)
    with pytest.raises(ValueError, match="n_classes"):
        ClassMoments.of(x[:0], y[:0])
    with pytest.raises(ValueError, match="same n_classes"):
        m + ClassMoments.empty(6, 12)
    with pytest.raises(ValueError, match="scatter"):
        m + ClassMoments.empty(5, 12, scatter="full")
    with pytest.raises(TypeError):
        m + 1


def test_sums_about_zero_are_given_up_where_they_would_cancel(generator):
    """The first rows spread widely about zero; a class that comes later sits far away, with a tiny spread."""
    x = torch.randn(4000, 3, dtype=torch.float64, generator=generator)
    y = torch.arange(4000) // 2000
    x[2000:] = 1e7 + 1e-3 * x[2000:]
    m = ClassMoments.of(x, y)
    for c in range(2):
        rows = x[y == c]
        mean = rows[:1] + (rows - rows[:1]).mean(0)
        expected = float((rows - mean).square().sum())
        assert float(m.within[c]) == pytest.approx(expected, rel=1e-9)
