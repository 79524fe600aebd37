"""What was spelled otherwise in 0.1 works for one release, and says the new line."""

from __future__ import annotations

import pandas as pd
import pytest
import torch
from torch import nn

import agop
from agop import PROBES, ClassMoments, Network
from tests.conformance.probes import blobs


@pytest.fixture
def data():
    return torch.eye(6).repeat(4, 1), torch.arange(24) % 3


def net():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))


def test_options_of_a_model_are_forwarded(data):
    model = net()
    with pytest.warns(
        DeprecationWarning, match=r"agop\.profile\(agop\.Network\(model, pool='flatten'\), X, y\)"
    ):
        old = agop.profile(model, *data, pool="flatten", measures=["nc1"])
    new = agop.profile(Network(model, pool="flatten"), *data, measures=["nc1"])
    pd.testing.assert_frame_equal(old.table, new.table, check_exact=True)


def test_the_power_is_an_option_of_the_probe(data):
    model = net()
    with pytest.warns(DeprecationWarning, match=r"PROBES\['nfa'\]\.with_\(power=0\.7\)"):
        old = agop.profile(model, *data, power=0.7)
    new = agop.profile(model, *data, measures=["nc1", "nc2", "nc3", PROBES["nfa"].with_(power=0.7)])
    assert old.layers["nfa"].tolist() == new.layers["nfa"].tolist()


def test_network_views_are_a_method(data):
    with pytest.warns(DeprecationWarning, match=r"agop\.Network\(model, pool=…"):
        (first, _) = agop.network_views(net(), data[0])
    assert torch.equal(first.input, data[0])


def test_the_registry_of_class_moments():
    with pytest.warns(DeprecationWarning, match=r"agop\.PROBES"):
        from agop.collapse import MEASURES
    with pytest.warns(DeprecationWarning, match=r"agop\.Probe\("):
        from agop.collapse import Measure
    with pytest.warns(DeprecationWarning, match=r"agop\.probes\.probes_for"):
        from agop.collapse import measures_for
    x, y = blobs()
    m = ClassMoments.of(x, y)
    assert float(MEASURES["nc1"](m)) == float(agop.nc1(m))
    assert float(MEASURES["nc1"](m, weighting="sample")) == float(agop.nc1(m, weighting="sample"))
    logits = torch.nn.functional.one_hot(y, 5).double()
    assert float(MEASURES["nc4"](m, features=x, logits=logits)) == float(agop.nc4(x, logits, m))
    assert MEASURES["trace_between_share"].direction == "to 1"
    assert [measure.name for measure in measures_for(["moments"])][:2] == ["nc1", "nc1_released"]
    with pytest.raises(ValueError, match="nc3: expected the inputs weight"):
        MEASURES["nc3"](m)
    own = Measure(
        "n", "N", lambda m: agop.Measurement(m.n, "n", "count"), frozenset({"moments"}), "lower", "", "", ""
    )
    MEASURES["n"] = own
    try:
        assert float(agop.collapse_report(x, y, measures=["n"])["n"]) == 90
        assert list(MEASURES)[-1] == "n"
    finally:
        del MEASURES["n"]
    assert "n" not in PROBES


def test_the_report_is_at_the_top():
    with pytest.warns(DeprecationWarning, match="from agop import collapse_report"):
        from agop.collapse import collapse_report
    assert collapse_report is agop.collapse_report
