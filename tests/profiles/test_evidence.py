"""The one loop: probes of one's own at every level, the one sample of rows, sources of every kind, stored formats."""

from __future__ import annotations

import json
import math
import warnings
from dataclasses import replace

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from safetensors import safe_open
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import agop
from agop import Curve, Evidence, LayerView, MeasureOptions, Need, Network, Probe
from agop.profiles.sample import RowSample
from tests.profiles.test_network_stages import mlp


@pytest.fixture
def points(generator):
    y = torch.arange(90) % 3
    return torch.randn(90, 5, generator=generator, dtype=torch.float64) + 2 * nn.functional.one_hot(y, 5), y


def rows_probe(**more):
    return Probe(name="mean_row", measure=lambda e: float(e.rows.mean()), needs="rows", **more)


SPREAD = Probe(
    name="spread",
    label="spread of rows",
    level="stage",
    needs={"rows", "labels"},
    scale="linear",
    towards="lower",
    measure=lambda e: -float(e.rows.std()),
)


def test_a_probe_of_ones_own_is_in_table_frame_plot_and_file(points, tmp_path):
    net = mlp(5, 6, 3)
    p = agop.profile(net, *points, measures=["nc1", SPREAD])
    assert (p.to_frame()["spread"] < 0).all()
    assert "spread" in str(p)
    figure = p.plot("spread").figure
    axis = figure.axes[0]
    assert "spread of rows" in axis.get_ylabel()
    assert "↓" in axis.get_ylabel()
    assert axis.get_yscale() == "linear"
    drawn = np.concatenate([line.get_ydata() for line in axis.lines])
    assert sorted(drawn) == sorted(p.to_frame()["spread"])
    plt.close(figure)
    p.save(tmp_path / "p.safetensors")
    q = agop.Profile.load(tmp_path / "p.safetensors")
    assert q.look("spread") == p.look("spread")
    assert q.look("spread").label == "spread of rows"


def test_probes_of_layers_subjects_curves_and_dicts(points, tmp_path):
    x, y = points
    net = mlp(5, 6, 4, 3)
    probes = [
        Probe(name="size", level="layer", needs="weight", measure=lambda e: e.weight.numel()),
        Probe(name="depth", level="subject", needs={"rows"}, measure=lambda e: len(e.parts)),
        Probe(
            name="lipschitz",
            level="subject",
            needs={"function", "inputs"},
            measure=lambda e: float(e.function(e.inputs).norm() / e.inputs.norm()),
        ),
        Probe(
            name="both",
            measure=lambda e: {"low": e.moments.n, "line": Curve([1, 2], [3.0, 4.0], [0.1, 0.2])},
            columns=("low", "line"),
        ),
    ]
    p = agop.profile(net, x, y, measures=probes)
    assert p.layers["size"].tolist() == [30, 24, 12]
    assert p.whole["depth"].tolist() == [3]
    assert p.whole["lipschitz"][0] == pytest.approx(float((net(x).norm() / x.norm()).detach()))
    assert (p.table["low"] == 90).all()
    assert "line" not in p.table
    assert p.curves["value"].tolist() == [3.0, 4.0] * 9
    assert "depth: 3" in str(p)
    long = p.to_frame("long")
    assert set(long["level"]) == {"stage", "layer", "subject"}
    assert long[long["measure"] == "size"]["layer_from_end"].tolist() == [3, 2, 1]
    p.save(tmp_path / "p.safetensors")
    q = agop.Profile.load(tmp_path / "p.safetensors")
    pd.testing.assert_frame_equal(q.to_frame("long"), long)
    with pytest.raises(ValueError, match="level: expected one of"):
        p.to_frame("rows")


@pytest.mark.parametrize("size", [7, 30, 90])
def test_the_sample_does_not_depend_on_batches(points, size):
    x, y = points
    net = mlp(5, 6, 3)
    options = MeasureOptions(rows=20, random_state=3)
    whole = agop.profile(net, x, y, measures=[rows_probe()], options=options)
    part = agop.profile(net, x, y, measures=[rows_probe()], options=options, batch_size=size)
    loader = DataLoader(TensorDataset(x, y), batch_size=size)
    streamed = agop.profile(net, loader, measures=[rows_probe()], options=options)
    other = agop.profile(net, x, y, measures=[rows_probe()], options=MeasureOptions(rows=20, random_state=4))
    np.testing.assert_allclose(part.table["mean_row"], whole.table["mean_row"], rtol=1e-12)
    np.testing.assert_allclose(streamed.table["mean_row"], whole.table["mean_row"], rtol=1e-12)
    assert not np.allclose(other.table["mean_row"], whole.table["mean_row"])
    assert any("a sample of 20 of the 90 samples" in note for note in whole.notes)


def test_the_sample_is_the_same_in_every_layer_and_for_views(points):
    x, y = points
    kept = {}

    def keep(e):
        kept[e.number, e.name] = (e.rows, e.labels)
        return 0.0

    probe = Probe(name="keep", measure=keep, needs={"rows", "labels"})
    options = MeasureOptions(rows=15)
    net = mlp(5, 6, 3)
    agop.profile(net, x, y, measures=[probe], options=options)
    rows, labels = kept[1, "input"]
    places = [int((x == row).all(1).nonzero()) for row in rows]
    assert labels.tolist() == y[places].tolist()
    with torch.no_grad():
        torch.testing.assert_close(kept[2, "output"][0], net(x)[places])
    of_network = dict(kept)
    agop.profile(list(Network(net).views(x)), x, y, measures=[probe], options=options)
    for place, (rows, labels) in kept.items():
        torch.testing.assert_close(rows, of_network[place][0])
        assert torch.equal(labels, of_network[place][1])


def test_positions_of_a_sample_stay_together(generator):
    x = torch.randn(12, 4, 5, generator=generator)
    y = torch.arange(12) % 2
    found = {}
    probe = Probe(
        name="keep",
        measure=lambda e: found.setdefault(e.name, (e.rows, e.labels)) and 0.0,
        needs={"rows", "labels"},
    )
    net = nn.Sequential(nn.Linear(5, 3), nn.Flatten(), nn.Linear(12, 2))
    agop.profile(
        Network(net, pool="none"), x, y, measures=[probe], layers=["0"], options=MeasureOptions(rows=5)
    )
    rows, labels = found["input"]
    assert rows.shape == (20, 5)
    first = rows.reshape(5, 4, 5)
    places = [int((x == sample).all(2).all(1).nonzero()) for sample in first]
    assert labels.tolist() == y[places].repeat_interleave(4).tolist()


def test_a_sample_is_uniform_and_keeps_small_classes():
    counts = np.zeros(50)
    for seed in range(400):
        sample = RowSample(10, random_state=seed)
        for part in torch.zeros(50, dtype=torch.int64).split(7):
            sample.pick(part)
        assert len(sample.numbers) == 10
        counts[sample.numbers] += 1
    assert abs(counts - 80).max() < 5 * math.sqrt(80 * 0.8)
    rare = torch.zeros(200, dtype=torch.int64)
    rare[[17, 150, 190]] = 1
    sample = RowSample(5, per_class=2)
    for part in rare.split(31):
        sample.pick(part)
    assert (sample.labels == 1).sum() >= 2
    assert len(sample.numbers) <= 7


def test_more_rows_than_memory_allows_are_refused_before_the_pass_goes_on(points):
    x, y = points
    with pytest.raises(ValueError, match=r"options.rows: expected rows that fit into .* for 90 samples"):
        agop.profile(mlp(5, 6, 3), x, y, measures=["dse"], options=MeasureOptions(max_memory="1KB"))
    everything = Probe(name="all", measure=lambda e: len(e.rows), needs=[Need("rows", n="all")])
    p = agop.profile(mlp(5, 6, 3), x, y, measures=[everything])
    assert (p.table["all"] == 90).all()


def test_only_the_stage_that_is_asked_for_is_kept(points):
    probe = Probe(
        name="path",
        level="subject",
        needs=[Need("rows", stage="output")],
        measure=lambda e: [stage.rows is not None for layer in e.parts for stage in layer.parts],
    )
    p = agop.profile(mlp(5, 6, 3), *points, measures=[probe])
    assert p.curves["value"].tolist() == [0, 0, 1, 0, 0, 1]


def test_one_layer_that_lacks_a_stage_does_not_end_a_path(generator):
    x = torch.randn(6, 3, generator=generator)
    views = [LayerView("a", x, x, x), LayerView("b", x, None, x), LayerView("c", x, x, x)]
    needs = [Need("rows", stage="projected")]
    path = Probe(name="path", level="subject", needs=needs, measure=lambda e: len(e.parts))
    p = agop.profile(views, x, [0, 1] * 3, measures=[path])
    assert p.whole["path"].tolist() == [2]
    assert p.notes == ["path is of the layers without b: they lack what it needs"]
    every = Probe(name="path", level="subject", needs=needs, measure=lambda e: len(e.parts), every_layer=True)
    assert agop.profile(views, x, [0, 1] * 3, measures=[every]).whole["path"].tolist() == [3]


def test_a_probe_that_raises_costs_nothing_else(points):
    broken = Probe(name="broken", measure=lambda e: 1 / 0)
    with pytest.warns(RuntimeWarning, match="broken at input: it raised ZeroDivisionError"):
        p = agop.profile(mlp(5, 6, 3), *points, measures=["nc1", broken])
    assert p.table["nc1"].notna().all()
    assert p.table["broken"].isna().all()
    assert "0, input: broken is undefined: it raised ZeroDivisionError: division by zero" in p.notes


def test_a_function_is_a_subject_without_layers(points):
    x, _ = points
    probe = Probe(
        name="n", level="subject", needs={"function", "inputs"}, measure=lambda e: e.function(e.inputs).sum()
    )
    p = agop.profile(lambda X: X**2, x, measures=[probe])
    assert p.whole["n"][0] == pytest.approx(float((x**2).sum()))
    assert p.table.empty
    assert "n: " in str(p)
    with pytest.raises(ValueError, match="measures: expected some for a subject without layers"):
        agop.profile(lambda X: X, x)


class Halving:
    """Anyone's subject with `views`."""

    def views(self, X):
        for number in range(3):
            yield LayerView(f"half {number}", X, None, X / 2)
            X = X / 2


def test_anything_with_views_is_a_subject(points):
    p = agop.profile(Halving(), *points)
    assert p.layers["name"].tolist() == ["half 0", "half 1", "half 2"]
    assert p.subject == "Halving"


class Known:
    """Anyone's source: it measures nothing and needs no samples."""

    kind, name, offers = "theory", "known", frozenset({"moments"})

    def read(self, data, needs):
        stage = Evidence(name="input", level="stage", number=1, known={"nc1": 0.5})
        yield Evidence(name="only", level="layer", number=1, parts=(stage,), known={"vector": [1.0, 2.0]})
        yield Evidence(name="known", level="subject")


def test_a_source_of_ones_own_joins_what_was_measured(points):
    vector = Probe(
        name="vector", level="layer", needs="weight", measure=lambda e: torch.linalg.svdvals(e.weight)
    )
    known = agop.profile(Known(), measures=["nc1", vector])
    assert known.table["nc1"].tolist() == [0.5]
    measured = agop.profile(mlp(5, 3), *points, measures=["nc1", vector])
    both = measured.beside(known)
    assert both["measure"].tolist() == ["nc1", "vector", "vector"]
    assert both["other"].tolist() == [0.5, 1.0, 2.0]
    assert both["name"].tolist() == ["0", "0", "0"]
    with pytest.raises(TypeError, match="other: expected a Profile"):
        measured.beside(3)


def test_labels_may_be_left_out_where_nothing_needs_them(points):
    x, _ = points
    p = agop.profile(mlp(5, 6, 3), x, measures=["nfa", rows_probe()])
    assert p.layers["nfa"].notna().all()
    assert p.table["mean_row"].notna().all()
    with pytest.raises(ValueError, match="y: expected one label per sample, got None"):
        agop.profile(mlp(5, 6, 3), x)


def test_profiles_of_format_1_are_read(points, tmp_path):
    from agop import _store

    p = agop.profile(mlp(5, 6, 3), *points)
    path = tmp_path / "p.safetensors"
    p.save(path)
    with safe_open(str(path), framework="pt") as stored:
        header = json.loads(stored.metadata()["agop"])
        tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    assert header["version"] == 2
    old = {name: header[name] for name in ("subject", "measures", "notes", "table", "layers")}
    tables = {name: value for name, value in tensors.items() if name.split(".")[0] in ("table", "layers")}
    _store.write(path, "profile", 1, old, tables)
    q = agop.Profile.load(path)
    pd.testing.assert_frame_equal(q.table, p.table, check_exact=True)
    assert str(q) == str(replace(p, scores=None))
    assert q.look("nc1").scale == "log"


def test_a_log_axis_shows_zeros_and_negative_values(points):
    signed = Probe(name="signed", scale="log", towards=1.0, measure=lambda e: [0.0, -1.0, 10.0][e.number % 3])
    p = agop.profile(mlp(5, 6, 4, 3), *points, measures=[signed])
    figure = p.plot().figure
    axis = figure.axes[0]
    assert axis.get_yscale() == "symlog"
    assert sorted(axis.lines[0].get_ydata()) == [-1.0, 0.0, 10.0]
    plt.close(figure)


def test_profile_has_seven_parameters():
    import inspect

    assert len(inspect.signature(agop.profile).parameters) == 7


def test_nothing_warns_in_the_new_spelling(points):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        agop.profile(Network(mlp(5, 6, 3), pool="flatten"), *points, measures=["nc1", "dse", "dsmi", "nfa"])
