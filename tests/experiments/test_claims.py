from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agop.experiments import statistics as stat
from agop.experiments.claims import FAILS, GROUPS, HOLDS, OPEN, Claim, Verdict, decide
from agop.experiments.studies.beaglehole2024 import STUDY
from agop.experiments.tables import read_table, write_table


def claim(**changes):
    defaults = {
        "id": "C9", "name": "n", "says": "s", "group": "paper", "number": 9, "tables": ("t",), "statistic": "x",
        "measure": stat.per_seed(lambda rows: float(rows["x"].iloc[0])), "relation": "<=", "threshold": 1.0, "because": "b",
    }  # fmt: skip
    return Claim(**(defaults | changes))


def table(*values):
    return pd.DataFrame({"seed": range(len(values)), "x": values})


@pytest.mark.parametrize(
    ("values", "relation", "verdict", "reason"),
    [
        ((0.1, 0.2, 0.3), "<=", HOLDS, ""),
        ((0.1, 0.2, 0.3), ">=", FAILS, ""),
        ((2.0, 3.0, 4.0), "<=", FAILS, ""),
        ((1.0,), "<=", HOLDS, ""),
        ((1.0,), ">=", HOLDS, ""),
        ((0.5, 1.5), "<=", OPEN, "disagree"),
        ((0.1, 0.999), "<=", OPEN, "standard deviation"),
        ((1.001, 3.0), "<=", OPEN, "standard deviation"),
        ((0.1, math.nan), "<=", OPEN, "seed 1"),
        ((0.1, math.inf), "<=", OPEN, "not defined"),
    ],
)
def test_verdicts(values, relation, verdict, reason):
    found = decide(claim(relation=relation), {"t": table(*values)}, "digits")
    assert found.verdict == verdict
    assert reason in found.reason
    assert list(found.values.values()) == pytest.approx(list(values), nan_ok=True)


def test_an_inequality_does_not_weigh_the_spread():
    strict = claim(relation=">=", threshold=0.0, weigh_spread=False)
    assert decide(strict, {"t": table(1e-9, 5.0)}).verdict == HOLDS
    assert decide(strict, {"t": table(-1e-9, 5.0)}).verdict == OPEN


def test_a_missing_table_leaves_a_claim_open():
    found = decide(claim(tables=("t", "u")), {"t": table(1.0)})
    assert (found.verdict, found.as_expected) == (OPEN, None)
    assert "u" in found.reason
    assert math.isnan(found.mean)


def test_a_statistic_that_raises_leaves_its_claim_open():
    rows = stat.per_seed(lambda rows: float(rows[rows["x"] > 5]["x"].iloc[0]))
    found = decide(claim(measure=rows), {"t": table(1.0, 9.0)}, "digits")
    assert (found.verdict, found.values, found.data) == (OPEN, {}, "digits")
    assert found.reason.startswith("the statistic raises IndexError (")
    lacking = decide(claim(measure=lambda t: {0: t["y"].iloc[0]}), {"t": table(1.0)})
    assert lacking.reason == "the statistic raises KeyError ('y')"
    assert decide(claim(measure=lambda t: {0: None}), {"t": table(1.0)}).verdict == OPEN


@pytest.mark.parametrize("empty", [pd.DataFrame(), table()], ids=["no columns", "no rows"])
def test_an_empty_table_leaves_its_claim_open(empty):
    found = decide(claim(measure=lambda t: {0: float(t["x"].iloc[0])}), {"t": empty})
    assert (found.verdict, found.reason) == (OPEN, "the table t is empty")
    assert decide(claim(measure=lambda t: {}), {"t": empty}).reason == "there is no number for any seed"


def test_a_table_without_anything_is_read_as_empty(tmp_path):
    write_table(tmp_path, "t", pd.DataFrame([]))
    assert read_table(tmp_path / "t.csv").empty


def test_interrupts_are_not_swallowed():
    def interrupted(t):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        decide(claim(measure=interrupted), {"t": table(1.0)})


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=6))
def test_mean_and_spread(values):
    found = Verdict(claim(), "d", dict(enumerate(values)), HOLDS)
    assert found.mean == pytest.approx(np.mean(values), abs=1e-9)
    assert found.std == pytest.approx(np.std(values, ddof=1), abs=1e-6)


def test_what_was_expected():
    control = claim(expected=FAILS)
    assert decide(control, {"t": table(2.0)}).as_expected is True
    assert decide(control, {"t": table(0.0)}).as_expected is False
    assert decide(claim(expected=None), {"t": table(0.0)}).as_expected is None


def test_the_claims_are_complete_and_give_reasons():
    claims = STUDY.claims_of("smoke")
    ids = [entry.id for entry in claims]
    assert len(set(ids)) == len(ids)
    assert {entry.id[:2] for entry in claims if entry.group == "paper"} == {
        "C1",
        "C2",
        "C3",
        "C4",
        "C5",
        "C6",
    }
    places = [(list(GROUPS).index(entry.group), entry.number) for entry in claims]
    assert places == sorted(places)
    for entry in claims:
        assert len(entry.because) > 10
        assert entry.says.endswith(".")
        assert entry.expected in (HOLDS, FAILS, None)
        assert (entry.group == "control") == (entry.expected == FAILS)
        assert math.isfinite(entry.threshold)
        assert entry.part in STUDY.parts
        assert all(claims[ids.index(control)].group == "control" for control in entry.controls)
    one, three = (STUDY.claims_of(size, ("networks",)) for size in ("smoke", "paper"))
    assert len(three) == 3 * len(one)


def profile(values, points="train", stage="projected", seed=0, **columns):
    layers = np.arange(1, len(values) + 1)
    return pd.DataFrame(
        {"seed": seed, "points": points, "layer": layers, "stage": stage, "nc1": values, **columns}
    )


def test_a_geometric_fall_is_measured_exactly():
    rows = pd.concat([profile(3 * 0.5 ** np.arange(8)), profile(2 * 0.7 ** np.arange(8), seed=1)])
    assert stat.fall_per_layer()(rows) == pytest.approx({0: 0.5, 1: 0.7})
    assert stat.straightness()(rows) == pytest.approx({0: 1.0, 1: 1.0})
    assert stat.last_over_first("nc1")(rows) == pytest.approx({0: 0.5**7, 1: 0.7**7})
    levelled = profile(np.r_[0.5 ** np.arange(4), np.full(4, 0.125)])
    assert stat.fall_per_layer(second_half=True)(levelled) == pytest.approx({0: 1.0})


def test_too_little_is_not_a_number():
    assert math.isnan(stat.fall_per_layer()(profile([1.0, 0.5]))[0])
    assert math.isnan(stat.fall_per_layer()(profile([1.0, 0.5, 0.0]))[0])
    assert math.isnan(stat.straightness()(profile([1.0, np.nan, 0.1]))[0])
    assert math.isnan(stat.share_of_fall()(profile([1.0, 0.5, 0.2]))[0])
    assert math.isnan(stat.last_over_first("nc1")(profile([1.0]))[0])


def test_stages_are_compared_layer_by_layer():
    stages = [
        profile([4.0, 2.0], stage="input"),
        profile([1.0, 0.5], stage="projected"),
        profile([2.0, 1.0], stage="output"),
    ]
    rows = pd.concat(stages)
    assert stat.worst_projection()(rows) == pytest.approx({0: 0.25})
    assert stat.given_back()(rows) == pytest.approx({0: 0.5})
    held_out = pd.concat([rows, profile([1.0, 0.5**0.5], points="test")])
    assert stat.share_of_fall()(held_out) == pytest.approx({0: 0.5})


def test_two_runs_side_by_side():
    pair = stat.between_runs(profile([1.0, 0.5]), profile([1.0, 0.25]))
    assert stat.largest_deviation("first", "second")(pair) == pytest.approx({0: math.log(2)})
    assert stat.median_factor("first", "second")(pair) == pytest.approx({0: 2**0.5})


def test_the_fall_of_shuffled_layers_does_not_hold():
    """The claims about Deep RFM, fed with their own numbers in another order of layers, come out negative."""
    main = next(entry for entry in STUDY.claims_of("smoke") if entry.id == "C1.1")
    straight = next(entry for entry in STUDY.claims_of("smoke") if entry.id == "C1.2")
    values = 0.5 ** np.arange(10)
    rng = np.random.default_rng(0)
    good = pd.concat([profile(values, seed=seed) for seed in range(3)])
    bad = pd.concat([profile(rng.permutation(values), seed=seed) for seed in range(3)])
    assert decide(main, {main.tables[0]: good}).verdict == HOLDS
    assert decide(main, {main.tables[0]: bad}).verdict == FAILS
    assert decide(straight, {main.tables[0]: bad}).verdict == FAILS
