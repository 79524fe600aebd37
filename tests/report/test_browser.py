"""The page in a real browser: no error, no request, hover, switches, sorting, small screens."""

from __future__ import annotations

import re
import shutil

import pandas as pd
import pytest

from agop.report import RunRecord, write_comparison
from agop.report.page import render

api = pytest.importorskip("playwright.sync_api", reason="needs the Python package playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
if CHROMIUM is None:
    pytest.skip("needs Chromium", allow_module_level=True)

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def browser():
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def opened(browser):
    """`opened(path)` is the page, watched: no error may come up and nothing may be asked of a network."""
    problems, pages = [], []

    def open_page(path, **options):
        page = browser.new_page(**({"viewport": {"width": 1200, "height": 900}} | options))
        pages.append(page)
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda request: _local(request.url, problems))
        page.goto(path.as_uri())
        page.wait_for_selector("#chart-nc1 .tip", state="attached")
        return page

    yield open_page
    for page in pages:
        page.close()
    assert not problems


def report_of(folder):
    """The page of a run, without the figures beside it."""
    (folder / "report.html").write_text(render([RunRecord.load(folder)]), encoding="utf-8")
    return folder / "report.html"


def _local(url, problems):
    if not url.startswith(("file:", "data:", "blob:")):
        problems.append(url)


SHOWN = """chart => [...chart.querySelectorAll("svg.layout:first-of-type g[data-curve]")]
  .filter((group) => group.getClientRects().length && group.querySelector("use"))
  .map((group) => [Number(group.dataset.curve), group.querySelectorAll("use").length])"""


def curves(page, chart="nc1"):
    """The curves that can be seen, by their number, and how many points each has."""
    return page.locator(f"#chart-{chart}").evaluate(SHOWN)


def point_at(page, share, chart="nc1"):
    """Move the pointer over a figure, at this share of the width of its axes; returns what is told."""
    script = "id => JSON.parse(document.getElementById('data').textContent).find(c => c.id === id).places[0][0].box"
    left, top, right, bottom = page.evaluate(script, chart)
    svg = page.locator(f"#chart-{chart} svg.layout").first
    svg.scroll_into_view_if_needed()
    box = svg.bounding_box()
    scale = box["width"] / svg.evaluate("svg => svg.viewBox.baseVal.width")
    page.mouse.move(box["x"] + scale * (left + share * (right - left)), box["y"] + scale * (top + bottom) / 2)
    return page.locator(f"#chart-{chart} .tip")


def test_curves_are_drawn_and_the_pointer_is_told_the_values(opened, make_run):
    page = opened(report_of(make_run(n_layers=5, factor=0.5)))
    assert curves(page) == [[0, 5], [1, 5], [2, 5]]
    told = point_at(page, 0.5)
    told.get_by_text("layer 3").wait_for()
    assert "projected: 0.125" in told.inner_text()  # 0.5 ** 3
    page.mouse.move(5, 5)
    assert not told.is_visible()


def test_the_pointer_is_never_told_the_value_of_another_layer(opened, make_run, tmp_path):
    runs = [make_run("short", n_layers=3), make_run("long", n_layers=9)]
    page = opened(write_comparison(runs, tmp_path / "c.html"))
    for share, words, others in ((0.37, "layer 4", "short"), (0.13, "layer 2", "nobody")):
        told = point_at(page, share)
        told.get_by_text(words).wait_for()
        assert "long: projected" in told.inner_text()
        assert others not in told.inner_text()


def test_the_arrow_keys_read_a_figure(opened, make_run):
    page = opened(report_of(make_run(n_layers=4, factor=0.5)))
    page.locator("#chart-nc1 .live").focus()
    told = page.locator("#chart-nc1 .tip")
    assert told.get_attribute("role") == "status"
    for key, words in (
        ("ArrowRight", "layer 1"), ("ArrowRight", "layer 2"), ("ArrowLeft", "layer 1"), ("End", "layer 4"), ("Home", "layer 1"),
    ):  # fmt: skip
        page.keyboard.press(key)
        assert told.inner_text().startswith(words)
    page.get_by_label("output", exact=True).uncheck()
    page.get_by_label("from").fill("2")
    page.locator("#chart-nc1 .live").focus()
    page.keyboard.press("Home")
    assert told.inner_text().split("\n") == ["layer 2", "input: 1", "projected: 0.25"]
    page.keyboard.press("Escape")
    assert not told.is_visible()


def test_the_numbers_of_a_figure_are_a_file(opened, make_run):
    page = opened(report_of(make_run(n_layers=2)))
    with page.expect_download() as waiting:
        page.locator("#chart-nc1").get_by_role("link").click()
    assert waiting.value.suggested_filename == "nc1.csv"
    assert len(pd.read_csv(waiting.value.path())) == 6


def test_stages_and_layers_can_be_switched_by_keyboard(opened, make_run):
    page = opened(report_of(make_run(n_layers=6)))
    box = page.get_by_label("input", exact=True)
    box.focus()
    page.keyboard.press("Space")
    assert [number for number, _ in curves(page)] == [1, 2]
    assert page.locator("#chart-nc1 svg text", has_text="input").count() == 1  # the word at its end
    assert not page.locator("#chart-nc1 svg text", has_text="input").is_visible()
    assert not page.locator("th[data-stage=input]").first.is_visible()
    assert not page.locator("figure[data-stage=input]").first.is_visible()
    page.get_by_label("from").fill("3")
    assert "layer 3" in point_at(page, 0.01).inner_text()  # what is left of it is veiled
    assert page.locator("#chart-nc1 .veil").count() == 1
    assert page.locator("#table tbody tr:visible").count() == 4
    page.get_by_role("button", name="all").click()
    page.locator("#table tbody tr").first.wait_for(state="visible")  # the form resets before the page follows
    assert len(curves(page)) == 3
    assert page.locator("#chart-nc1 .veil").count() == 0
    assert page.locator("#table tbody tr:visible").count() == 6


def test_the_table_sorts_both_ways(opened, make_run):
    page = opened(report_of(make_run(n_layers=11)))
    first = page.locator("#table tbody tr td").first
    heading = page.get_by_role("button", name="NC1 projected")
    heading.click()
    assert first.inner_text() == "11"
    assert page.locator("th[aria-sort=ascending]").inner_text().startswith("NC1 projected")
    heading.click()
    assert first.inner_text() == "1"
    page.get_by_role("button", name="layer").click()
    assert page.locator("#table tbody tr td:first-child").all_inner_texts() == [str(n) for n in range(1, 12)]


def test_the_table_sorts_by_keyboard(opened, make_run):
    page = opened(report_of(make_run(n_layers=4)))
    first = page.locator("#table tbody tr td").first
    page.get_by_role("button", name="NC1 projected").focus()
    page.keyboard.press("Enter")
    assert first.inner_text() == "4"
    page.keyboard.press("Space")
    assert first.inner_text() == "1"
    assert page.locator("th[aria-sort=descending]").count() == 1


@pytest.mark.parametrize(
    "factor", [0.3, *(pytest.param(factor, marks=pytest.mark.slow) for factor in (0.999, 0.9, 0.6, 0.01))]
)
def test_axes_have_labels_enough_whatever_is_shown(opened, make_run, factor):
    page = opened(report_of(make_run(n_layers=6, factor=factor)))

    inside = "svg => [...svg.querySelectorAll('text')].filter(t => getComputedStyle(t).textAnchor === 'end').map(t => t.textContent)"

    def labels():
        return page.locator("#chart-nc1 svg.layout").first.evaluate(inside)

    assert len(set(labels())) >= 3
    for series in ("input", "output"):
        page.get_by_label(series, exact=True).uncheck()
    page.get_by_label("from").fill("5")
    assert len(set(labels())) >= 3
    words = page.locator("#chart-nc1 svg text").all_text_contents()
    assert len({"NC1", "NC1 (log scale)"} & set(words)) == 1


CONTRAST = """() => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const colour = parse(getComputedStyle(e).backgroundColor);
      if (colour.length === 3 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  return [...document.querySelectorAll("body *")]
    .filter((e) => !e.closest("script, noscript") && [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()))
    .map((e) => {
      const style = getComputedStyle(e);
      const [a, b] = [light(parse(e.closest("svg") ? style.fill : style.color)), light(ground(e))];
      return [e.tagName + "." + e.className, (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)];
    });
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_contrast(opened, make_run, tmp_path, scheme):
    """WCAG 2.2 AA: 4.5:1 against what is behind it."""
    runs = [make_run("one", notes=["A note."]), make_run("two")]
    page = opened(write_comparison(runs, tmp_path / "c.html"), color_scheme=scheme)
    light = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert light == (scheme == "light")
    measured = page.evaluate(CONTRAST)
    assert len(measured) > 100
    assert not [pair for pair in measured if pair[1] < 4.5]


def test_landmarks_and_the_way_by_keyboard(opened, make_run):
    page = opened(report_of(make_run()))
    for role in ("banner", "navigation", "main"):
        assert page.get_by_role(role).count() == 1
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the results"
    page.keyboard.press("Enter")
    assert page.evaluate("location.hash") == "#main"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.name") == "series"


def test_runs_can_be_switched(opened, make_run, tmp_path):
    page = opened(write_comparison([make_run("one"), make_run("two")], tmp_path / "c.html"))
    assert len(curves(page)) == 6
    page.get_by_label("two").uncheck()
    assert len(curves(page)) == 3
    assert page.locator("#table tbody tr:visible").count() == 6
    assert page.locator(".grams-of-run:visible").count() == 1


OUTSIDE = """() => [...document.querySelectorAll("svg.layout")].filter((svg) => svg.getClientRects().length).flatMap((svg) => {
  const box = svg.getBoundingClientRect();
  return [...svg.querySelectorAll("text")].map((text) => [text.textContent, text.getBoundingClientRect()])
    .filter(([, b]) => b.width && (b.left < box.left - 1 || b.right > box.right + 1 || b.top < box.top - 1 || b.bottom > box.bottom + 1))
    .map(([words]) => words);
})"""


@pytest.mark.parametrize("width", [320, 380, 768, 1400])
def test_nothing_is_wider_than_the_screen_and_no_word_is_cut_off(opened, make_run, width):
    page = opened(report_of(make_run()), viewport={"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert not page.evaluate(OUTSIDE)
    for share in (0.0, 1.0):  # what is told stays on the screen
        told = point_at(page, share)
        box = told.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width


@pytest.mark.parametrize("width", [380, pytest.param(1400, marks=pytest.mark.slow)])
def test_figures_of_a_network_are_drawn_and_say_their_numbers(opened, make_network, width):
    page = opened(report_of(make_network()), viewport={"width": width, "height": 900})
    assert not page.evaluate(OUTSIDE)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    stems = [f"#chart-{stem}" for stem in ("drops", "training-nc1", "nfa", "training")]
    for stem in stems:
        assert page.locator(f"{stem} svg.layout:visible").count() == 1
    for stem, words in zip(stems, ("at the projection", "input", "trained", "tr Σ_B"), strict=True):
        page.locator(f"{stem} .live").focus()
        page.keyboard.press("ArrowRight")
        assert words in page.locator(f"{stem} .tip").inner_text()
    page.keyboard.press("ArrowDown")
    assert page.locator("#chart-training .tip").inner_text().startswith("training loss: epoch")


def test_it_prints_on_a4(opened, make_run):
    page = opened(report_of(make_run()))
    assert page.pdf(format="A4").startswith(b"%PDF")
    page.set_viewport_size({"width": 688, "height": 1000})  # the width of A4 within its margins
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert not page.locator("nav").is_visible()
    assert page.locator("#table").is_visible()
    assert page.get_by_text("layers.csv").is_visible()
    assert not page.locator(".detail").first.is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 688
    edges = page.locator("svg.layout").evaluate_all(
        "all => all.map(svg => svg.getBoundingClientRect().right)"
    )
    assert min(edges) > 0
    assert max(edges) <= 688


def test_without_scripts_figures_and_numbers_are_there(browser, make_run):
    page = browser.new_context(java_script_enabled=False).new_page()
    page.goto(report_of(make_run()).as_uri())
    assert page.locator("#table tbody tr").count() == 6
    assert page.locator("#chart-nc1 svg.layout").is_visible()


def test_an_axis_about_zero_draws_zeros_and_negative_values_and_hover_says_the_numbers(opened, make_run):
    look = {"label": "tail", "meaning": "", "scale": "log", "towards": 0.0, "level": "stage", "short": ""}
    folder = make_run(measures={"tail": look}, with_gram=False)
    table = pd.read_csv(folder / "profile.csv")
    table["tail"] = table["stage"].map({"input": 0.0, "projected": -0.02, "output": 500.0})
    table.to_csv(folder / "profile.csv", index=False)
    page = opened(report_of(folder))
    script = "JSON.parse(document.getElementById('data').textContent).find(c => c.id === 'tail').places[0][0]"
    place = page.evaluate(script)
    heights = [place["box"][3] - ys[0] for ys in place["y"]]  # input 0, projected −0.02, output 500
    assert heights[1] < heights[0] < heights[2]
    assert page.locator("#chart-tail svg text").filter(has_text=re.compile("^−0.01$")).count() == 1
    told = point_at(page, 0.45, "tail")
    told.get_by_text("layer 3").wait_for()
    for words in ("input: 0", "projected: −0.02", "output: 500"):
        assert words in told.inner_text()
    page.get_by_label("output", exact=True).uncheck()
    assert [number for number, _ in curves(page, "tail")] == [0, 1]
