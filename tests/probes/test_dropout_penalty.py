from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agop import dropout_penalty
from agop.evidence import Evidence, Need
from agop.probes.dropout import DROPOUT_PENALTY
from tests.tolerances import IDENTITY, MERGE, SINGLE


def layer(seed=0, n=50, h=7, o=3):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, h, generator=g, dtype=torch.float64).relu(), torch.randn(
        o, h, generator=g, dtype=torch.float64
    )


def by_loops(Z, weight):
    total = 0.0
    for j in range(Z.shape[1]):
        energy = sum(float(row[j]) ** 2 for row in Z) / len(Z)
        total += energy * sum(float(entry) ** 2 for entry in weight[:, j])
    return total


def test_it_is_that_of_the_loops():
    Z, weight = layer()
    found = dropout_penalty(Z, weight)
    assert found == pytest.approx(by_loops(Z, weight), rel=IDENTITY)
    assert dropout_penalty(Z.float(), weight.float()) == pytest.approx(found, rel=SINGLE)
    assert found.details["path_norm"] <= math.sqrt(7 * found)
    assert 1 <= found.details["effective_units"] <= 7


def test_units_that_weigh_the_same_are_all_there():
    found = dropout_penalty(torch.ones(4, 5), torch.ones(2, 5))
    assert found == 10
    assert found.details["effective_units"] == pytest.approx(5)
    assert found.details["path_norm"] == pytest.approx(math.sqrt(5 * 10))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**16))
def test_what_leaves_it_as_it_is_and_what_does_not(seed):
    Z, weight = layer(seed)
    g = torch.Generator().manual_seed(seed)
    expected = dropout_penalty(Z, weight)
    factors = torch.rand(7, generator=g, dtype=torch.float64) + 0.1
    units, rows = torch.randperm(7, generator=g), torch.randperm(50, generator=g)
    turn = torch.linalg.qr(torch.randn(3, 3, generator=g, dtype=torch.float64)).Q
    # a homogeneous unit with its incoming weights times c and its outgoing ones by c; other names of units; order; a rotation of outputs
    for features, head in [
        (Z * factors, weight / factors), (Z[:, units], weight[:, units]), (Z[rows], weight), (Z, turn @ weight)
    ]:  # fmt: skip
        assert dropout_penalty(features, head) == pytest.approx(expected, rel=MERGE)
    assert dropout_penalty(Z + 1, weight) > 1.1 * expected
    assert dropout_penalty(3 * Z, weight) == pytest.approx(9 * expected, rel=MERGE)


def test_what_has_no_value_says_why():
    _, weight = layer()
    assert "no samples" in dropout_penalty(torch.zeros(0, 7), weight).undefined_because
    huge = torch.full((2, 7), 1e200, dtype=torch.float64)
    assert "range of float64" in dropout_penalty(huge, weight).undefined_because
    nothing = dropout_penalty(torch.zeros(2, 7), weight)
    assert nothing == 0
    assert math.isnan(nothing.details["effective_units"])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"weight": torch.zeros(3, 6)}, "weight: expected 7 columns, as Z"),
        ({"weight": torch.full((3, 7), math.inf)}, "weight: expected finite values"),
        ({"Z": torch.full((50, 7), math.nan)}, "Z: expected finite values"),
        ({"Z": torch.zeros(7)}, "Z"),
        ({"Z": torch.zeros(5, 7).long()}, "Z"),
    ],
)
def test_bad_input_is_one_sentence(change, says):
    with pytest.raises((ValueError, TypeError), match=says):
        dropout_penalty(**dict(zip(("Z", "weight"), layer())) | change)


def test_the_probe_measures_where_a_classifier_reads():
    Z, weight = layer()
    evidence = Evidence(name="input", level="stage", given={Need("rows"): Z, Need("weight"): weight})
    assert DROPOUT_PENALTY(evidence) == dropout_penalty(Z, weight)
    assert DROPOUT_PENALTY.applies(evidence)
    assert not DROPOUT_PENALTY.applies(Evidence(name="input", level="stage", given={Need("rows"): Z}))
