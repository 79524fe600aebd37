"""Images at a random place in a larger image of noise: scikit-learn's digits, and MNIST."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float, Real

from agop._checks import bad_value, integer, real
from agop.datasets.dataset import Raw
from agop.datasets.named import DIGITS, MNIST
from agop.datasets.source import Source


def in_noise(
    images: Real[np.ndarray, "n *c h w"], side: int, noise: float, rng: np.random.Generator
) -> Float[np.ndarray, "n *c side side"]:
    r"""Each image at a place of its own in a square of normal noise.

    The image replaces the noise (it isn't added to it), so that pixels are those of the image inside its box and :math:`N(0,\sigma^2)`
    outside of it.

    Parameters
    ----------
    images
        Images of one size, (n, h, w), or with channels (n, c, h, w); all channels of an image lie at its place.
    side
        Pixels of the square.
    noise
        σ, in the units of the pixels.
    rng
        Draws the places and the noise; every place at which the image lies within the square is as likely.

    Raises
    ------
    ValueError
        If the square is smaller than an image, or σ is negative.

    Notes
    -----
    Beaglehole et al. 2023 (arXiv 2309.00570): MNIST in 42×42 pixels, σ² = s / 4 with s their noise level.

    """
    noise, side = real("noise", noise, at_least=0), integer("side", side, at_least=1)
    n, (height, width) = len(images), images.shape[-2:]
    if max(height, width) > side:
        raise bad_value("side", f"at least the {max(height, width)} pixels of an image", f"{side}")
    x = rng.normal(size=(*images.shape[:-2], side, side)).astype(np.float32) * np.float32(noise)
    top, left = rng.integers(side - height + 1, size=n), rng.integers(side - width + 1, size=n)
    for index, image in enumerate(images):
        x[index, ..., top[index] : top[index] + height, left[index] : left[index] + width] = image
    return x


def _read(of: Source, root: Path, download: bool, seed: int, side: int, noise: float) -> Raw:
    """The images of another set, divided by their brightest training pixel, in noise; training and test points are drawn independently."""
    raw = of.read(root=root, download=download, seed=seed)
    assert raw.x_test is not None
    streams = [np.random.default_rng(own) for own in np.random.SeedSequence(seed).spawn(2)]
    scaled = (x.astype(np.float32) / np.float32(raw.x_train.max()) for x in (raw.x_train, raw.x_test))
    x_train, x_test = (in_noise(x, side, noise, rng) for x, rng in zip(scaled, streams))
    return Raw(x_train, raw.y_train, x_test, raw.y_test, raw.class_names)


DIGITS_IN_NOISE = Source(
    name="digits-in-noise", description="digits at a random place in noise, grey", origin="scikit-learn", kind="generated", shape=(12, 12),
    n_train=DIGITS.n_train, n_test=DIGITS.n_test, n_classes=10, read=partial(_read, DIGITS), parameters={"side": 12, "noise": 0.5},
)  # fmt: skip
MNIST_IN_NOISE = Source(
    name="mnist-in-noise", description="MNIST at a random place in noise, grey", origin="torchvision", kind="files", shape=(42, 42),
    n_train=MNIST.n_train, n_test=MNIST.n_test, n_classes=10, read=partial(_read, MNIST), parameters={"side": 42, "noise": 0.5},
)  # fmt: skip
