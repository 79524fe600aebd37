"""Every registered probe passes the conformance suite by being registered."""

from __future__ import annotations

import math

import pytest
import torch

import agop
from agop import PROBES, Evidence, Probe
from agop.probes import DEFAULTS, probes_for
from tests.conformance.probes import check_probe, evidence, world


@pytest.mark.parametrize("name", PROBES.own)
def test_a_registered_probe(name):
    probe = PROBES[name]
    assert probe.name == name
    check_probe(probe)


def test_the_suite_sees_a_wrong_declaration():
    spread = Probe(
        name="spread", measure=lambda e: float(e.rows.std()), needs="rows", meaning="m", formula="f", source="s",
        invariant=("order", "labels", "shift", "rotation", "scale", "batches"),
    )  # fmt: skip
    with pytest.raises(AssertionError, match="shift|rotation|scale"):
        check_probe(spread)
    shy = Probe(
        name="spread", measure=lambda e: float(e.rows.norm()), needs="rows", meaning="m", formula="f", source="s",
        invariant=("order", "labels", "batches"),
    )  # fmt: skip
    with pytest.raises(AssertionError, match="rotation changes nothing"):
        check_probe(shy)
    mute = Probe(name="mute", measure=lambda e: math.nan, meaning="m", formula="f", source="s")
    with pytest.raises(AssertionError):
        check_probe(mute)


def test_defaults_are_names_of_probes():
    for names in DEFAULTS.values():
        assert set(names) <= set(PROBES)
    assert {"nc1", "nc2", "cdnv"} <= set(probes_for("moments"))
    assert "nc3" not in probes_for("moments")


def test_what_lacks_is_undefined_with_the_reason():
    value = PROBES["nc3"](Evidence.of(moments=evidence(world(), "stage").moments))
    assert math.isnan(value)
    assert value.undefined_because == "there is no weight here"
    told = Evidence(name="x", level="stage", lacking={"moments": "the labels are missing"})
    assert PROBES["nc1"](told).undefined_because == "the labels are missing"


def test_known_values_need_no_measuring():
    known = Evidence(name="input", level="stage", known={"nc1": 0.25, "other": [1.0, 2.0]})
    assert float(PROBES["nc1"](known)) == 0.25
    vector = Probe(name="other", measure=lambda e: e.rows)
    assert list(vector.results(known)["other"].value) == [1.0, 2.0]


def test_options_belong_to_the_probe():
    e = evidence(world(), "layer")
    half, whole = PROBES["nfa"](e), PROBES["nfa"].with_(name="nfa_1", power=1)(e)
    matrix = e.weight.T @ e.weight
    assert float(half) == pytest.approx(agop.nfa(matrix, e.agop), rel=1e-12)
    assert float(whole) == pytest.approx(agop.nfa(matrix, e.agop, power=1), rel=1e-12)
    assert whole.name == "nfa_1"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"name": "", "measure": len}, "name: expected a text"),
        ({"name": "x", "measure": len, "needs": {"magic"}}, "needs: expected one of"),
        ({"name": "x", "measure": len, "invariant": ["magic"]}, "invariant: expected one of"),
    ],
)
def test_a_wrong_probe_is_refused(arguments, sentence):
    with pytest.raises((ValueError, TypeError), match=sentence):
        Probe(**arguments)


def test_columns_must_be_declared():
    probe = Probe(name="two", measure=lambda e: {"a": 1.0, "c": 2.0}, needs=(), columns=("a", "b"))
    with pytest.raises(ValueError, match="two: expected the columns a, b, got c"):
        probe.results(Evidence(name="x", level="stage"))
    with pytest.raises(ValueError, match="whose columns have names of their own"):
        probe.with_(name="three")


def test_a_need_with_wrong_options_is_refused():
    with pytest.raises(ValueError, match="options of the need 'rows'"):
        agop.Need("rows", stagee="input")
    assert agop.Need("rows", stage="output")["stage"] == "output"
    assert not Evidence.of(rows=torch.ones(2, 2)).has(agop.Need("rows", stage="output"))
