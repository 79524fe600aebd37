"""Images with a star at a random place in noise, and images of noise alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from agop._checks import bad_value, integer, real
from agop.datasets.dataset import Raw
from agop.datasets.source import Source

N_TRAIN, N_TEST = 1000, 1000
COLOUR = (1.0, 1.0, 0.0)
"""Brightness of the star in the three channels: yellow. The third channel is noise everywhere."""


def stars(root: Path, download: bool, seed: int, noise: float, radius: float, side: int) -> Raw:
    """Noise of standard deviation `noise`, in every second image with a star of brightness 1 (class 1), each at a place of its own.

    The star has five points, that far from its centre, and lies within the image as a whole. Beaglehole et al. 2023 (arXiv 2309.00570)
    learn from 50 such images of 32×32 pixels; their star is 7 pixels wide.
    """
    noise = real("noise", noise, at_least=0)
    radius = real("radius", radius, at_least=1)
    side = integer("side", side, at_least=1)
    shape = star(radius)
    if max(shape.shape) > side:
        raise bad_value(
            "side", f"at least the {max(shape.shape)} pixels of the star", f"{side}", "make the star smaller"
        )
    streams = np.random.SeedSequence(seed).spawn(2)
    (x_train, y_train), (x_test, y_test) = (
        _part(count, np.random.default_rng(own), noise, shape, side)
        for count, own in zip((N_TRAIN, N_TEST), streams)
    )
    return Raw(x_train, y_train, x_test, y_test, ("noise", "star"))


def star(radius: float) -> Bool[np.ndarray, "h w"]:
    """The pixels whose centres lie in a five-pointed star, one point upwards, without empty rows and columns.

    A point is in the star if it is on the outer side of at most one of the five lines that join its tips.
    """
    reach = int(np.ceil(radius))
    across, down = np.meshgrid(np.arange(-reach, reach + 1), np.arange(-reach, reach + 1))
    turns = 2 * np.pi * np.arange(5) / 5
    outside = sum(
        np.sin(turn) * across - np.cos(turn) * down > radius * np.cos(2 * np.pi / 5) for turn in turns
    )
    inside = np.asarray(outside) <= 1
    return inside[inside.any(1)][:, inside.any(0)]


def _part(
    count: int, rng: np.random.Generator, noise: float, shape: Bool[np.ndarray, "h w"], side: int
) -> tuple[Float[np.ndarray, "n 3 side side"], np.ndarray]:
    height, width = shape.shape
    x = rng.normal(size=(count, len(COLOUR), side, side)).astype(np.float32) * np.float32(noise)
    y = np.arange(count) % 2
    top = rng.integers(side - height + 1, size=count)
    left = rng.integers(side - width + 1, size=count)
    for index in np.flatnonzero(y):
        box = x[index, :, top[index] : top[index] + height, left[index] : left[index] + width]
        for channel, brightness in zip(box, COLOUR):
            if brightness:
                channel[shape] = brightness
    return x, y


STARS = Source(
    name="stars", description="a star at a random place in noise, or none", origin="agop", kind="generated", shape=(3, 32, 32),
    n_train=N_TRAIN, n_test=N_TEST, n_classes=2, read=stars, parameters={"noise": 0.3, "radius": 4.2, "side": 32},
)  # fmt: skip
