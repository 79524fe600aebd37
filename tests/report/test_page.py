from __future__ import annotations

import base64
import io
import json
import re
from html.parser import HTMLParser
from itertools import pairwise
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image

from agop._csv import read_csv
from agop.report import RunRecord, style, write_comparison, write_report
from agop.report.images import mean_cosines
from agop.report.page import render
from tests.sentences import one_sentence


class Document(HTMLParser):
    """Tags with their attributes, and the text outside of scripts and styles."""

    VOID = frozenset({"meta", "link", "img", "input", "br"})

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self._open = [], "", []
        self.feed(text)
        assert not self._open, f"never closed: {self._open}"

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open and self._open[-1] not in ("script", "style"):
            self.text += data

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def page_of(folder):
    """The page of a run, without the figures beside it."""
    return render([RunRecord.load(folder)])


def test_the_page_of_a_run(make_run, all_formats):
    folder = make_run(
        headline="NC1 falls 99×.", notes=["Layer 3: jitter 1e-8."], facts={"Data": "digits, 1,400 points"}
    )
    page = Document(write_report(folder).read_text(encoding="utf-8"))
    for words in (
        "NC1 falls 99×.",
        "Layer 3: jitter 1e-8.",
        "digits, 1,400 points",
        "agop deep-rfm --data digits",
    ):
        assert words in page.text
    assert "arXiv 2402.13728" in page.text
    assert page.all("html") == [{"lang": "en"}]
    headings = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert headings[0] == 1
    assert headings.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(headings))
    assert len({a["id"] for _, a in page.tags if "id" in a}) == sum("id" in a for _, a in page.tags)
    for name in ("nc1", "nc2", "accuracy", "gram"):
        for suffix in ("png", "svg", "pdf"):
            assert (folder / "figures" / f"{name}.{suffix}").stat().st_size > 1000


def test_nothing_is_fetched(make_run):
    page = Document(page_of(make_run()))
    for tag, attributes in page.tags:
        for name in ("src", "href", "srcset", "action"):
            if name in attributes:
                assert attributes[name].startswith(("data:", "#")), (tag, attributes[name])
    policy = next(a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy
    assert "http" not in policy


def test_texts_of_a_run_are_shown_and_never_run(make_run):
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
    folder = make_run(title=evil, headline=evil, notes=[evil], facts={evil: evil})
    html = page_of(folder)
    page = Document(html)
    assert page.text.count("alert(1)") >= 5
    assert len(page.all("script")) == 3
    assert not any("onerror" in attributes for _, attributes in page.tags)
    assert "&lt;dog&gt;" in html


def test_a_hostile_directory_name_stays_text(make_run, tmp_path):
    runs = [make_run("<script>alert(1)<"), make_run("other")]
    page = Document(write_comparison(runs, tmp_path / "c.html").read_text(encoding="utf-8"))
    assert len(page.all("script")) == 3


def test_images_say_what_they_show(make_run):
    page = Document(page_of(make_run()))
    images = page.all("img")
    assert len(images) == 6
    expected = "Gram matrix of the projected stage at layer 1: mean cosine 1.00 within classes, −0.50 between"
    assert images[1]["alt"].startswith(expected)
    picture = Image.open(io.BytesIO(base64.b64decode(images[1]["src"].split(",")[1]))).convert("RGB")
    pixels = np.asarray(picture)
    assert pixels.shape[0] >= 200
    assert (pixels[5, 5] == pixels[-5, -5]).all()  # within the first and the last class
    assert pixels[5, 5][0] > pixels[5, 5][2]  # red
    assert pixels[5, -5][2] > pixels[5, -5][0]  # blue


def test_curves_hold_the_numbers(make_run):
    html = page_of(make_run(n_layers=3, factor=0.5))
    charts = json.loads(re.search(r'<script id="data" type="application/json">(.*?)</script>', html, re.S)[1])
    assert [chart["id"] for chart in charts] == ["nc1", "nc2", "accuracy"]
    nc1 = {curve["series"]: (curve["at"], curve["value"]) for curve in charts[0]["panels"][0]["curves"]}
    assert nc1["projected"] == ([1, 2, 3], [0.5, 0.25, 0.125])
    assert charts[0]["panels"][0]["words"] == ["layer", "NC1 (log scale)"]
    accuracy = {curve["series"]: curve["value"] for curve in charts[2]["panels"][0]["curves"]}
    assert accuracy["test"] == pytest.approx([0.91, 0.92, 0.93])


def test_every_figure_says_how_to_read_it_and_hands_out_its_numbers(make_run):
    page = Document(page_of(make_run(n_layers=3, factor=0.123456789012345)))
    links = {a["download"]: unquote(a["href"]) for a in page.all("a") if "download" in a}
    assert list(links) == ["nc1.csv", "nc2.csv", "accuracy.csv"]
    head, _, text = links["nc1.csv"].partition(",")
    assert head == "data:text/csv;charset=utf-8"
    table = read_csv(io.StringIO(text))
    assert list(table) == ["series", "layer", "NC1 (log scale)"]
    projected = table[table["series"] == "projected"]
    assert projected.iloc[:, 2].tolist() == [0.123456789012345**layer for layer in (1, 2, 3)]
    assert page.text.count("A point is a layer, a curve a stage") == 2


def test_a_page_is_small(make_run):
    """The whole page of this run, script and style sheet included; a drawing library alone would be a megabyte."""
    assert len(page_of(make_run(n_layers=20))) < 250_000


def test_runs_keep_one_colour_each(make_run, tmp_path):
    html = write_comparison([make_run("one"), make_run("two")], tmp_path / "c.html").read_text(
        encoding="utf-8"
    )
    charts = json.loads(re.search(r'<script id="data" type="application/json">(.*?)</script>', html, re.S)[1])
    looks = {
        (c["run"], c["colour"]) for chart in charts for panel in chart["panels"] for c in panel["curves"]
    }
    assert looks == {(0, style.RUNS[0][1:]), (1, style.RUNS[1][1:])}
    swatches = [a["style"] for a in Document(html).all("span") if a.get("class") == "run-line"]
    assert swatches == [f"--c: var(--k{colour[1:]})" for colour in style.RUNS[:2]]


def test_the_table_sorts_by_full_numbers(make_run):
    page = Document(page_of(make_run(n_layers=2, factor=0.123456)))
    values = [float(cell["data-value"]) for cell in page.all("td") if "data-value" in cell]
    assert 0.123456 in values
    assert "0.123" in page.text
    assert len(page.all("tr")) == 1 + 2


def test_a_run_without_test_points_and_without_gram(make_run):
    page = Document(page_of(make_run(with_test=False, with_gram=False)))
    assert not page.all("img")
    assert "test accuracy" not in page.text


def test_several_runs_share_a_page(make_run, tmp_path):
    runs = [make_run("first", headline="One."), make_run("second", n_layers=3, headline="Two.")]
    path = write_comparison(runs, tmp_path / "deep" / "comparison.html")
    html = path.read_text(encoding="utf-8")
    page = Document(html)
    assert "2 runs side by side" in page.text
    for words in ("One.", "Two.", "first", "second"):
        assert words in page.text
    assert sum(row.get("data-run") == "1" for row in page.all("tr")) == 3
    assert len(page.all("script")) == 3
    headings = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert headings.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(headings))


def test_runs_of_the_same_name_are_told_apart(make_run, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    runs = [make_run("a/run"), make_run("b/run")]
    text = Document(write_comparison(runs, tmp_path / "c.html").read_text(encoding="utf-8")).text
    assert str(runs[0]) in text
    assert str(runs[1]) in text


def test_the_same_run_gives_the_same_page(make_run):
    folder = make_run()
    assert page_of(folder) == page_of(folder)


def test_mean_cosines_leave_a_point_with_itself_out():
    labels = np.array([0, 0, 1])
    matrix = np.array([[1.0, 0.2, -0.4], [0.2, 1.0, -0.6], [-0.4, -0.6, 1.0]])
    within, between = mean_cosines(matrix, labels)
    assert within == pytest.approx(0.2)
    assert between == pytest.approx(-0.5)
    assert np.isnan(mean_cosines(matrix, np.array([0, 1, 2]))[0])


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda f: (f / "config.json").unlink(), "directory of a run"),
        (lambda f: (f / "result.json").unlink(), "cut off"),
        (lambda f: (f / "result.json").write_text("{"), "not JSON"),
        (lambda f: (f / "result.json").write_text('{"facts": [1]}'), "facts"),
        (lambda f: (f / "config.json").write_text('{"format": 7}'), "format 7"),
        (lambda f: (f / "profile.csv").unlink(), "profile.csv"),
        (lambda f: (f / "profile.csv").write_text(""), "profile.csv"),
        (lambda f: (f / "profile.csv").write_text("a,b\n1,2\n"), "layer and stage"),
        (lambda f: (f / "profile.csv").write_text("layer,stage\n"), "no rows"),
        (lambda f: (f / "gram.npz").write_bytes(b"PK"), "Gram"),
        (lambda f: np.savez(f / "gram.npz", labels=np.array([{}], dtype=object)), "Gram"),
    ],
)
def test_a_damaged_run_is_one_sentence(make_run, damage, sentence):
    folder = make_run()
    damage(folder)
    with one_sentence(ValueError) as caught:
        RunRecord.load(folder)
    assert sentence in str(caught.value)


def test_no_directory_is_one_sentence(tmp_path):
    with pytest.raises(ValueError, match="directory of a run"):
        write_report(tmp_path / "nowhere")
