from __future__ import annotations

import math

import pytest
import torch

from agop import ClassMoments, nc3, nc4, nc5
from agop.collapse.classifier import decisions, nearest_centre_agreement
from tests.oracles import collapse as oracle
from tests.tolerances import IDENTITY


def test_self_dual_classifier(generator):
    means = 3 * oracle.simplex_etf(5, 8, generator)
    m = ClassMoments.of(means + 2.0, torch.arange(5))
    for definition in ("frobenius", "cosine", "product"):
        assert nc3(m, 0.1 * means, definition) == pytest.approx(0, abs=1e-12)
    assert nc3(m, -means) == pytest.approx(4)
    assert nc3(m, -means, "cosine") == pytest.approx(2)
    assert nc3(m, means + 1.0) > 0.1
    assert nc3(m, means + 1.0, centre_weight=True) == pytest.approx(0, abs=1e-12)


def test_nc3_against_the_formulas(blobs, generator):
    x, y, _ = blobs
    m = ClassMoments.of(x, y)
    weight = torch.randn(5, 12, generator=generator)
    means = oracle.class_means(x, y, range(5))
    centred, w = means - means.mean(0), weight.double()
    expected = (w / w.norm() - centred / centred.norm()).square().sum()
    assert nc3(m, weight) == pytest.approx(float(expected), rel=IDENTITY)
    expected = 1 - torch.stack([a @ b / a.norm() / b.norm() for a, b in zip(w, centred)]).mean()
    assert nc3(m, weight, "cosine") == pytest.approx(float(expected), rel=IDENTITY)
    product = w @ centred.T
    wanted = (torch.eye(5, dtype=torch.float64) - 1 / 5) / 2
    assert nc3(m, weight, "product") == pytest.approx(
        float((product / product.norm() - wanted).norm()), rel=IDENTITY
    )


def test_nc3_leaves_absent_classes_out(generator):
    means = oracle.simplex_etf(4, 6, generator)
    m = ClassMoments.of(means, torch.tensor([0, 1, 3, 4]), 5)
    weight = torch.zeros(5, 6, dtype=torch.float64)
    weight[[0, 1, 3, 4]] = means
    weight[2] = 100
    assert nc3(m, weight) == pytest.approx(0, abs=1e-12)
    assert nc3(m, weight).details["absent_classes"] == [2]
    with pytest.raises(ValueError, match=r"weight: expected shape \(5, 6\)"):
        nc3(m, weight[:4])
    assert "zero" in nc3(m, 0 * weight).undefined_because
    weight[1] = 0
    assert "1 classes have a zero weight row" in nc3(m, weight, "cosine").undefined_because


def test_nearest_centre_agreement(blobs, generator):
    x, y, _ = blobs
    m = ClassMoments.of(x, y)
    nearest = oracle.nearest_centre(x, oracle.class_means(x, y, range(5)))
    logits = torch.randn(500, 5, generator=generator)
    expected = float((logits.argmax(1) == nearest).double().mean())
    result = nc4(x, logits, m)
    assert result == pytest.approx(expected)
    assert result.details["agree"] == round(expected * 500)
    assert nc4(x, torch.nn.functional.one_hot(nearest, 5).double(), m) == 1
    whole = nearest_centre_agreement(x, logits.argmax(1), m)
    parts = sum(nearest_centre_agreement(a, b.argmax(1), m) for a, b in zip(x.split(33), logits.split(33)))
    assert parts == whole


def test_nearest_centre_far_from_the_origin(generator):
    """Float32 features of size 1e4, classes 0.1 apart: ‖x‖² − 2x·μ + ‖μ‖² in float32 would guess."""
    y = torch.arange(3).repeat(20)
    x = (
        1e4
        + 0.1 * torch.randn(3, 8, generator=generator)[y]
        + 0.005 * torch.randn(60, 8, generator=generator)
    )
    m = ClassMoments.of(x, y)
    assert nc4(x, torch.nn.functional.one_hot(y, 3).float(), m) == 1


def test_the_bias_counts(blobs):
    x, y, _ = blobs
    x = x + 9
    m = ClassMoments.of(x, y)
    # the nearest-centre rule itself is linear: w_c = μ_c, b_c = −‖μ_c‖²/2
    weight, bias = m.means, -m.means.square().sum(1) / 2
    assert nc4(x, x @ weight.T + bias, m) == 1
    assert nc4(x, x @ weight.T, m) < 1
    assert torch.equal(decisions(x, weight, bias), (x @ weight.T + bias).argmax(1))
    half = decisions(x.to(torch.bfloat16), weight, bias)
    assert torch.equal(half, (x.bfloat16().float() @ weight.float().T + bias.float()).argmax(1))


def test_nc4_absent_classes_and_bad_input(blobs):
    x, y, _ = blobs
    keep = y != 2
    m = ClassMoments.of(x[keep], y[keep], 5)
    always_two = torch.nn.functional.one_hot(torch.full((len(x),), 2), 5).double()
    assert nc4(x, always_two, m) == 0
    with pytest.raises(ValueError, match="one column per class"):
        nc4(x, always_two[:, :4], m)
    with pytest.raises(ValueError, match="12 columns"):
        nc4(x[:, :3], always_two, m)
    equal = ClassMoments.of(torch.ones(4, 2), torch.tensor([0, 0, 1, 1]))
    assert math.isnan(nc4(torch.ones(4, 2), torch.eye(2).repeat(2, 1), equal))
    assert "no samples" in nc4(x[:0], always_two[:0], m).undefined_because


def test_nc5(blobs):
    x, y, _ = blobs
    m = ClassMoments.of(x, y)
    ood = torch.linspace(-1, 1, 12)
    expected = torch.stack([(mu @ ood.double()).abs() / mu.norm() / ood.double().norm() for mu in m.means])
    result = nc5(m, ood)
    assert result == pytest.approx(float(expected.mean()), rel=IDENTITY)
    assert result.details["largest"] == pytest.approx(float(expected.max()), rel=IDENTITY)
    frame = ClassMoments.of(torch.eye(6)[:3], torch.arange(3))
    assert nc5(frame, torch.eye(6)[4]) == 0
    assert nc5(frame, torch.eye(6)[1]) == pytest.approx(1 / 3)
    assert nc5(frame, torch.eye(6)[:3].mean(0) + torch.eye(6)[5], "centred") == pytest.approx(0, abs=1e-8)
    assert "origin" in nc5(frame, torch.zeros(6)).undefined_because
    at_centre = ClassMoments.of(torch.tensor([[1.0, 0], [-1, 0], [0, 0]]), torch.arange(3))
    assert "class 2 lies at the global mean" in nc5(at_centre, torch.ones(2), "centred").undefined_because
    with pytest.raises(ValueError, match="6 entries"):
        nc5(frame, torch.zeros(5))
