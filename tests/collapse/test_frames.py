from __future__ import annotations

import math

import pytest
import torch

import agop
from agop import ClassMoments, Evidence, deep_linear_collapse, frame_distance
from tests.tolerances import IDENTITY


def matrix(C=4, seed=0):
    half = torch.randn(C, C, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return half @ half.T


def by_loops(gram, target):
    """The definition, entry by entry."""
    C = len(gram)
    norms = [math.sqrt(sum(float(a[i, j]) ** 2 for i in range(C) for j in range(C))) for a in (gram, target)]
    return math.sqrt(
        sum(
            (float(gram[i, j]) / norms[0] - float(target[i, j]) / norms[1]) ** 2
            for i in range(C)
            for j in range(C)
        )
    )


@pytest.mark.parametrize("target", ["etf", "orthogonal", "gof"])
def test_it_is_the_definition_by_loops(target):
    gof = deep_linear_collapse([8, 4, 2, 1], n_layers=2, weight_decay=1e-3, feature_decay=1e-3).weight_gram
    wanted = {"etf": torch.eye(4) - 1 / 4, "orthogonal": torch.eye(4), "gof": gof}[target]
    found = frame_distance(matrix(), gof if target == "gof" else target)
    assert float(found) == pytest.approx(by_loops(matrix(), wanted.double()), rel=IDENTITY)


def test_zero_on_the_frame_itself_whatever_the_scale_and_a_collapsed_class_is_no_error():
    gof = deep_linear_collapse([40, 20, 4, 4], n_layers=2, weight_decay=2e-2, feature_decay=2e-2).weight_gram
    assert float(frame_distance(1e3 * gof, gof)) < 1e-15
    assert float(frame_distance(torch.eye(5), "orthogonal")) == 0
    turned = torch.eye(4, dtype=torch.float64) - 1 / 4
    assert float(frame_distance(turned, "orthogonal")) == pytest.approx(math.sqrt(2 - math.sqrt(3)))


def test_nothing_to_compare_is_undefined_and_what_is_no_matrix_refused():
    assert frame_distance(torch.zeros(3, 3)).undefined_because == "the Gram matrix is zero"
    assert frame_distance(torch.ones(1, 1)).undefined_because == "the target is zero"
    for gram, target, word in (
        (torch.ones(2, 3), "etf", "gram"),
        (torch.eye(2), "simplex", "target"),
        (torch.eye(2), torch.eye(3), "target"),
        (torch.full((2, 2), math.nan), "etf", "gram"),
    ):
        with pytest.raises(ValueError, match=f"^{word}: expected"):
            frame_distance(gram, target)


def test_probes_find_the_theorys_own_frame_and_not_another():
    theory = deep_linear_collapse([8, 4, 2], n_layers=2, weight_decay=1e-3, feature_decay=1e-3)
    last = theory.singular_values[-1].square().diag()
    nc2, nc3 = agop.PROBES["nc2_frame"], agop.PROBES["nc3_frame"]
    measures = [
        nc2.with_(name="gof2", target=last), nc3.with_(name="gof3", target=theory.cross_gram), nc2, nc3,
    ]  # fmt: skip
    table = agop.profile(theory, measures=measures).to_frame()
    row = table[(table["layer"] == 2) & (table["stage"] == "input")].iloc[0]
    assert row["gof2"] < 1e-12
    assert row["gof3"] < 1e-12
    assert row["nc2_frame"] > 0.3


def test_the_frame_of_a_theory_that_is_undefined_is_no_target():
    theory = deep_linear_collapse([4, 2], n_layers=1, weight_decay=1e-3, feature_decay=1e-3, bias=True)
    assert "equal counts" in theory.undefined_because
    with pytest.raises(ValueError, match="target: expected finite values"):
        frame_distance(torch.eye(2), theory.weight_gram)


def test_centring_is_by_class_or_by_sample():
    rows = torch.tensor([[1.0, 0.0], [3.0, 1.0], [0.0, 2.0], [0.0, 4.0]], dtype=torch.float64)
    moments = ClassMoments.of(rows, torch.tensor([0, 1, 1, 1]))
    weight = torch.tensor([[1.0, -1.0], [-1.0, 2.0]], dtype=torch.float64)
    e = Evidence.of(moments=moments, weight=weight)
    probe = agop.PROBES["nc3_frame"]
    for centre, mean in (("none", 0.0), ("class", moments.means.mean(0)), ("sample", rows.mean(0))):
        expected = by_loops(weight @ (moments.means - mean).T, torch.eye(2) - 0.5)
        assert float(probe.with_(centre=centre)(e)) == pytest.approx(expected, rel=IDENTITY)
