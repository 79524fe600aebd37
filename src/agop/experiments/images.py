"""The points of a data set as images, for what reads patches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int

from agop._checks import bad_value
from agop.datasets import Dataset
from agop.networks.models import as_images, image_layout

_MOST_CHANNELS = 4


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
        _check_shape(data.shape)
        scale = max(abs(float(data.x_train.min())), abs(float(data.x_train.max()))) or 1.0
        x, x_test = (
            None
            if rows is None
            else as_images(torch.from_numpy(rows), data.shape).float().numpy() / np.float32(scale)
            for rows in (data.x_train, data.x_test)
        )
        assert x is not None
        return cls(x, data.y_train, x_test, data.y_test, scale)


def _check_shape(shape: tuple[int, ...]) -> None:
    if len(shape) in (2, 3) and image_layout(shape)[0] <= _MOST_CHANNELS:
        return
    expected = "images, points of shape (h, w), (c, h, w) or (h, w, c) with at most four channels"
    raise bad_value("data", expected, f"points of shape {shape}", "store them in the shape of images")
