"""A measure of one's own reaches tables, figures, the page and the JSON by its registry line alone, and stays when its package goes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import torch

import agop
from agop.experiments.run import run
from agop.experiments.subjects.deep_rfm_config import DeepRFMConfig
from agop.experiments.subjects.network_config import NetworkConfig
from agop.experiments.subjects.user_model_config import ProfileConfig
from agop.probes import PROBES
from agop.profiles.shown import Shown
from agop.report import RunRecord, figures, style, write_comparison, write_report
from agop.report.series import series_figure

mpl.use("agg")

BENDING = """
from agop import Probe
from agop.probe import Curve

SIGNS = {"input": -1.0, "projected": -0.25, "output": 0.5}

BENT = Probe(
    name="bent", label="mean bend", short="bend", meaning="below zero it bends inwards", scale="linear", towards=0.0,
    needs={"rows"}, measure=lambda e: SIGNS[e.name] / len(e.rows) * 100,
)
RARE = Probe(
    name="rare", label="rare events", meaning="how many there are", scale="log", towards="higher", needs={"rows"},
    measure=lambda e: 0.0 if e.name == "input" else 0.01 if e.name == "projected" else 30.0,
)
DEEP = Probe(name="deep", label="depth so far", level="layer", needs=(), towards="lower", measure=lambda e: -float(e.number))
PATH = Probe(
    name="path", label="length of the path", level="subject", needs={"rows"}, meaning="over all layers",
    measure=lambda e: -len(e.parts) - 0.5,
)
LINE = Probe(
    name="line", label="a line", level="layer", needs=(), measure=lambda e: Curve([1, 2, 3], [-1.0, 0.0, 2.0 * e.number]),
)
"""
ASKED = ("nc1", "bent", "rare", "deep", "path", "line")
SMALL = {"n_train": 120, "n_test": 40}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Three packages as they lie in site-packages: one that works, one that is broken, one that registers what is no probe."""
    place = tmp_path_factory.mktemp("site")
    points = "".join(
        f"{name.lower()} = bending:{name}\n" for name in ("BENT", "RARE", "DEEP", "PATH", "LINE")
    )
    for package, lines in (
        ("bending", points),
        ("broken", "bug = broken_probes:BUG\n"),
        ("odd", "odd = math:pi\n"),
    ):
        info = place / f"{package}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[agop.probes]\n{lines}")
    (place / "bending.py").write_text(BENDING)
    (place / "broken_probes.py").write_text("1 / 0\n")
    return place


@pytest.fixture(scope="module")
def plugged(site, tmp_path_factory):
    """A run of `agop deep-rfm` where the packages are installed: its directory, and what it printed."""
    out = tmp_path_factory.mktemp("plugged") / "run"
    words = ["deep-rfm", "--n-train", "120", "--n-test", "40", "--layers", "2", "--width", "32"]
    words += ["--measures", "nc1,bent,rare", "--measures", "deep,path,line", "--out", str(out)]
    paths = os.pathsep.join([str(site), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-c", "from agop.cli import main; main()", *words],
        capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": paths},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return out, done


def charts_of(html):
    text = re.search(r'<script id="data" type="application/json">(.*?)</script>', html, re.DOTALL)[1]
    return {chart["id"]: chart for chart in json.loads(text)}


@pytest.mark.slow
def test_plug_ins_are_in_the_tables_and_the_json(plugged):
    out, done = plugged
    profile, layers = pd.read_csv(out / "profile.csv"), pd.read_csv(out / "layers.csv")
    assert list(profile) == ["layer", "name", "stage", "nc1", "bent", "rare"]
    assert (profile["bent"] < 0).sum() == 4
    assert (profile["rare"] == 0).sum() == 2
    assert layers["deep"].tolist() == [-1.0, -2.0]
    assert "drop_projection" not in layers  # nobody asked
    assert pd.read_csv(out / "whole.csv")["path"].tolist() == [-2.5]
    curves = pd.read_csv(out / "curves.csv")
    assert curves["value"].tolist() == [-1.0, 0.0, 2.0, -1.0, 0.0, 4.0]
    told = json.loads((out / "result.json").read_text())["measures"]
    assert set(told) == set(ASKED)
    assert told["bent"] == {
        "label": "mean bend", "meaning": "below zero it bends inwards", "scale": "linear", "towards": 0.0, "level": "stage",
        "short": "bend",
    }  # fmt: skip
    assert (
        "--measures nc1,bent,rare,deep,path,line" in json.loads((out / "config.json").read_text())["command"]
    )
    for words in ("bend", "rare events", "depth so far", "length of the path", "-2.5"):
        assert words in done.stdout


@pytest.mark.slow
def test_a_broken_plug_in_is_named_and_costs_nothing_else(plugged):
    out, done = plugged
    assert (
        "the plug-in 'bug' of broken (entry point agop.probes) can't be loaded (ZeroDivisionError"
        in done.stderr
    )
    assert (out / "report.html").exists()


@pytest.mark.slow
def test_the_page_and_the_figures_are_made_again_without_the_plug_ins(plugged):
    out, _ = plugged
    assert "bent" not in PROBES
    first = (out / "report.html").read_bytes()
    assert write_report(out).read_bytes() == first
    html = first.decode()
    for words in (
        "bend by layer",
        "below zero it bends inwards",
        "rare events by layer",
        "length of the path",
    ):
        assert words in html
    for stem in ("bent", "rare", "deep", "curve-line"):
        assert (out / "figures" / f"{stem}.svg").stat().st_size > 1000
    charts = charts_of(html)
    assert list(charts) == ["nc1", "bent", "rare", "deep", "accuracy", "curve-line"]
    (bent,), (rare,) = charts["bent"]["panels"], charts["rare"]["panels"]
    assert min(min(curve["value"]) for curve in bent["curves"]) == pytest.approx(-100 / 120)
    assert bent["words"][1] == "bend"
    assert "the dotted line at 0 is collapse" in html
    assert min(min(curve["value"]) for curve in rare["curves"]) == 0
    assert rare["words"][1] == "rare events, collapse ↑ (log scale, linear about 0)"
    assert charts["nc1"]["panels"][0]["words"][1] == "NC1 (log scale)"


@pytest.mark.slow
def test_two_runs_of_which_one_knows_a_measure_share_a_page(plugged, make_run, tmp_path):
    html = write_comparison([make_run("plain"), plugged[0]], tmp_path / "c.html").read_text(encoding="utf-8")
    assert "mean bend" not in html
    assert "bend by layer" in html


@pytest.fixture
def registered():
    names = {}
    exec(BENDING, names)
    for name in ASKED[1:]:
        PROBES.add(name, names[name.upper()])
    yield
    for name in ASKED[1:]:
        PROBES.remove(name)


@pytest.mark.slow
def test_a_network_measures_them_through_training(registered, tmp_path):
    config = NetworkConfig(
        **SMALL, width=16, depth=2, epochs=2, measure_every=1, measures="nfa,bent,rare,path"
    )
    run("network", config, tmp_path / "run")
    write_report(tmp_path / "run")
    record = RunRecord.load(tmp_path / "run")
    assert record.measures == ("bent", "rare")
    assert record.whole["path"].tolist() == [-3.5]
    assert pd.read_csv(tmp_path / "run" / "through_whole.csv")["epoch"].tolist() == [0, 1, 2]
    assert {"training-bent.svg", "training-rare.svg", "nfa.svg"} <= {
        path.name for path in (tmp_path / "run" / "figures").iterdir()
    }
    assert (
        "bend of the stages of each layer" in (tmp_path / "run" / "figures" / "training-bent.svg").read_text()
    )


def test_a_model_of_ones_own_is_measured_by_them(registered, tmp_path):
    config = ProfileConfig(
        n_train=60, model="tests.report.test_own_measures:two_layers", measures="nc4,nc3_cosine,bent"
    )
    run("profile", config, tmp_path / "run")
    write_report(tmp_path / "run")
    layers = pd.read_csv(tmp_path / "run" / "layers.csv")
    assert layers["nc4"].notna().tolist() == [False, True]
    assert layers["nc3_cosine"].notna().tolist() == [False, True]
    assert RunRecord.load(tmp_path / "run").measures == ("bent",)


def two_layers():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(64, 12), torch.nn.ReLU(), torch.nn.Linear(12, 10))


def test_the_default_is_no_part_of_a_runs_identity_and_other_names_are_refused_before_anything_is_fitted(
    tmp_path,
):
    assert "measures" not in DeepRFMConfig().identity()
    assert DeepRFMConfig(measures=["nc1, nc2", "nc1"]).identity()["measures"] == ["nc1", "nc2"]
    with pytest.raises(ValueError, match="measures: expected one of 'nc1', .* got 'none'"):
        DeepRFMConfig(measures="nc1,none")
    with pytest.raises(TypeError, match="measures: expected names, got 3"):
        DeepRFMConfig(measures=3)
    with pytest.raises(ValueError, match="measures: expected one of .* got 'nc3'"):
        run("deep-rfm", DeepRFMConfig(**SMALL, measures="nc3"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def frame(values, stages=("input", "output")):
    return pd.DataFrame(
        [{"layer": n, "stage": stage, "m": v} for stage in stages for n, v in enumerate(values, start=1)]
    )


def drawn(figure):
    """Scale, label, and the heights on the screen of every curve."""
    figure.draw_without_rendering()
    axes = figure.axes[0]
    curves = [line.get_xydata() for line in axes.get_lines() if len(line.get_xydata()) > 2]
    return axes, np.concatenate([axes.transData.transform(curve)[:, 1] for curve in curves])


@pytest.mark.parametrize(
    "values", [[-1.0, 0.0, 0.5], [0.0, 1e-3, 20.0], [-5.0, -2.0, -0.1], [0.0, 1e-300, 1.0]]
)
def test_a_log_axis_masks_nothing(values):
    axes, heights = drawn(figures.stage_curves(frame(values), "m", title="", look=Shown("M", scale="log")))
    assert axes.get_yscale() == "symlog"
    assert axes.get_ylabel() == "M\n(log scale, linear about 0)"
    assert np.isfinite(heights).all()
    assert len({tick.label1.get_text() for tick in axes.yaxis.get_major_ticks()}) >= 3


def test_a_linear_axis_draws_its_goal_and_an_arrow_says_the_direction():
    look = Shown("M", scale="linear", towards=0.25)
    axes, heights = drawn(figures.stage_curves(frame([-1.0, 0.2, 1.0]), "m", title="", look=look))
    assert axes.get_yscale() == "linear"
    assert np.isfinite(heights).all()
    (goal,) = [line for line in axes.get_lines() if line.get_linestyle() == ":"]
    assert list(goal.get_ydata()) == [0.25, 0.25]
    assert style.axis_title(Shown("M", towards="higher")) == "M, collapse ↑"
    assert style.axis_title(Shown("Measure", towards="lower", short="M")) == "M"


def test_series_on_a_log_axis_keep_zeros():
    rows = pd.DataFrame({"x": [1, 2, 3], "y": [0.0, 0.1, 10.0], "s": "a"})
    axes, heights = drawn(series_figure(rows, "x", "y", "s", title="", subtitle="", labels=("x", "y")))
    assert axes.get_yscale() == "symlog"
    assert np.isfinite(heights).all()


def test_stages_of_any_name_are_drawn(make_run):
    folder = make_run(with_gram=False)
    table = pd.read_csv(folder / "profile.csv")
    table["stage"] = table["stage"].map({"input": "output", "projected": "gate", "output": "7 /heads"})
    table.to_csv(folder / "profile.csv", index=False)
    labels = np.repeat([0, 1], 3)
    names = np.array(["a", "b"])
    np.savez(
        folder / "gram.npz", labels=labels, class_names=names, **{"1/gate": np.eye(6), "1/output": np.eye(6)}
    )
    html = write_report(folder).read_text(encoding="utf-8")
    (panel,) = charts_of(html)["nc1"]["panels"]
    assert [curve["name"] for curve in panel["curves"]] == ["output", "gate", "7 /heads"]
    assert "NC1 7 /heads" in html
    marks = style.stages(["output", "gate", "7 /heads"])
    assert len({mark.colour for mark in marks.values()}) == len({mark.marker for mark in marks.values()}) == 3


def test_a_column_that_no_probe_knows_has_its_own_name(make_run):
    folder = make_run()
    table = pd.read_csv(folder / "profile.csv").assign(**{"home made/1": -1.0})
    table.to_csv(folder / "profile.csv", index=False)
    html = write_report(folder).read_text(encoding="utf-8")
    assert "home made/1 by layer" in html
    assert (folder / "figures" / "home-made-1.svg").exists()


def test_measures_that_are_none_are_one_sentence(make_run):
    with pytest.raises(ValueError, match=r"measures in result.json as a run writes them"):
        RunRecord.load(make_run(measures={"nc1": {"label": 3}}))


def test_the_plot_of_a_profile_draws_negative_values():
    names = {}
    exec(BENDING, names)
    X, y = torch.randn(40, 6, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 2
    net = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.ReLU(), torch.nn.Linear(5, 2))
    p = agop.profile(net, X, y, measures=[names["BENT"], names["RARE"]])
    axes, heights = drawn_lines(p.plot("bent").figure)
    assert (axes.get_yscale(), axes.get_ylabel()) == ("linear", "mean bend")
    assert len(heights) == 6
    assert np.isfinite(heights).all()
    axes, heights = drawn_lines(p.plot("rare").figure)
    assert (axes.get_yscale(), axes.get_ylabel()) == ("symlog", "rare events\ncollapse ↑")
    assert np.isfinite(heights).all()


def drawn_lines(figure):
    figure.draw_without_rendering()
    axes = figure.axes[0]
    curves = [line for line in axes.get_lines() if line.get_linestyle() != ":"]
    return axes, np.concatenate([axes.transData.transform(line.get_xydata())[:, 1] for line in curves])
