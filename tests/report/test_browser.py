"""The page in a real browser: no error, no request, hover, switches, sorting, small screens."""

from __future__ import annotations

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
        page.wait_for_selector("#chart-nc1 .main-svg")
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


def traces(page, chart="nc1"):
    data = f"document.getElementById('chart-{chart}').data"
    return page.evaluate(f"{data}.map(trace => [trace.meta.series, trace.x])")


def test_curves_are_drawn_and_hover_shows_values(opened, make_run):
    page = opened(report_of(make_run(n_layers=5, factor=0.5)))
    assert [name for name, _ in traces(page)] == ["input", "projected", "output"]
    box = page.locator("#chart-nc1 .nsewdrag").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    hover = page.locator("#chart-nc1 .hoverlayer")
    hover.get_by_text("layer 3").wait_for()
    assert "0.125" in hover.text_content()  # projected at layer 3: 0.5 ** 3
    assert "projected" in hover.text_content()


def test_hover_never_shows_the_value_of_another_layer(opened, make_run, tmp_path):
    runs = [make_run("short", n_layers=3), make_run("long", n_layers=9)]
    page = opened(write_comparison(runs, tmp_path / "c.html"))
    box = page.locator("#chart-nc1 .nsewdrag").bounding_box()
    for share, words, others in ((0.37, "layer 4", "short"), (0.13, "layer 2", "nobody")):
        page.mouse.move(box["x"] + share * box["width"], box["y"] + box["height"] / 2)
        hover = page.locator("#chart-nc1 .hoverlayer")
        hover.get_by_text(words).wait_for()
        assert "long: projected" in hover.text_content()
        assert others not in hover.text_content()


def test_stages_and_layers_can_be_switched_by_keyboard(opened, make_run):
    page = opened(report_of(make_run(n_layers=6)))
    box = page.get_by_label("input", exact=True)
    box.focus()
    page.keyboard.press("Space")
    assert [name for name, _ in traces(page)] == ["projected", "output"]
    assert not page.locator("th[data-stage=input]").first.is_visible()
    assert not page.locator("figure[data-stage=input]").first.is_visible()
    page.get_by_label("from").fill("3")
    assert traces(page)[0][1] == [3, 4, 5, 6]
    assert page.locator("#table tbody tr:visible").count() == 4
    page.get_by_role("button", name="all").click()
    page.locator("#table tbody tr").first.wait_for(state="visible")  # the form resets before the page follows
    assert len(traces(page)) == 3
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


@pytest.mark.parametrize("factor", [0.999, 0.9, 0.6, 0.3, 0.01])
def test_axes_have_labels_enough_whatever_is_shown(opened, make_run, factor):
    page = opened(report_of(make_run(n_layers=6, factor=factor)))

    def labels():
        return page.locator("#chart-nc1 .ytick text").all_text_contents()

    assert len(set(labels())) >= 3
    for series in ("input", "output"):
        page.get_by_label(series, exact=True).uncheck()
    page.get_by_label("from").fill("5")
    assert [x for _, x in traces(page)] == [[5, 6]]
    page.wait_for_timeout(100)
    assert len(set(labels())) >= 3
    title = page.locator("#chart-nc1 .ytitle").text_content()
    kind = page.evaluate("document.getElementById('chart-nc1').layout.yaxis.type")
    assert title == ("NC1 (log scale)" if kind == "log" else "NC1")


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
    .filter((e) => !e.closest("svg, script, noscript") && [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()))
    .map((e) => {
      const [a, b] = [light(parse(getComputedStyle(e).color)), light(ground(e))];
      return [e.tagName + "." + e.className, (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)];
    });
}"""


def test_every_text_has_contrast(opened, make_run, tmp_path):
    """WCAG 2.2 AA: 4.5:1 against what is behind it."""
    runs = [make_run("one", notes=["A note."]), make_run("two")]
    measured = opened(write_comparison(runs, tmp_path / "c.html")).evaluate(CONTRAST)
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
    assert len(traces(page)) == 6
    page.get_by_label("two").uncheck()
    assert len(traces(page)) == 3
    assert page.locator("#table tbody tr:visible").count() == 6
    assert page.locator(".grams-of-run:visible").count() == 1


@pytest.mark.parametrize("width", [320, 390, 768, 1400])
def test_nothing_is_wider_than_the_screen(opened, make_run, width):
    page = opened(report_of(make_run()), viewport={"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width


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
    edges = page.locator(".main-svg").evaluate_all("all => all.map(svg => svg.getBoundingClientRect().right)")
    assert max(edges) <= 688


def test_without_scripts_the_numbers_are_there(browser, make_run):
    page = browser.new_context(java_script_enabled=False).new_page()
    page.goto(report_of(make_run()).as_uri())
    assert page.locator("#table tbody tr").count() == 6


def test_an_axis_about_zero_draws_zeros_and_negative_values_and_hover_says_the_numbers(opened, make_run):
    look = {"label": "tail", "meaning": "", "scale": "log", "towards": 0.0, "level": "stage", "short": ""}
    folder = make_run(measures={"tail": look}, with_gram=False)
    table = pd.read_csv(folder / "profile.csv")
    table["tail"] = table["stage"].map({"input": 0.0, "projected": -0.02, "output": 500.0})
    table.to_csv(folder / "profile.csv", index=False)
    page = opened(report_of(folder))
    heights = page.evaluate("document.getElementById('chart-tail').data.map(trace => trace.y[0])")
    assert heights == pytest.approx([0, -1.30103, 5.69897], abs=1e-4)
    assert page.locator("#chart-tail .ytick text").all_text_contents()[:3] == ["−0.01", "0", "0.01"]
    page.locator("#chart-tail").scroll_into_view_if_needed()
    box = page.locator("#chart-tail .nsewdrag").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.locator("#chart-tail .hoverlayer").get_by_text("layer 3").wait_for()
    told = page.locator("#chart-tail .hoverlayer").text_content()
    for words in ("input : 0.00", "projected : -0.0200", "output : 500"):
        assert words in told
    page.get_by_label("output", exact=True).uncheck()
    assert [name for name, _ in traces(page, "tail")] == ["input", "projected"]
