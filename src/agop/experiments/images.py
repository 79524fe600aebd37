"""The points of a data set as images, for what reads patches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from agop._checks import bad_value
from agop.datasets import Dataset

_COLOURS = (1, 2, 3, 4)


@dataclass(frozen=True, eq=False)
class Images:
    """Training and test images (n, c, h, w) in float32, labels, and what pixels were divided by: the largest of training, in magnitude."""

    x: Float[np.ndarray, "n c h w"]
    y: Int[np.ndarray, " n"]
    x_test: Float[np.ndarray, "m c h w"] | None
    y_test: Int[np.ndarray, " m"] | None
    scale: float

    @classmethod
    def of(cls, data: Dataset) -> Images:
        """Images of points of shape (h, w), (c, h, w) or (h, w, c).

        Raises
        ------
        ValueError
            One sentence, if the points have another shape.
        """
        shape, last = channels_first(data.shape)
        scale = max(abs(float(data.x_train.min())), abs(float(data.x_train.max()))) or 1.0
        x, x_test = (_images(rows, shape, last, scale) for rows in (data.x_train, data.x_test))
        assert x is not None
        return cls(x, data.y_train, x_test, data.y_test, scale)


def channels_first(shape: tuple[int, ...]) -> tuple[tuple[int, int, int], bool]:
    """Channels, height and width of a point, and whether its channels come last.

    >>> channels_first((28, 28)), channels_first((3, 32, 32)), channels_first((32, 32, 3))
    (((1, 28, 28), False), ((3, 32, 32), False), ((3, 32, 32), True))
    """
    if len(shape) == 2:
        return (1, shape[0], shape[1]), False
    if len(shape) == 3 and shape[0] in _COLOURS:
        return (shape[0], shape[1], shape[2]), False
    if len(shape) == 3 and shape[2] in _COLOURS:
        return (shape[2], shape[0], shape[1]), True
    expected = "images, points of shape (h, w), (c, h, w) or (h, w, c) with at most four channels"
    raise bad_value("data", expected, f"points of shape {shape}", "store them in the shape of images")


def _images(
    rows: np.ndarray | None, shape: tuple[int, int, int], last: bool, scale: float
) -> Float[np.ndarray, "n c h w"] | None:
    if rows is None:
        return None
    c, h, w = shape
    images = rows.reshape(-1, h, w, c).transpose(0, 3, 1, 2) if last else rows.reshape(-1, c, h, w)
    return np.ascontiguousarray(images, dtype=np.float32) / np.float32(scale)
