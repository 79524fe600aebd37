from __future__ import annotations

import copy
import json
import math
import pickle

import matplotlib as mpl

mpl.use("Agg")

import pytest
import torch

import agop
from agop import ClassMoments, Measurement, Probe, collapse_report, nc1, nc4
from agop.probes import DEFAULTS
from tests.oracles import collapse as oracle


@pytest.fixture
def inputs(blobs, generator):
    x, y, means = blobs
    return {
        "features": x,
        "labels": y,
        "weight": means,
        "bias": -means.square().sum(1) / 2,
        "ood": torch.randn(50, 12, dtype=torch.float64, generator=generator),
    }


@pytest.mark.parametrize("name", DEFAULTS["features"])
def test_every_measure_of_a_report_inherits_these(name, inputs):
    """Finite on data, NaN with a reason without any, the same in float32."""
    whole = collapse_report(**inputs, scatter="full", measures=[name])[name]
    assert isinstance(whole, Measurement)
    assert whole.name == name
    assert math.isfinite(whole)
    low = {key: v.float() if v.is_floating_point() else v for key, v in inputs.items()}
    assert collapse_report(**low, scatter="full", measures=[name])[name] == pytest.approx(whole, rel=1e-4)
    none = {**inputs, "features": inputs["features"][:0], "labels": inputs["labels"][:0]}
    nothing = collapse_report(**none, scatter="full", measures=[name])[name]
    assert math.isnan(nothing)
    assert nothing.undefined_because


def test_probes_of_ones_own_and_of_rows_are_in_a_report(inputs):
    own = Probe(name="spread", measure=lambda e: e.rows.std(), needs="rows", towards="lower", formula="std h")
    report = collapse_report(inputs["features"], inputs["labels"], measures=["nc1", "dse", own])
    assert list(report.measurements) == ["nc1", "dse", "spread"]
    assert float(report["spread"]) == pytest.approx(float(inputs["features"].std()))
    assert "std h" in str(report)
    assert f"→ {math.log2(5):.4g}" in str(report)


def test_report_has_everything(inputs):
    report = collapse_report(**inputs, scatter="full")
    assert list(report.measurements) == list(DEFAULTS["features"])
    m = ClassMoments.of(inputs["features"], inputs["labels"])
    assert report["nc1"] == pytest.approx(nc1(m), rel=1e-12)
    assert report["nc1_pinv"] == pytest.approx(
        oracle.nc1_pinv(inputs["features"], inputs["labels"]), rel=1e-9
    )
    logits = inputs["features"] @ inputs["weight"].T + inputs["bias"]
    assert report["nc4"] == nc4(inputs["features"], logits, m)
    assert report["nc4"].details["bias"] is True
    with pytest.raises(KeyError, match="there are nc1"):
        report["nc9"]


def test_report_without_extras_and_by_name(inputs):
    x, y = inputs["features"], inputs["labels"]
    report = collapse_report(x, y)
    assert {"nc3", "nc4", "nc5", "effective_rank"}.isdisjoint(report.measurements)
    assert list(collapse_report(x, y, measures=["nc2", "nc1"]).measurements) == ["nc1", "nc2"]
    with pytest.raises(ValueError, match="'nc3' without weight"):
        collapse_report(x, y, measures=["nc3"])
    with pytest.raises(ValueError, match="bias"):
        collapse_report(x, y, bias=torch.zeros(5))
    by_mean = collapse_report(x, y, ood=inputs["ood"].mean(0))
    assert by_mean["nc5"] == pytest.approx(collapse_report(x, y, ood=inputs["ood"])["nc5"])


def test_report_forms(inputs):
    keep = inputs["labels"] != 3
    inputs = {**inputs, "features": inputs["features"][keep], "labels": inputs["labels"][keep]}
    report = collapse_report(**inputs)
    text = str(report)
    assert "4 of 5 classes" in text
    assert "Left out, no samples: class 3." in text
    assert "tr Σ_W / tr Σ_B" in text
    assert max(map(len, text.splitlines())) < 120
    plain = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert plain["measures"]["nc1"]["value"] == float(report["nc1"])
    frame = report.to_frame()
    assert frame.loc["nc2", "value"] == float(report["nc2"])
    assert frame.loc["nc2", "source"].startswith("Beaglehole")
    ax = report.plot()
    assert ax.get_xscale() == "log"
    assert len(ax.get_yticks()) == len(report.measurements) - 1


def test_undefined_in_every_form():
    report = collapse_report(torch.full((4, 2), 0.1), torch.tensor([0, 0, 1, 1]))
    assert math.isnan(report["nc1"])
    assert "undefined" in str(report)
    assert "nc1: all class means are equal" in str(report)
    entry = json.loads(json.dumps(report.to_dict(), allow_nan=False))["measures"]["nc1"]
    assert entry["value"] is None
    assert "equal" in entry["undefined_because"]
    assert "equal" in report.to_frame().loc["nc1", "undefined_because"]
    report.plot()


def test_measurement_is_a_float_that_travels():
    value = Measurement(0.25, "nc1", "trace", details={"classes": 3})
    assert value == 0.25
    assert value * 2 == 0.5
    assert str(value) == "0.25"
    assert repr(value) == "nc1[trace] = 0.25"
    for other in (pickle.loads(pickle.dumps(value)), copy.deepcopy(value)):
        assert other == value
        assert other.details == {"classes": 3}
        assert other.definition == "trace"
    nothing = Measurement.undefined("nc1", "trace", "because")
    assert math.isnan(nothing)
    assert math.isnan(Measurement(0.0, "nc1", "trace", "because"))


def test_the_paper_names_are_public():
    for name in ("ClassMoments", "nc1", "nc2", "nc3", "nc4", "nc5", "collapse_report", "CollapseReport"):
        assert hasattr(agop, name)


def test_a_model_in_the_place_of_features_is_told_what_to_call():
    model, x, y = torch.nn.Linear(3, 2), torch.rand(6, 3), torch.arange(6) % 2
    for call in (lambda: collapse_report(model, x, y), lambda: collapse_report(features=model, labels=y)):
        with pytest.raises(
            TypeError,
            match=r"features: expected .* got a model \(Linear\); write agop.profile\(model, X, y\)",
        ):
            call()
    with pytest.raises(TypeError, match="features: expected features and labels, all else by name"):
        collapse_report(x, y, model.weight)
