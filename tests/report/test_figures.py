from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from agop.report import figures, style
from agop.report.live import live
from agop.report.svg import darkened


def frame(values, measure="nc1"):
    """A profile frame from {stage: [values by layer]}."""
    rows = [
        {"layer": layer, "stage": stage, measure: value}
        for stage, column in values.items()
        for layer, value in enumerate(column, start=1)
    ]
    return pd.DataFrame(rows)


def lines(figure):
    """(x, y) of every drawn curve, in the order of the stages."""
    return [line.get_xydata() for line in figure.axes[0].get_lines()]


def words(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def test_curves_hold_the_numbers_on_a_logarithmic_axis_with_names_at_their_ends():
    values = {"input": [4.0, 2.0, 1.0], "projected": [0.5, 0.1, 0.01], "output": [0.6, 0.2, 0.02]}
    figure = figures.stage_curves(frame(values), "nc1", title="A title")
    assert figure.axes[0].get_yscale() == "log"
    for drawn, stage in zip(lines(figure), values, strict=True):
        np.testing.assert_array_equal(drawn, np.column_stack([[1, 2, 3], values[stage]]))
    assert sorted(words(figure)) == ["input", "output", "projected"]
    assert figure.get_suptitle() == "A title"


def test_repetitions_are_drawn_as_mean_and_one_standard_deviation():
    runs = pd.concat([frame({"projected": [1.0, 0.5]}), frame({"projected": [3.0, 1.5]})])
    figure = figures.stage_curves(runs, "nc1", title="")
    np.testing.assert_allclose(lines(figure)[0][:, 1], [2.0, 1.0])
    band = figure.axes[0].collections[0].get_paths()[0].vertices[:, 1]
    assert band.max() == pytest.approx(2 + np.sqrt(2))
    assert band.min() == pytest.approx(1 - np.sqrt(0.5))


def test_undefined_and_zero_values_do_no_harm():
    for column in ([np.nan, 0.1, np.nan], [0.0, 0.0, 0.0], [np.nan] * 3, [1.0, 0.0, 1e-12]):
        figure = figures.stage_curves(
            frame({"input": column, "projected": [1.0, 0.1, 0.01]}), "nc1", title=""
        )
        figure.canvas.draw()
        assert "projected" in words(figure)


def test_one_layer_and_many_layers(tmp_path):
    for n_layers in (1, 40):
        figure = figures.stage_curves(frame({"input": [0.5**n for n in range(n_layers)]}), "nc1", title="")
        figures.save(figure, tmp_path, "a")
        ticks = figure.axes[0].get_xticks()
        assert np.array_equal(ticks, np.round(ticks))


def test_accuracy_without_test_points_shows_training_only():
    layers = pd.DataFrame({"layer": [1, 2], "train_accuracy": [1.0, 1.0], "test_accuracy": [np.nan, np.nan]})
    assert words(figures.accuracy_curves(layers, title="")) == ["train"]


def test_gram_grid_has_a_row_per_stage_and_a_column_per_layer():
    labels = np.repeat([0, 1], 3)
    matrices = {(layer, stage): np.eye(6) for layer in (1, 5) for stage in ("input", "output")}
    figure = figures.gram_grid(matrices, labels, ["a", "b"], title="")
    images = [axes for axes in figure.axes if axes.images]
    assert [axes.get_title("center") for axes in images[:2]] == ["layer 1", "layer 5"]
    assert [axes.get_ylabel() for axes in images[::2]] == ["input", "output"]
    assert [tick.get_text() for tick in images[0].get_yticklabels()] == ["a", "b"]
    assert images[0].images[0].get_clim() == (-1, 1)


def test_files_are_the_same_bytes_twice_and_settings_stay(tmp_path, all_formats):
    before = dict(mpl.rcParams)
    contents = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        figures.save(
            figures.stage_curves(frame({"input": [1.0, 0.1]}), "nc1", title="T"), tmp_path / name, "f"
        )
        contents.append([(tmp_path / name / f"f.{suffix}").read_bytes() for suffix in ("png", "svg", "pdf")])
    assert contents[0] == contents[1]
    assert dict(mpl.rcParams) == before
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["f.pdf", "f.png", "f.svg"]


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=6), st.floats(0.01, 0.3))
def test_labels_are_apart_in_order_and_move_no_more_than_they_must(heights, gap):
    heights = sorted(heights)
    placed = figures.spread(heights, gap)
    assert all(b - a >= gap - 1e-9 for a, b in pairwise(placed))
    assert np.mean(placed) == pytest.approx(np.mean(heights), abs=1e-9)
    if all(b - a >= gap for a, b in pairwise(heights)):
        np.testing.assert_allclose(placed, heights, atol=1e-9)


@settings(max_examples=10, deadline=None)
@given(st.floats(-9, 3), st.floats(0, 8))
def test_an_axis_has_labels_enough_to_read_a_value_off(low, decades):
    values = [10**low, 10 ** (low + decades / 3), 10 ** (low + decades)]
    figure = figures.stage_curves(frame({"input": values}, "nc2"), "nc2", title="")
    figure.draw_without_rendering()
    axes = figure.axes[0]
    bottom, top = axes.get_ylim()
    drawn = axes.yaxis.get_major_ticks()
    labels = [tick.label1.get_text() for tick in drawn if bottom <= tick.get_loc() <= top]
    assert len(labels) >= 3
    assert all(labels)
    assert len(set(labels)) == len(labels)
    assert axes.get_ylabel() == ("NC2 (log scale)" if axes.get_yscale() == "log" else "NC2")


def luminance(colour):
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in to_rgb(colour)]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


@pytest.mark.parametrize(
    "colour",
    [m.colour for m in (style.STAGES | style.SPLITS).values()] + [style.INK, style.MUTED, *style.RUNS],
)
def test_colours_of_text_and_curves_have_contrast(colour):
    """WCAG 2.2 AA: 4.5:1 against white, and against what stands for white in the dark."""
    assert 1.05 / (luminance(colour) + 0.05) >= 4.5
    assert (luminance(darkened(colour)) + 0.05) / (luminance(darkened("#ffffff")) + 0.05) >= 4.5


@settings(deadline=None)
@given(st.tuples(*[st.integers(0, 255)] * 3))
def test_dark_turns_light_around_and_keeps_greys_grey(rgb):
    colour = "#{:02x}{:02x}{:02x}".format(*rgb)
    assert re.fullmatch("#[0-9a-f]{6}", darkened(colour))
    grey = f"#{rgb[0]:02x}{rgb[0]:02x}{rgb[0]:02x}"
    red, green, blue = (int(darkened(grey)[i : i + 2], 16) for i in (1, 3, 5))
    assert max(red, green, blue) - min(red, green, blue) <= 2
    if rgb[0] < 255:
        lighter = f"#{rgb[0] + 1:02x}{rgb[0] + 1:02x}{rgb[0] + 1:02x}"
        assert luminance(darkened(lighter)) <= luminance(darkened(grey)) + 1e-3


@pytest.mark.parametrize("name", ["report.css", "reproduction.css"])
def test_colours_of_the_pages_have_contrast_on_white_and_on_the_soft_ground(name):
    folder = Path(style.__file__).parent / "templates"
    soft = re.search(r"--soft: (#\w{6})", (folder / "report.css").read_text())[1]
    colours = set(re.findall(r"(?:[{; ]color|--ink|--muted|--link): (#\w{6})", (folder / name).read_text()))
    assert len(colours) >= 3
    for colour in colours:
        on_soft = (luminance(soft) + 0.05) / (luminance(colour) + 0.05)
        assert on_soft >= (4.5 if colour != "#767676" else 3), (
            colour
        )  # the arrows of headings, which are no text


def test_colours_of_the_pages_have_contrast_in_the_dark():
    sheet = (Path(style.__file__).parent / "templates" / "dark.css").read_text()
    soft = re.search(r"--soft: (#\w{6})", sheet)[1]
    colours = set(re.findall(r"(?:[{; ]color|--ink|--muted|--link): (#\w{6})", sheet))
    assert len(colours) >= 5
    for colour in colours:
        assert (luminance(colour) + 0.05) / (luminance(soft) + 0.05) >= 4.5, colour


@pytest.mark.parametrize(("together", "lowest"), [(False, 2), (True, 1)])
def test_panels_below_each_other_have_numbers_unless_they_share_them(together, lowest):
    figure = Figure(figsize=(8, 3))
    left, right = figure.subplots(1, 2, sharex=together)
    for axes in (left, right):
        axes.plot([1, 2, 3], [1.0, 2.0, 3.0], label="a")
        axes.set_xticks([1, 2, 3], ["first", "second", "third"])
    narrow = live(figure, "both").layouts[1]
    assert narrow.count(">second<") == lowest
