"""Star images and images in noise: what is drawn where, from which seed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agop.datasets import DATA, load
from agop.datasets.in_noise import in_noise
from agop.datasets.stars import star
from tests.oracles import torchvision_files


def corner_test(point, tips):
    """Whether a point lies in the polygon with these corners: the crossing rule, one edge at a time."""
    inside = False
    for (x0, y0), (x1, y1) in zip(tips, [*tips[1:], tips[0]]):
        if (y0 > point[1]) != (y1 > point[1]) and point[0] < x0 + (point[1] - y0) * (x1 - x0) / (y1 - y0):
            inside = not inside
    return inside


@pytest.mark.parametrize("radius", [1.7, 4.2, 9.3])
def test_a_star_is_the_polygon_of_ten_corners(radius):
    inner = radius * np.cos(2 * np.pi / 5) / np.cos(np.pi / 5)
    angles = np.pi * np.arange(10) / 5
    lengths = np.where(np.arange(10) % 2, inner, radius)
    tips = [(length * np.sin(angle), -length * np.cos(angle)) for angle, length in zip(angles, lengths)]
    reach = range(-10, 11)
    told = np.array([[corner_test((x, y + 1e-9), tips) for x in reach] for y in reach])
    told = told[told.any(1)][:, told.any(0)]
    np.testing.assert_array_equal(star(radius), told)
    np.testing.assert_array_equal(star(radius), star(radius)[:, ::-1])


def test_stars_of_the_paper_are_seven_pixels_wide_and_a_patch_of_eleven_holds_them():
    assert star(DATA["stars"].parameters["radius"]).shape == (8, 7)


def test_every_second_image_has_a_star_somewhere_and_noise_is_everywhere_else():
    data = load("stars")
    shape = star(4.2)
    x = data.x_train.reshape(-1, 3, 32, 32)
    np.testing.assert_array_equal(data.y_train, np.arange(1000) % 2)
    ones = (x[:, :2] == 1).all(1)
    assert set(ones.sum((1, 2))[data.y_train == 1]) == {shape.sum()}
    assert not ones[data.y_train == 0].any()
    places = set()
    for image in ones[data.y_train == 1]:
        rows, columns = np.nonzero(image)
        top, left = rows.min(), columns.min()
        np.testing.assert_array_equal(image[top : top + 8, left : left + 7], shape)
        places.add((int(top), int(left)))
    tops, lefts = zip(*places)
    assert (min(tops), max(tops), min(lefts), max(lefts)) == (0, 24, 0, 25)
    assert len(places) > 300
    noise = x[:, 2]
    assert noise.std() == pytest.approx(0.3, rel=0.01)
    assert abs(noise.mean()) < 0.002
    assert data.shape == (3, 32, 32)
    assert data.class_names == ("noise", "star")


def test_a_seed_draws_the_same_images_and_training_and_test_images_differ():
    first, again, other = (load("stars", seed=seed) for seed in (3, 3, 4))
    assert first.fingerprint() == again.fingerprint() != other.fingerprint()
    assert not {row.tobytes() for row in first.x_train} & {row.tobytes() for row in first.x_test}
    np.testing.assert_array_equal(load("stars", n_train=50).x_train, load("stars").x_train[:50])
    assert "seed 3, noise 0.3, radius 4.2, side 32" in first.source


def test_noise_and_size_are_parameters():
    data = load("stars", parameters={"noise": 0, "radius": 2.2, "side": 9})
    assert data.shape == (3, 9, 9)
    assert set(np.unique(data.x_train)) == {0, 1}


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"noise": -1}, r"noise: expected a finite number >= 0"),
        ({"radius": 0.1}, r"radius: expected a finite number >= 1"),
        ({"side": 6}, r"side: expected at least the 8 pixels of the star, got 6; make the star smaller"),
        ({"side": 32.0}, r"side: expected an integer >= 1"),
        ({"size": 3}, r"parameters: expected those of 'stars' \(noise, radius, side\)"),
    ],
)
def test_parameters_that_no_image_has_are_refused(parameters, sentence):
    with pytest.raises((ValueError, TypeError), match=sentence):
        load("stars", parameters=parameters)


def test_digits_in_noise_are_the_digits_with_noise_around():
    plain, data = load("digits"), load("digits-in-noise", parameters={"side": 14, "noise": 0.25})
    assert data.shape == (14, 14)
    np.testing.assert_array_equal(data.y_train, plain.y_train)
    np.testing.assert_array_equal(data.y_test, plain.y_test)
    for x, digits in ((data.x_train, plain.x_train), (data.x_test, plain.x_test)):
        windows = np.lib.stride_tricks.sliding_window_view(x.reshape(-1, 14, 14), (8, 8), axis=(1, 2))
        found = (windows == (digits.reshape(-1, 1, 1, 8, 8) / np.float32(16))).all((-1, -2))
        np.testing.assert_array_equal(found.sum((1, 2)), 1)
        places = np.argwhere(found)[:, 1:]
        assert places.min() == 0
        assert places.max() == 6
    silent = load("digits-in-noise", parameters={"noise": 0})
    np.testing.assert_allclose(silent.x_train.sum(1), plain.x_train.sum(1) / 16)


def test_digits_of_another_seed_lie_elsewhere():
    first, other = load("digits-in-noise", seed=1), load("digits-in-noise", seed=2)
    assert first.fingerprint() != other.fingerprint()
    assert first.fingerprint() == load("digits-in-noise", seed=1).fingerprint()


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 3), st.floats(0, 2))
def test_any_grey_images_lie_within_the_square(height, width, more, noise):
    rng = np.random.default_rng(0)
    images = rng.uniform(2, 3, size=(5, height, width))
    side = max(height, width) + more
    x = in_noise(images, side, 0, rng)
    assert x.shape == (5, side, side)
    np.testing.assert_allclose(x.sum((1, 2)), images.sum((1, 2)), rtol=1e-5)
    x = in_noise(np.zeros((50, height, width)), 30, noise, rng)
    assert x.std() == pytest.approx(noise * np.sqrt(1 - height * width / 900), rel=0.1, abs=1e-9)


def test_a_square_smaller_than_an_image_is_refused():
    with pytest.raises(ValueError, match="side: expected at least the 8 pixels of an image, got 7"):
        load("digits-in-noise", parameters={"side": 7})


def test_mnist_in_noise_reads_the_files_of_mnist(tmp_path):
    pytest.importorskip("torchvision", reason="needs the extra 'vision'")
    rng = np.random.default_rng(0)
    images = rng.integers(1, 256, (20, 28, 28), dtype=np.uint8)
    images[0, 0, 0] = 255
    labels = np.arange(20, dtype=np.uint8) % 10
    for part in ("train", "t10k"):
        torchvision_files.idx(tmp_path / "MNIST" / "raw", images, labels, part)
    data = load("mnist-in-noise", root=tmp_path, n_train=6, parameters={"noise": 0})
    assert data.shape == (42, 42)
    np.testing.assert_allclose(data.x_train.sum(1), images[:6].sum((1, 2)) / 255, rtol=1e-5)
    assert "torchvision's mnist-in-noise (seed 0, side 42, noise 0)" in data.source


def test_mnist_in_noise_without_files_says_what_to_do(tmp_path):
    pytest.importorskip("torchvision", reason="needs the extra 'vision'")
    with pytest.raises(ValueError, match=r"the files of 'mnist'.*--download"):
        load("mnist-in-noise", root=tmp_path)
