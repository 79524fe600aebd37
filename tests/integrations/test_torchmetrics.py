from __future__ import annotations

import math
import pickle

import matplotlib as mpl

mpl.use("Agg")

import pytest
import torch
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy

import agop
from agop import ClassMoments, nc1, nc2
from agop.integrations.torchmetrics import ONE_PASS, NeuralCollapse
from tests.tolerances import MERGE


def data(n=200, d=6, classes=4):
    generator = torch.Generator().manual_seed(3)
    labels = torch.randint(0, classes, (n,), generator=generator)
    means = 5 + 2 * torch.randn(classes, d, generator=generator)
    return means[labels] + torch.randn(n, d, generator=generator), labels


@pytest.mark.parametrize("num_features", [None, 6])
def test_the_value_of_all_batches(num_features):
    x, y = data()
    metric = NeuralCollapse(4, num_features, measures=ONE_PASS)
    batch_values = [metric(a, b) for a, b in zip(x.split(33), y.split(33))]
    m = ClassMoments.of(x, y)
    values = metric.compute()
    assert set(values) == set(ONE_PASS)
    assert float(values["nc1"]) == pytest.approx(nc1(m), rel=MERGE)
    assert float(values["nc2"]) == pytest.approx(nc2(m), rel=MERGE)
    assert float(batch_values[2]["nc1"]) == pytest.approx(
        nc1(ClassMoments.of(x[66:99], y[66:99], 4)), rel=MERGE
    )
    assert values["nc1"].dtype == torch.float64
    metric.reset()
    metric.update(x[:50], y[:50])
    assert float(metric.compute()["nc1"]) == pytest.approx(nc1(ClassMoments.of(x[:50], y[:50], 4)), rel=MERGE)


def test_one_measure_is_a_tensor_and_knows_its_direction():
    x, y = data()
    metric = NeuralCollapse(4, measures="nc1")
    metric.update(x, y)
    assert metric.compute().shape == ()
    assert metric.higher_is_better is False
    assert NeuralCollapse(4, measures="trace_between_share").higher_is_better is True
    assert NeuralCollapse(4, measures=["nc1", "trace_between_share"]).higher_is_better is None
    assert isinstance(metric.state, torch.Tensor)


def test_merge_clone_pickle_and_state_dict():
    x, y = data()
    expected = nc1(ClassMoments.of(x, y))
    a, b = NeuralCollapse(4, measures="nc1"), NeuralCollapse(4, measures="nc1")
    a.update(x[:80], y[:80])
    b.update(x[80:], y[80:])
    c = pickle.loads(pickle.dumps(a)).clone()
    c.merge_state(b)
    assert float(c.compute()) == pytest.approx(expected, rel=MERGE)
    fresh = NeuralCollapse(4, measures="nc1")
    fresh.merge_state(a)
    fresh.merge_state(b.metric_state)
    assert float(fresh.compute()) == pytest.approx(expected, rel=MERGE)
    a.persistent(True)
    loaded = NeuralCollapse(4, measures="nc1")
    loaded.persistent(True)
    loaded.load_state_dict(a.state_dict())
    loaded.update(x[80:], y[80:])
    assert float(loaded.compute()) == pytest.approx(expected, rel=MERGE)
    with pytest.raises(ValueError, match="6 columns"):
        loaded.update(x[:, :3], y)


def test_dtype_conversions_leave_the_state_alone():
    x, y = data()
    metric = NeuralCollapse(4, measures="nc1").half()
    metric.update(x, y)
    metric = metric.set_dtype(torch.float16).to("cpu").float()
    assert metric.state.dtype == torch.float64
    assert float(metric.compute()) == pytest.approx(nc1(ClassMoments.of(x, y)), rel=MERGE)


def test_inside_a_collection():
    x, y = data()
    metrics = MetricCollection(
        {
            "head": NeuralCollapse(4, measures=["nc1", "nc2"]),
            "same": NeuralCollapse(4, measures="cdnv"),
            "accuracy": MulticlassAccuracy(4),
        }
    )
    for a, b in zip(x.split(50), y.split(50)):
        metrics.update(features=a, labels=b, preds=a[:, :4], target=b)
    values = metrics.compute()
    assert float(values["nc1"]) == pytest.approx(nc1(ClassMoments.of(x, y)), rel=MERGE)
    assert float(values["same"]) == pytest.approx(nc1(ClassMoments.of(x, y), "cdnv"), rel=MERGE)
    assert "accuracy" in values
    metrics.reset()
    assert metrics["head"].state.count_nonzero() == 0
    forwarded = metrics(features=x, labels=y, preds=x[:, :4], target=y)
    assert float(forwarded["nc1"]) == pytest.approx(nc1(ClassMoments.of(x, y)), rel=MERGE)


def test_undefined_is_nan_with_a_reason():
    metric = NeuralCollapse(3, measures=["nc1", "cdnv"])
    metric.update(torch.ones(4, 2), torch.tensor([0, 0, 1, 1]))
    assert math.isnan(metric.compute()["nc1"])
    assert "equal" in metric.measurements()["nc1"].undefined_because
    with pytest.warns(UserWarning, match="before"):
        assert math.isnan(NeuralCollapse(3, measures="nc1").compute())
    with pytest.raises(ValueError, match="measures: expected one of"):
        NeuralCollapse(3, measures="nc3")


def test_plot():
    x, y = data()
    metric = NeuralCollapse(4, measures="nc1")
    values = [metric(a, b) for a, b in zip(x.split(50), y.split(50))]
    figure, ax = metric.plot(values)
    assert figure is ax.figure
    NeuralCollapse(4).plot([{"nc1": values[0], "nc2": values[1]}])


def test_a_refused_batch_leaves_nothing_behind():
    x, y = data()
    metrics = MetricCollection(
        {"a": NeuralCollapse(4, measures="nc1"), "b": NeuralCollapse(4, measures="nc2")},
        compute_groups=[["a", "b"]],
    )
    metrics.update(x, y)
    with pytest.raises(ValueError, match=r"features: expected 6 columns, got 3; use one metric per layer"):
        metrics["b"].update(x[:, :3], y)
    metrics["b"].update(x, y)
    metrics.update(x, y)
    metric = NeuralCollapse(4, measures="nc1")
    metric.update(x, y)
    before = metric.compute()
    for features, labels in ((x[:, :3], y), (x, y + 9)):
        with pytest.raises(ValueError, match="expected"):
            metric(features, labels)
        assert metric.compute() == before
    assert float(metric(x, y)) == pytest.approx(float(before), rel=MERGE)


def test_a_reset_forgets_the_number_of_columns():
    x, y = data()
    metric = NeuralCollapse(4, measures="nc1")
    metric.update(x, y)
    metric.reset()
    assert metric.num_features is None
    metric.update(x[:, :3], y)
    assert metric.num_features == 3
    given = NeuralCollapse(4, 6, measures="nc1")
    given.update(x, y)
    given.reset()
    with pytest.raises(ValueError, match="6 columns"):
        given.update(x[:, :3], y)


def test_the_dtype_is_that_of_the_state():
    assert NeuralCollapse(4).dtype == NeuralCollapse(4).half().dtype == torch.float64


def test_scripting_is_told_as_unsupported():
    with pytest.raises(
        TypeError, match=r"metric: expected a module that torch.jit.script can compile, got NeuralCollapse"
    ):
        torch.jit.script(NeuralCollapse(4))


def test_probes_with_options_and_classes_by_count():
    x, y = data()
    least = int(y.bincount().sort().values[1])
    kept = y.bincount() >= least
    metric = agop.NeuralCollapse(
        4, measures=[agop.PROBES["gnc2"].with_(kernel="riesz"), "nc1"], min_count=least
    )
    metric.update(x, y)
    assert 1 < int(kept.sum()) < 4
    m = ClassMoments.of(x[kept[y]], y[kept[y]], 4)
    assert float(metric.compute()["gnc2"]) == pytest.approx(float(agop.gnc2(m, "riesz")), rel=MERGE)
    assert float(metric.clone().compute()["nc1"]) == pytest.approx(float(nc1(m)), rel=MERGE)
    with pytest.raises(
        ValueError, match="measures: expected probes of class moments, got 'nc3', which needs moments, weight"
    ):
        NeuralCollapse(4, measures=[agop.PROBES["nc3"]])
    with pytest.raises(ValueError, match="measures: expected names that differ"):
        NeuralCollapse(4, measures=["nc1", "nc1"])
