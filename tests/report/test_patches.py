"""Filters and energy maps: what is drawn is what was given, on one scale; and how a run and a study come to them."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

import agop
from agop.experiments.drawing import Drawing
from agop.experiments.patch_pictures import PATCHES, write_patches
from agop.report import RunRecord, energy_maps, filter_grid, style
from agop.report.drawing import plates
from agop.report.page import render
from agop.report.patches import patch_drawings


def drawn(axes):
    return np.asarray(axes.get_images()[0].get_array())


def panels(figure):
    return [axes for axes in figure.axes if axes.get_images()]


def test_filters_of_one_channel_share_a_signed_scale():
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(3, 1, 4, 4)), 5 * rng.normal(size=(2, 1, 4, 4))
    figure = filter_grid(
        {"start": first, "end": second},
        shares={"start": [0.5, 0.25, 0.05], "end": [np.nan, 0.1]},
        title="Filters",
    )
    shown = panels(figure)
    assert len(shown) == 5
    for axes, values in zip(shown, [*first, *second], strict=True):
        picture = drawn(axes)
        step = picture.shape[0] // 4
        np.testing.assert_array_equal(picture[::step, ::step], values[0])
        largest = max(np.abs(first).max(), np.abs(second).max())
        assert axes.get_images()[0].get_clim() == (-largest, largest)
        assert axes.get_images()[0].get_cmap().colors.shape == style.gram_colours().colors.shape
    assert [axes.get_title() for axes in shown] == ["50 %", "25 %", "5 %", "", "10 %"]
    assert [axes.get_ylabel() for axes in shown] == ["start", "", "", "end", ""]


def test_filters_of_three_channels_are_colours_about_grey():
    filters = np.zeros((2, 3, 2, 2))
    filters[0, 0, 0, 0], filters[1, 2, 1, 1] = 2.0, -1.0
    figure = filter_grid({"M": filters}, title="")
    first, second = (drawn(axes) for axes in panels(figure))
    np.testing.assert_allclose(first[0, 0], [1.0, 0.5, 0.5])
    np.testing.assert_allclose(second[1, 1], [0.5, 0.5, 0.25])
    np.testing.assert_allclose(first[1, 1], 0.5)
    assert "from −2 (dark) to 2 (bright)" in figure._supxlabel.get_text()


def test_other_channels_stand_side_by_side():
    filters = np.arange(2 * 5 * 3 * 3.0).reshape(2, 5, 3, 3)
    picture = drawn(panels(filter_grid({"M": filters}, title=""))[1])
    blank = np.isnan(picture).all(0)
    blocks = np.split(picture[:, ~blank], 5, axis=1)
    for block, channel in zip(blocks, filters[1], strict=True):
        step = block.shape[0] // 3
        np.testing.assert_array_equal(block[::step, ::step], channel)


@pytest.mark.parametrize(
    "filters",
    [{}, {"a": np.zeros((0, 1, 2, 2))}, {"a": np.zeros((1, 4))}, {"a": np.zeros((1, 1, 2, 2)), "b": np.zeros((1, 3, 2, 2))}],
)  # fmt: skip
def test_no_filters_to_draw_are_one_sentence(filters):
    with pytest.raises(
        ValueError, match=r"^filters: expected filters \(k, c, q, q\) with one number of channels, got "
    ):
        filter_grid(filters, title="")


def test_zero_filters_are_white_and_zero_energy_is_dark():
    filter_grid({"a": np.zeros((1, 1, 2, 2))}, title="").draw_without_rendering()
    maps = np.full((1, 2, 2), np.nan)
    energy_maps(
        np.zeros((1, 1, 2, 2)), {"a": np.zeros((1, 2, 2)), "b": maps}, title=""
    ).draw_without_rendering()


def test_energies_stand_under_their_images_on_a_scale_for_each_row():
    rng = np.random.default_rng(1)
    images, first, second = (
        rng.normal(size=(3, 3, 6, 6)),
        rng.uniform(size=(3, 6, 6)),
        9 * rng.uniform(size=(3, 6, 6)),
    )
    first[0, 0, 0] = np.nan
    shown = panels(energy_maps(images, {"start": first, "end": second}, title="Where"))
    assert len(shown) == 9
    white = drawn(shown[0]) * (images.max() - images.min()) + images.min()
    np.testing.assert_allclose(white, images[0].transpose(1, 2, 0))
    for place, values in enumerate([*first, *second]):
        axes = shown[3 + place]
        np.testing.assert_array_equal(np.ma.filled(axes.get_images()[0].get_array(), np.nan), values)
        largest = np.nanmax(first if place < 3 else second)
        assert axes.get_images()[0].get_clim() == (0, largest)
    with pytest.raises(
        ValueError, match=r"energies: expected 3 maps, one for each image, got shape \(2, 6, 6\) at 'a'"
    ):
        energy_maps(images, {"a": first[:2]}, title="")
    with pytest.raises(ValueError, match=r"images: expected at least one image"):
        energy_maps(images[:0], {}, title="")


@pytest.fixture
def matrices():
    generator = torch.Generator().manual_seed(0)
    roots = {name: torch.randn(18, 18, generator=generator) for name in ("iteration 0", "iteration 1")}
    return {name: root @ root.mT for name, root in roots.items()}, torch.rand(4, 2, 7, 7, generator=generator)


def test_a_run_with_patch_matrices_has_their_pictures_on_its_page(make_run, matrices):
    folder = make_run(n_layers=2, with_gram=False, with_test=False)
    write_patches(folder, *matrices)
    record = RunRecord.load(folder)
    page = render([record])
    assert "What it looks at in a patch" in page
    assert "Where the model looks" in page
    assert [drawing.stem for drawing in patch_drawings(record)] == ["filters", "energy"]
    expected = agop.patch_filters(matrices[0]["iteration 1"], 2, n=8)
    np.testing.assert_allclose(record.patches.filters["iteration 1"], expected.filters, rtol=1e-6)
    energy = agop.patch_energy(matrices[0]["iteration 0"], matrices[1])
    np.testing.assert_allclose(record.patches.energies["iteration 0"], energy, rtol=1e-6)


def test_a_run_without_them_says_nothing_of_patches(make_run):
    record = RunRecord.load(make_run())
    assert record.patches is None
    assert "What it looks at in a patch" not in render([record])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda a: a.pop("shares/iteration 0"), "shares|iteration 0"),
        (
            lambda a: a.update({"energies/iteration 0": a["energies/iteration 0"][:2]}),
            "no map for each image",
        ),
        (lambda a: a.update({"filters/iteration 0": a["filters/iteration 0"][0]}), "no filters"),
        (lambda a: [a.pop(name) for name in list(a) if name.startswith("filters")], "no filters"),
        (lambda a: a.pop("images"), "images"),
    ],
)
def test_damaged_pictures_are_one_sentence(make_run, matrices, change, reason):
    folder = make_run()
    write_patches(folder, *matrices)
    arrays = dict(np.load(folder / PATCHES))
    change(arrays)
    np.savez(folder / PATCHES, **arrays)
    with pytest.raises(
        ValueError, match=r"run: expected readable pictures of patches, got .*patches\.npz"
    ) as caught:
        RunRecord.load(folder)
    assert re.search(reason, str(caught.value))


def test_a_study_draws_them_by_name_or_all(tmp_path, matrices):
    write_patches(tmp_path, *matrices)
    arrays = dict(np.load(tmp_path / PATCHES))
    told = {
        "stem": "filters",
        "section": "S",
        "title": "T {data}",
        "caption": "C",
        "table": "unit",
        "file": PATCHES,
    }

    def figure(**more):
        ((plate),) = plates(Drawing(**told, **more), {}, lambda table, file: arrays, "digits")
        return plate.figure

    assert len(panels(figure(kind="filters"))) == 16
    assert figure(kind="filters").get_suptitle() == "T digits"
    one = figure(kind="energy", arrays=((("iteration 1", "the end"),),))
    assert [axes.get_ylabel() for axes in panels(one)][4] == "the end"
    with pytest.raises(
        ValueError, match="arrays of drawing 'filters': expected one of 'iteration 0', 'iteration 1', got 'x'"
    ):
        figure(kind="filters", arrays=((("x", "x"),),))
