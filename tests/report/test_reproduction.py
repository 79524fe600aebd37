from __future__ import annotations

import json
import re

import numpy as np
import pytest
from matplotlib.figure import Figure

from agop.experiments.studies.beaglehole2024 import AMOUNTS
from agop.report import reproduction
from agop.report.reproduction import is_reproduction, number, write_reproduction
from tests.experiments.tiny import tiny


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    saved = AMOUNTS["smoke"]
    out = tmp_path_factory.mktemp("page") / "run"
    tiny(out, "beaglehole2024:theory", seeds=(0, 1))
    AMOUNTS["smoke"] = saved
    return write_reproduction(out)


def test_every_verdict_is_on_the_page_with_its_reason_and_files(page):
    text = page.read_text(encoding="utf-8")
    entries = json.loads((page.parent / "verdicts.json").read_text())["verdicts"]
    assert len(entries) > 8
    for entry in entries:
        assert f'<th scope="row">{entry["id"]}</th>' in text
        assert entry["because"].split(";")[0][:30].replace("'", "&#39;") in text
        assert number(entry["mean"], entry["std"]) in text
    for link in re.findall(r'href="([^"#:]+)"', text):
        assert (page.parent / link).exists(), link


def test_the_page_asks_no_network_for_anything(page):
    text = page.read_text(encoding="utf-8")
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', text)
    assert not re.findall(r"<script[^>]* src=", text)
    assert "<img" not in text
    assert all(
        uri.startswith(("data:image/png", "#"))
        for uri in re.findall(
            r'(?<![a-z]) href="([^"]{0,20})"', " ".join(re.findall(r"<(?:use|image) [^>]*>", text))
        )
    )
    assert text.count("<svg") == text.count('aria-hidden="true"')


def test_all_figures_are_there_and_the_page_is_the_same_again(page, monkeypatch):
    folder = page.parent / "figures" / "beaglehole2024" / "digits"
    stems = {path.stem for path in folder.iterdir()}
    assert {
        "linearised-toy",
        "linearised-digits",
        "linearised-rates",
        "reach",
        "kernel-distance",
        "kernel-matrices",
    } <= stems
    assert {path.suffix for path in folder.iterdir()} == {".png", ".svg"}
    before = page.read_bytes()
    monkeypatch.setattr(reproduction.figures, "save", lambda figure, folder, stem: None)
    assert write_reproduction(page.parent).read_bytes() == before


def test_other_directories_are_refused(tmp_path, page):
    assert is_reproduction(page.parent)
    assert not is_reproduction(tmp_path)
    (tmp_path / "config.json").write_text('{"kind": "deep-rfm", "format": 1}')
    with pytest.raises(ValueError, match="reproduc"):
        write_reproduction(tmp_path)


def test_numbers():
    assert number(None, None) == "–"
    assert number(0.5, None) == "0.5"
    assert number(1.23456, 0.0123) == "1.23 ± 0.012"


def _empty(figure, folder, stem):
    for suffix in ("png", "svg"):
        (folder / f"{stem}.{suffix}").touch()


@pytest.mark.slow
def test_data_sets_whose_names_contain_each_other_show_their_own_gram_matrices(tmp_path, monkeypatch):
    monkeypatch.setitem(AMOUNTS, "smoke", AMOUNTS["smoke"])
    rng = np.random.default_rng(0)
    for name, classes in (("mnist", 3), ("fashion_mnist", 2)):
        y = np.arange(60) % classes
        x = rng.normal(size=(60, 6)) + 2 * np.eye(6)[y]
        np.savez(tmp_path / f"{name}.npz", x_train=x[:40], y_train=y[:40], x_test=x[40:], y_test=y[40:])
    sets = tuple(str(tmp_path / f"{name}.npz") for name in ("fashion_mnist", "mnist"))
    out = tmp_path / "run"
    tiny(out, "beaglehole2024:deep-rfm", data=sets)
    shown = {}
    monkeypatch.setattr(
        reproduction.figures,
        "gram_grid",
        lambda matrices, labels, names, *, title: shown.setdefault(title, set(labels.tolist())) and Figure(),
    )
    monkeypatch.setattr(reproduction.figures, "save", _empty)
    reproduction.write_reproduction(out)
    for data, labels in (("on mnist", {0, 1, 2}), ("on fashion_mnist", {0, 1})):
        assert {frozenset(found) for title, found in shown.items() if data in title} == {frozenset(labels)}
    assert len(shown) == 4
