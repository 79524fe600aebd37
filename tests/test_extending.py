"""The examples that add something pass what the members of the package pass; those of CONTRIBUTING work as they stand."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.neural_network import MLPClassifier
from torch import nn

import agop
from agop import PROBES
from agop.cli import main
from agop.datasets import DATA
from agop.experiments.configuration import options
from agop.experiments.run import run
from agop.experiments.studies import STUDIES
from agop.experiments.subjects import SUBJECTS
from agop.experiments.subjects.deep_rfm_config import DeepRFMConfig
from agop.kernels import KERNELS
from tests.conformance.kernels import RadialConformance
from tests.conformance.probes import check_probe
from tests.conformance.studies import check_study
from tests.conformance.subjects import check_subject
from tests.oracles import kernels as oracle

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"


def definitions(example):
    """The imports, classes and functions of an example, without what it computes with them."""
    kinds = (ast.Import, ast.ImportFrom, ast.ClassDef, ast.FunctionDef)
    tree = ast.parse((EXAMPLES / example).read_text(encoding="utf-8"))
    names = {"__name__": __name__}
    body = ast.Module([node for node in tree.body if isinstance(node, kinds)], [])
    exec(compile(body, example, "exec"), names)
    return names


Matern = definitions("developer/plot_02_add_a_kernel.py")["Matern"]
margin_ratio = definitions("developer/plot_01_add_a_probe.py")["margin_ratio"]
mlp_views = definitions("developer/plot_03_add_a_subject.py")["mlp_views"]


class TestMatern(RadialConformance):
    name, parameters = "matern", {"bandwidth": 2.0}
    kernel = Matern(bandwidth=2.0)

    @pytest.fixture(autouse=True)
    def _textbook(self, monkeypatch):
        def formula(r, p):
            s = 3**0.5 * r / p["bandwidth"]
            return (1 + s) * torch.exp(-s)

        monkeypatch.setitem(oracle.FORMULAS, "matern", formula)


def block(word):
    """The block of Python in CONTRIBUTING that contains a word."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (found,) = (
        code for code in re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL) if word in code
    )
    return found


@pytest.fixture
def registered(tmp_path, monkeypatch):
    """The files of CONTRIBUTING, each with its registry line."""
    (tmp_path / "rings_of_contributing.py").write_text(block("RINGS"))
    (tmp_path / "range_of_contributing.py").write_text(block("RANGE"))
    (tmp_path / "quadratic_of_contributing.py").write_text(block("RationalQuadratic"))
    (tmp_path / "principal_of_contributing.py").write_text(block("PCAConfig"))
    (tmp_path / "study_of_contributing.py").write_text(block("STUDY"))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(PROBES._lines, "range", "range_of_contributing:RANGE")
    monkeypatch.setitem(KERNELS._lines, "rational-quadratic", "quadratic_of_contributing:RationalQuadratic")
    monkeypatch.setitem(DATA._lines, "rings", "rings_of_contributing:RINGS")
    monkeypatch.setitem(SUBJECTS._lines, "pca", "principal_of_contributing:KIND")
    monkeypatch.setitem(STUDIES._lines, "radhakrishnan2022", "study_of_contributing:STUDY")


def test_a_data_set_is_one_file_and_one_line(registered):
    data = agop.datasets.load("rings", seed=1)
    assert "rings" in [source.name for source in agop.datasets.available()]
    assert data.source == "agop's rings (seed 1, noise 0.1): all 500 training points, all 100 test points."
    assert data.shape == DATA["rings"].shape == (2,)
    assert (len(data.x_train), len(data.x_test)) == (DATA["rings"].n_train, DATA["rings"].n_test)
    assert data.fingerprint() == agop.datasets.load("rings", seed=1).fingerprint()
    assert data.fingerprint() != agop.datasets.load("rings", seed=2).fingerprint()
    exact = agop.datasets.load("rings", seed=1, parameters={"noise": 0})
    assert np.linalg.norm(exact.x_train, axis=1) == pytest.approx(1 + exact.y_train)
    with pytest.raises(ValueError, match=r"parameters: expected those of 'rings' \(noise\), got 'turns'"):
        agop.datasets.load("rings", parameters={"turns": 2})


def test_a_subject_with_a_verb_is_one_file_and_one_line(registered, tmp_path, capsys):
    words = ["pca", "--data", "rings", "--components", "1", "--out", str(tmp_path / "run")]
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert not caught.value.code
    assert "NC1 of the components is" in capsys.readouterr().out
    command = json.loads((tmp_path / "run" / "config.json").read_text())["command"]
    assert command == "agop pca --data rings --subset first --components 1 --seed 0 --device cpu"
    kind = SUBJECTS["pca"]
    assert not run(kind, kind.config(data="rings", components=1), tmp_path / "run")
    with pytest.raises(TypeError, match="config: expected a PCAConfig, got DeepRFMConfig"):
        run("pca", SUBJECTS["deep-rfm"].config(), tmp_path / "run")


def test_a_study_is_one_file_and_one_line(registered, tmp_path, capsys):
    check_study(STUDIES["radhakrishnan2022"])
    out = tmp_path / "run"
    with pytest.raises(SystemExit) as caught:
        main(["reproduce", "radhakrishnan2022", "--jobs", "1", "--out", str(out)])
    assert not caught.value.code
    told = capsys.readouterr().out
    assert "Of 1 claim of the paper, 1 holds; 1 of 1 controls come out negative." in told
    tables = {path.name for path in (out / "tables" / "radhakrishnan2022" / "product").iterdir()}
    assert tables == {"target-share.csv", "shuffled-share.csv"}
    assert (out / "figures" / "radhakrishnan2022" / "product" / "share.svg").exists()
    assert "Features that an RFM finds" in (out / "report.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_study_of_the_gallery_is_that_of_contributing(registered):
    """Its verdicts are those of the file, and nothing of it stays registered."""
    environment = os.environ | {"MPLBACKEND": "agg", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "developer/plot_04_add_a_study.py")],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    for claim, verdict in zip(
        STUDIES["radhakrishnan2022"].claims_of("smoke"), ("holds", "does not hold"), strict=True
    ):
        assert re.search(rf"^{claim.id}  {re.escape(claim.says)}  .*: {verdict}$", done.stdout, re.MULTILINE)


def test_a_probe_is_one_file_and_one_line(registered, points):
    check_probe(PROBES["range"])
    X, y = points
    table = agop.profile(nn.Linear(6, 3).double(), X, y, measures=["nc1", "range"]).to_frame()
    assert table["range"].iloc[0] == pytest.approx(float((X.amax(0) - X.amin(0)).mean()))


def test_a_kernel_is_one_file_and_one_line(registered, points, tmp_path):
    X, y = points
    model = agop.RFMClassifier(kernel="rational-quadratic", bandwidth=3.0, n_iter=1).fit(X, y)
    assert model.score(X, y) > 0.9
    model.save(tmp_path / "model.safetensors")
    assert (
        agop.RFMClassifier.load(tmp_path / "model.safetensors").predict(X.numpy()) == model.predict(X)
    ).all()
    assert "rational-quadratic" in [
        name for entry, about in options(DeepRFMConfig) if entry.name == "kernel" for name in about.choices
    ]


def test_a_subject_is_anything_with_views(points):
    names = {}
    exec(block("class Halving"), names)
    X, y = points
    check_subject(lambda: names["Halving"]().views(X), X, y)
    assert agop.profile(names["Halving"](), X, y).layers["name"].tolist() == ["half 1", "half 2", "half 3"]


def example_probe():
    tree = ast.parse((EXAMPLES / "developer/plot_01_add_a_probe.py").read_text(encoding="utf-8"))
    (call,) = (
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "agop.Probe"
    )
    return eval(ast.unparse(call), {"agop": agop, "margin_ratio": margin_ratio})


def test_the_probe_of_the_example():
    check_probe(example_probe())
    x = torch.tensor([[-1.0, 0], [1, 0], [9, 0], [11, 0]])
    assert margin_ratio(agop.ClassMoments.of(x, torch.tensor([0, 0, 1, 1]))) == pytest.approx(1 / 5)


def test_a_probe_of_ones_own_is_measured_in_networks_and_machines(points):
    X, y = points
    for subject in (nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)).double(), machine(X, y)):
        table = agop.profile(subject, X, y, measures=[example_probe()]).to_frame()
        assert (table["margin_ratio"] > 0).all()


@pytest.fixture
def points(generator):
    y = torch.arange(60) % 3
    return torch.randn(60, 6, generator=generator, dtype=torch.float64) + 2 * nn.functional.one_hot(y, 6), y


def machine(X, y):
    return agop.DeepRFMClassifier(n_layers=2, width=16, random_state=0).fit(X, y)


def test_subjects(points, generator):
    X, y = points
    model = machine(X, y)
    check_subject(lambda: model.views(X), X, y)
    network = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)).double()
    check_subject(lambda: agop.Network(network).views(X), X, y)
    mlp = MLPClassifier((8, 7), solver="lbfgs", max_iter=500, random_state=0).fit(X.numpy(), y.numpy())
    check_subject(lambda: mlp_views(mlp, X.numpy()), X, y)
    logits = mlp.predict_proba(X.numpy()).argmax(1)
    assert (list(mlp_views(mlp, X.numpy()))[-1].output.argmax(1).numpy() == logits).all()
