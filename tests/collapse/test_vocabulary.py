"""More classes than dimensions, and unequal counts: GNC2, UNC3, NC4 by class, the exponent of the CDNV, no (C, C) matrix."""

from __future__ import annotations

import math
import threading

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import agop
from agop import (
    PROBES,
    CentreAgreement,
    ClassMoments,
    Evidence,
    duality_cosines,
    gnc2,
    nc1,
    nc3,
    nc4,
    unc3,
    weight_norm_spread,
)
from agop.collapse import cdnv, pairs
from agop.collapse.classifier import agreements
from agop.collapse.streaming import StreamingMoments
from agop.profiles import network_layers
from tests.oracles import collapse as slow
from tests.tolerances import IDENTITY, MERGE

KERNELS = {"log": lambda r: -math.log(r), "distance": lambda r: r, "riesz": lambda r: 1 / r}


def blobs(n=300, d=4, classes=7, seed=0):
    g = torch.Generator().manual_seed(seed)
    y = torch.cat([torch.arange(classes), torch.randint(classes, (n - classes,), generator=g)])
    return torch.randn(classes, d, generator=g, dtype=torch.float64)[y] * 3 + torch.randn(
        n, d, generator=g, dtype=torch.float64
    ), y


X, Y = blobs()
M = ClassMoments.of(X, Y)
W = torch.randn(7, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("tile", [3, 2048])
def test_gnc2_is_that_of_a_loop(kernel, tile, monkeypatch):
    monkeypatch.setattr(pairs.tiles, "__defaults__", (tile,))
    values = slow.pair_kernels(slow.class_means(X, Y, Y.unique()), KERNELS[kernel])
    variation, mean = gnc2(M, kernel), gnc2(M, kernel, statistic="mean")
    assert float(variation) == pytest.approx(
        float(values.std(correction=0) / values.mean().abs()), rel=IDENTITY
    )
    assert float(mean) == pytest.approx(float(values.mean()), rel=IDENTITY)
    nearest = slow.pair_kernels(slow.class_means(X, Y, Y.unique()), lambda r: r).min()
    assert variation.details["closest"] == pytest.approx(float(nearest), rel=IDENTITY)


@pytest.mark.parametrize("s", [2.0, -1.0, 5.0])
def test_the_riesz_kernel_has_an_exponent(s):
    sign = 1 if s > 0 else -1
    values = slow.pair_kernels(slow.class_means(X, Y, Y.unique()), lambda r: sign * r**-s)
    assert float(gnc2(M, "riesz", statistic="mean", s=s)) == pytest.approx(float(values.mean()), rel=IDENTITY)


def test_closed_forms_of_gnc2():
    simplex = ClassMoments.of(slow.simplex_etf(6, 8, torch.Generator().manual_seed(0)), torch.arange(6))
    assert float(gnc2(simplex)) < 1e-14
    assert float(gnc2(simplex, statistic="mean")) == pytest.approx(-0.5 * math.log(12 / 5), rel=IDENTITY)
    # a cross of four points in the plane: four pairs at √2, two at 2
    cross = ClassMoments.of(
        torch.tensor([[1.0, 0], [-1, 0], [0, 1], [0, -1]], dtype=torch.float64), torch.arange(4)
    )
    logs = torch.tensor([math.sqrt(2)] * 4 + [2.0] * 2, dtype=torch.float64).log()
    assert float(gnc2(cross)) == pytest.approx(float(logs.std(correction=0) / logs.mean()), rel=IDENTITY)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.floats(0.01, 100))
def test_uniformity_does_not_see_rotation_scale_and_shift(seed, scale):
    x, y = blobs(60, 3, 5, seed)
    turn = torch.linalg.qr(
        torch.randn(3, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    )[0]
    m, moved = ClassMoments.of(x, y), ClassMoments.of(scale * x @ turn + 5, y)
    for kernel in KERNELS:
        assert float(gnc2(moved, kernel)) == pytest.approx(float(gnc2(m, kernel)), rel=1e-8)


def test_undefined_uniformity_says_why():
    same = ClassMoments.of(torch.tensor([[1.0, 0], [2, 0], [-3, 0]]), torch.arange(3))
    assert "classes 0 and 1 have one direction" in gnc2(same).undefined_because
    assert gnc2(same, "distance").defined
    middle = ClassMoments.of(torch.tensor([[1.0, 0], [0, 0], [-1, 0]]), torch.arange(3))
    assert "the mean of class 1 lies at the global mean" in gnc2(middle).undefined_because
    assert "1 of 3 classes" in gnc2(ClassMoments.of(X[:1], Y[:1], 3)).undefined_because
    with pytest.raises(ValueError, match="s: expected an exponent that is not 0"):
        gnc2(M, "riesz", s=0)


def test_duality_is_that_of_a_loop():
    means = slow.class_means(X, Y, Y.unique())
    centred = means - means.mean(0)
    cosines = torch.stack([w @ mu / (w.norm() * mu.norm()) for w, mu in zip(W, centred)])
    assert torch.allclose(duality_cosines(M, W), cosines, rtol=IDENTITY)
    value = unc3(M, W)
    assert float(value) == pytest.approx(float(cosines.std(correction=0)), rel=IDENTITY)
    assert 1 - value.details["mean"] == pytest.approx(float(nc3(M, W, "cosine")), rel=IDENTITY)
    lengths = W.norm(dim=1)
    assert float(weight_norm_spread(M, W)) == pytest.approx(
        float(lengths.std(correction=0) / lengths.mean()), rel=IDENTITY
    )


def test_closed_forms_of_duality():
    centred = M.centred_means()
    lengths = torch.arange(1, 8, dtype=torch.float64)[:, None]
    value = unc3(M, centred * lengths)
    assert float(value) < 1e-12
    assert value.details["mean"] == pytest.approx(1)
    assert float(weight_norm_spread(M, torch.nn.functional.normalize(W))) < 1e-12
    # rows that are 1 and −1 times the means: cosines ±1, four against three
    signs = torch.tensor([1.0, 1, 1, 1, -1, -1, -1], dtype=torch.float64)[:, None]
    assert float(unc3(M, signs * centred)) == pytest.approx(math.sqrt(1 - 1 / 49), rel=IDENTITY)
    assert "class 2 has a zero weight row" in unc3(M, W * (torch.arange(7) != 2)[:, None]).undefined_because
    wide = M.with_classes(9)
    assert duality_cosines(wide, torch.cat([W, W[:2]])).isnan().tolist() == [False] * 7 + [True] * 2
    assert not weight_norm_spread(M, 0 * W).defined


def test_agreement_by_class():
    decided = (X @ W.T).argmax(1)
    agree, counts = slow.agreement_by_class(X, decided, Y, slow.class_means(X, Y, Y.unique()))
    whole = CentreAgreement.of(M, X, decided, Y)
    assert whole.agree.tolist() == [agree[c] for c in range(7)]
    assert whole.counts.tolist() == [counts[c] for c in range(7)]
    parts = [
        CentreAgreement.of(M, X[i : i + 77], decided[i : i + 77], Y[i : i + 77]) for i in range(0, 300, 77)
    ]
    summed = sum(parts[1:], parts[0])
    assert torch.equal(summed.agree, whole.agree)
    assert float(summed.measurement()) == float(nc4(X, X @ W.T, M))
    shares = [agree[c] / counts[c] for c in range(7)]
    assert float(summed.measurement("class")) == pytest.approx(sum(shares) / 7, rel=IDENTITY)
    assert summed.per_class.tolist() == pytest.approx(shares)
    assert float(whole.all_reduce().measurement()) == float(whole.measurement())
    e = Evidence.of(moments=M, rows=X, labels=Y, decisions=decided, weight=W)
    assert float(PROBES["nc4_balanced"](e)) == pytest.approx(sum(shares) / 7, rel=IDENTITY)
    with pytest.raises(ValueError, match="other: expected counts about the same moments"):
        whole + CentreAgreement.of(ClassMoments.of(X, Y), X, decided, Y)


def test_nearest_centres_in_tiles_are_those_in_one_piece(monkeypatch):
    decided = (X @ W.T).argmax(1)
    expected = agreements(X, decided, M)
    import agop.collapse.classifier as room

    monkeypatch.setattr(room, "rows_per_block", lambda n, row, budget=0: 2)
    assert torch.equal(agreements(X, decided, M), expected)


@pytest.mark.parametrize("exponent", [1.0, 2.0, 3.5])
def test_the_exponent_of_the_cdnv(exponent):
    means = slow.class_means(X, Y, Y.unique())
    halves = slow.cdnv_matrix(X, Y)
    total, count = 0.0, 0
    for a in range(7):
        for b in range(a):
            r = float((means[a] - means[b]).norm())
            total, count = total + float(halves[a, b]) * r ** (2 - exponent), count + 1
    assert float(cdnv(M, exponent=exponent)) == pytest.approx(total / count, rel=IDENTITY)
    assert float(PROBES["cdnv"].with_(exponent=exponent)(Evidence.of(moments=M))) == float(
        cdnv(M, exponent=exponent)
    )


def test_classes_by_count():
    counts = Y.bincount()
    some = M.with_counts(at_least=40, at_most=45)
    kept = (counts >= 40) & (counts <= 45)
    assert 1 < int(kept.sum()) < 7
    expected = ClassMoments.of(X[kept[Y]], Y[kept[Y]], 7)
    assert torch.equal(some.counts, expected.counts)
    assert float(agop.nc1(some)) == pytest.approx(float(agop.nc1(expected)), rel=MERGE)
    with pytest.raises(ValueError, match="ones without the scatter of all classes"):
        ClassMoments.of(X, Y, scatter="full").with_counts(40)


@pytest.mark.parametrize("target", ["etf", "orthogonal"])
def test_products_over_classes_in_tiles(target):
    expected = float(agop.frame_distance(W @ M.centred_means().T, target))
    for tile in (2, 3, 7):
        assert pairs.product_distance(W, M.centred_means(), target, tile) == pytest.approx(
            expected, rel=IDENTITY
        )
    assert pairs.product_distance(0 * W, W, target) is None
    simplex = slow.simplex_etf(6, 8, torch.Generator().manual_seed(0))
    assert pairs.product_distance(simplex, 3 * simplex, "etf", 4) < 1e-14


def test_a_vocabulary_that_grows_batch_by_batch():
    g = torch.Generator().manual_seed(2)
    x, y = (
        torch.randn(6000, 3, generator=g, dtype=torch.float64) + 7,
        torch.randint(2500, (6000,), generator=g),
    )
    order = y.unique()
    index, seen, stream = {}, 0, StreamingMoments()
    for rows, labels in zip(x.split(500), y.split(500)):
        local = torch.tensor([index.setdefault(int(label), len(index)) for label in labels])
        seen = len(index)
        stream.add(rows, local, seen)
    found = stream.result(torch.tensor([index[int(label)] for label in order]))
    expected = ClassMoments.of(x, torch.searchsorted(order, y))
    assert torch.equal(found.counts, expected.counts)
    assert torch.allclose(found.means, expected.means, rtol=MERGE)
    assert torch.allclose(found.within, expected.within, rtol=1e-9, atol=1e-10)
    assert stream.result().n_classes == seen


def grown(call):
    """What a call gives, and by how many bytes the process grew, at most, as seen a hundred times a second."""
    tracked = pytest.importorskip("psutil").Process()
    before, sizes, over = tracked.memory_info().rss, [0], threading.Event()

    def watch():
        while not over.wait(0.01):
            sizes.append(tracked.memory_info().rss - before)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        return call(), max(sizes)
    finally:
        over.set()
        thread.join()


def test_a_hundred_thousand_classes_are_streamed_without_a_square_of_them():
    C, d, n = 100_000, 48, 150_000
    g = torch.Generator().manual_seed(3)
    weight = torch.randn(C, d, generator=g)

    def measured():
        stream = StreamingMoments()
        for _ in range(15):
            y = torch.randint(C, (n // 15,), generator=g)
            stream.add(weight[y] + 0.5 * torch.randn(len(y), d, generator=g), y, C)
        m = stream.result()
        return float(nc1(m)), float(unc3(m, weight)), duality_cosines(m, weight)

    (collapse, spread, cosines), size = grown(measured)
    # within-class variance is a quarter of that between classes, less what is in the means of one or two samples
    assert 0.02 < collapse < 0.25
    assert 0 < spread < 0.5
    assert int(cosines.isfinite().sum()) > C / 2
    assert size < C * d * d * 8 / 2 < C * C


def test_a_language_model_of_a_hundred_thousand_words_in_a_profile():
    C = 100_000

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(C, 8)
            self.head = nn.Linear(8, C, bias=False)

        def forward(self, x):
            return self.head(torch.tanh(self.embedding(x)))

    text = torch.randint(C, (16, 9), generator=torch.Generator().manual_seed(0))
    source = agop.Network(Model(), stages=["input"])
    p, size = grown(
        lambda: agop.profile(source, text[:, :-1], text[:, 1:], measures=["nc1", "unc3"], batch_size=4)
    )
    assert p.layers["name"].tolist() == ["head"]
    assert p.table.loc[p.table["stage"] == "input", ["nc1", "unc3"]].notna().all(axis=None)
    assert size < C * C / 10


def test_a_few_words_of_many_need_no_square_of_all_of_them(monkeypatch):
    shapes = []
    own = network_layers._onto_outputs
    monkeypatch.setattr(
        network_layers, "_onto_outputs", lambda *args: shapes.append(own(*args).shape) or own(*args)
    )
    model = nn.Sequential(nn.Linear(4, 5000, bias=False))
    weight = model[0].weight.detach()
    agop.profile(model, torch.randn(20, 4), torch.arange(20) % 3, measures=["nc3"])
    assert shapes == [(3, 5000)]
    whole = weight @ torch.linalg.pinv(weight)
    assert torch.allclose(own(weight, torch.tensor([7, 2])), whole[[7, 2]], atol=1e-5)


@pytest.mark.slow
def test_ten_thousand_classes_need_no_square_of_them():
    tracked = pytest.importorskip("psutil").Process()
    g = torch.Generator().manual_seed(3)
    C = 20_000
    x, y = torch.randn(40_000, 16, generator=g), torch.randint(C, (40_000,), generator=g)
    weight = torch.randn(C, 16, generator=g)
    before = tracked.memory_info().rss
    m = ClassMoments.of(x, y, C)
    for value in (
        gnc2(m),
        unc3(m, weight),
        nc3(m, weight, "product"),
        PROBES["nc2_frame"](Evidence.of(moments=m, weight=weight)),
    ):
        assert value.defined
    assert tracked.memory_info().rss - before < C * C * 8 / 4


def test_the_public_package_agrees():
    theirs = pytest.importorskip("neural_collapse.kernels")
    means = slow.class_means(X, Y, Y.unique())
    for kernel, function in (("log", theirs.log_kernel), ("distance", theirs.dist_kernel)):
        mean, _ = theirs.kernel_stats(means, means.mean(0), function)
        assert float(gnc2(M, kernel, statistic="mean")) == pytest.approx(mean, rel=1e-6)
