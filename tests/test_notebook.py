"""Objects in a notebook: tables with every column, figures that are shown once."""

from __future__ import annotations

import math
from html.parser import HTMLParser

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator

import agop
from agop._plotting import COLUMN, styled
from agop._tables import Cell, shades, table
from agop.measurement import Measurement

mpl.use("agg")
EVIL = "<script>alert(1)</script>\"'"


class Table(HTMLParser):
    """Headings, and cells as (text, attributes) by row."""

    def __init__(self, html):
        super().__init__()
        self.head, self.rows, self.tags, self._in = [], [], [], None
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self._in = tag
        if tag == "tr":
            self.rows.append([])
        if tag == "td":
            self.rows[-1].append(("", dict(attributes)))
        if tag == "th":
            self.head.append("")

    def handle_endtag(self, tag):
        self._in = None

    def handle_data(self, data):
        if self._in == "td":
            text, attributes = self.rows[-1][-1]
            self.rows[-1][-1] = (text + data, attributes)
        if self._in == "th":
            self.head[-1] += data

    def column(self, name):
        return [row[self.head.index(name)] for row in self.rows if row]


@pytest.fixture(scope="module")
def measured():
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(40, 6, generator=generator)
    y = torch.arange(40) % 2
    net = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.ReLU(), torch.nn.Linear(5, 2))
    return net, X, y, agop.profile(net, X, y)


def test_a_profile_has_a_cell_for_every_number(measured):
    *_, p = measured
    found = Table(p._repr_html_())
    assert found.head[:2] == ["layer", "name"]
    assert {f"nc1 {stage}" for stage in ("input", "projected", "output")} <= set(found.head)
    assert set(p.layers.columns) <= set(found.head)
    wide = p.table[p.table["stage"] == "projected"]["nc1"]
    assert [text for text, _ in found.column("nc1 projected")] == [f"{value:.3g}" for value in wide]
    depths = [float(a["style"].split(",")[-1].rstrip(")")) for _, a in found.column("nc1 projected")]
    assert np.argsort(depths).tolist() == np.argsort(wide.to_numpy()).tolist()


def test_an_undefined_value_of_a_profile_says_why(measured):
    net, *_ = measured
    X, y = torch.ones(4, 6), torch.tensor([0, 0, 1, 1])
    p = agop.profile(net, X, y, measures=["nc1"])
    text, attributes = Table(p._repr_html_()).column("nc1 input")[0]
    assert text == "–"
    assert "equal" in attributes["title"]


def test_texts_of_others_are_escaped():
    html = table(EVIL, [EVIL], [[Cell(EVIL, EVIL)], [EVIL]], [EVIL])
    assert "script" not in Table(html).tags
    assert Table(html).rows[1][0] == (EVIL, {"class": "word", "title": EVIL})
    assert "script>" not in Measurement.undefined(EVIL, EVIL, EVIL)._repr_html_().replace("&gt;", "")


def test_measurements_reports_and_agops_are_tables(measured):
    net, X, y, _ = measured
    assert Table(Measurement(0.25, "nc1", "trace")._repr_html_()).column("value")[0][0] == "0.25"
    undefined = Table(Measurement.undefined("nc1", "trace", "no classes")._repr_html_())
    assert undefined.column("value")[0][1]["title"] == "no classes"
    report = agop.collapse_report(X, y)
    assert [text for text, _ in Table(report._repr_html_()).column("measure")] == list(report.measurements)
    empty = agop.collapse_report(torch.full((4, 2), 0.1), y[:4])
    assert "equal" in Table(empty._repr_html_()).column("value")[0][1]["title"]
    agops = agop.layer_agops(net, X)
    found = Table(agops._repr_html_())
    assert [text for text, _ in found.column("shape")] == ["6×6", "5×5"]
    assert [text for text, _ in found.column("trace")] == [f"{float(A.trace()):.3g}" for A in agops.values()]


def test_shades_are_of_the_defined_values():
    assert shades([2.0, 2.0]) == [0.0, 0.0]
    assert shades([math.nan, 0.0, 1.0, math.inf], log=True) == [None, None, 0.0, None]
    assert shades([]) == []


def test_a_plot_is_shown_once_and_its_files_keep_their_text(measured, tmp_path):
    """A notebook shows open figures of pyplot after a cell, and what the last line gives, if that is a figure."""
    *_, p = measured
    plt.close("all")
    before = dict(mpl.rcParams)
    axes = p.plot("nc1")
    assert isinstance(axes, mpl.axes.Axes)
    assert len(plt.get_fignums()) == 1
    axes.figure.savefig(tmp_path / "f.svg")
    axes.figure.savefig(tmp_path / "f.pdf")
    assert "<text" in (tmp_path / "f.svg").read_text()
    assert b"/FontFile2" in (tmp_path / "f.pdf").read_bytes()
    with pytest.warns(DeprecationWarning, match=r"plot\(…\)\.figure\.savefig"):
        axes.savefig(tmp_path / "old.svg")
    assert dict(mpl.rcParams) == before
    plt.close("all")


def test_a_column_of_a_paper_is_narrow_and_its_letters_are_small(measured):
    net, X, y, p = measured
    trajectory = agop.Trajectory(X, y, measures=["nc1"])
    trajectory.record(net, 0)
    display = agop.AgopDisplay(np.array([0.7, 0.3]), ["a", "b"], np.diag([0.7, 0.3]), ["a", "b"])
    drawn = [
        p.plot("nc1", style="paper"),
        trajectory.plot(style="paper"),
        agop.collapse_report(X, y).plot(style="paper"),
    ]
    drawn += [display.plot(style="paper").ax_]
    for axes in drawn:
        assert axes.figure.get_size_inches()[0] == pytest.approx(COLUMN)
        assert axes.xaxis.label.get_fontsize() == 7
    with pytest.raises(ValueError, match="style"):
        p.plot("nc1", style="poster")
    with pytest.raises(ValueError, match="style"), styled("wide"):
        pass
    plt.close("all")


ESTIMATORS = [
    name
    for name in agop.__all__
    if isinstance(getattr(agop, name), type) and issubclass(getattr(agop, name), BaseEstimator)
]


def test_all_estimators_are_tried():
    assert {
        "RFMRegressor", "RFMClassifier", "RFMRegressorCV", "RFMClassifierCV", "DeepRFMRegressor", "DeepRFMClassifier",
        "ConvRFMRegressor", "ConvRFMClassifier", "DeepConvRFMClassifier",
    } <= set(ESTIMATORS)  # fmt: skip


@pytest.mark.parametrize("name", ESTIMATORS)
def test_estimators_are_shown_as_those_of_scikit_learn(name):
    assert name in getattr(agop, name)()._repr_html_()


@pytest.mark.parametrize(
    "model",
    [
        agop.ConvRFMClassifier(n_iter=2),
        agop.ConvRFMRegressor(n_iter=2),
        agop.DeepRFMRegressor(n_layers=1, width=8),
    ],
    ids=lambda model: type(model).__name__,
)
def test_a_fitted_estimator_says_so_and_what_it_was_given(model):
    X = np.random.default_rng(0).normal(size=(12, 1, 8, 8)).astype(np.float32)
    before = model._repr_html_()
    html = model.fit(
        X if "Conv" in type(model).__name__ else X.reshape(12, -1), np.arange(12) % 2
    )._repr_html_()
    assert "<span>Not fitted</span>" in before
    assert "<span>Fitted</span>" in html
    assert ("n_iter" if "Conv" in type(model).__name__ else "n_layers") in html
