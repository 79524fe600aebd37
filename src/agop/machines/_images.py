"""From the images a user passes to flat rows, and back: (n, channels, height, width), or flat rows with their shape."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from agop import _checks

_COLOURS = (1, 3, 4)
_SHAPE = "images (n, channels, height, width), or flat rows with image_shape"


def flat_rows(
    X: Any, image_shape: Any, patch_size: Any, *, learns: bool = True
) -> tuple[Any, tuple[int, int, int] | None]:
    """Rows of pixels in the order (channel, row, column), and the shape of the images.

    What has four axes is checked here; other input comes back as it is, for the checks of rows, with the shape that `image_shape` says.
    For a patch of one pixel, rows without a shape are images of one pixel: their columns are channels. Then the shape is None.

    `learns` is whether the shape is new: the number of columns is checked by whoever knows what it was otherwise.

    Raises
    ------
    ValueError, TypeError
        If the images aren't of one size, not floating-point, not finite, or their channels come last.
    """
    shape = None if image_shape is None else _shape(image_shape)
    if isinstance(X, list | tuple) and X and all(np.ndim(x) >= 2 for x in X):
        X = _stacked(X)
    if not hasattr(X, "ndim"):
        return X, shape
    if isinstance(X, np.ndarray) and X.dtype == object and X.ndim == 1 and len(X) and np.ndim(X[0]) >= 2:
        X = _stacked(list(X))
    if X.ndim == 4:
        return _flattened(X, shape)
    if X.ndim == 2 and shape is None and patch_size != 1:
        raise _checks.bad_value(
            "X", _SHAPE, f"shape {tuple(X.shape)}", "set image_shape=(channels, height, width)"
        )
    if X.ndim == 3:
        raise _checks.bad_value(
            "X", _SHAPE, f"shape {tuple(X.shape)}", "pass X[:, None] for images with one channel"
        )
    if X.ndim > 4:
        raise _checks.bad_value("X", _SHAPE, f"shape {tuple(X.shape)}", "reshape it")
    if learns and shape is not None and X.ndim == 2 and X.shape[1] != np.prod(shape):
        raise _checks.bad_value(
            "X",
            f"{np.prod(shape)} columns for image_shape={shape}",
            f"{X.shape[1]}",
            "pass flat rows in the order (channel, row, column)",
        )
    return X, shape


def are_images(X: Any) -> bool:
    """Whether X comes with four axes."""
    if isinstance(X, list | tuple):
        return len(X) > 0 and np.ndim(X[0]) == 3
    return getattr(X, "ndim", 0) == 4


def _shape(image_shape: Any) -> tuple[int, int, int]:
    """Channels, height and width of (height, width) or (channels, height, width)."""
    expected, remedy = "(height, width) or (channels, height, width)", "give the shape of an image"
    if not isinstance(image_shape, tuple | list) or len(image_shape) not in (2, 3):
        raise _checks.bad_value("image_shape", expected, _checks.shown(image_shape), remedy)
    sides = [_checks.integer("image_shape", side, at_least=1) for side in image_shape]
    return (1, sides[0], sides[1]) if len(sides) == 2 else (sides[0], sides[1], sides[2])


def _stacked(images: Any) -> Any:
    shapes = list(dict.fromkeys(tuple(np.shape(image)) for image in images))
    if len(shapes) > 1:
        raise _checks.bad_value(
            "X", "images of one size", " and ".join(map(str, shapes[:3])), "crop, pad or resize them"
        )
    if all(isinstance(image, Tensor) for image in images):
        return torch.stack(list(images))
    return np.stack([np.asarray(image) for image in images])


def _flattened(X: Any, shape: tuple[int, int, int] | None) -> tuple[Any, tuple[int, int, int]]:
    got = tuple(X.shape)
    if got[3] in _COLOURS and got[1] not in _COLOURS and got[1] > 4 and got[2] > 4:
        remedy = "pass X.permute(0, 3, 1, 2)" if isinstance(X, Tensor) else "pass X.transpose(0, 3, 1, 2)"
        raise _checks.bad_value(
            "X",
            "images (n, channels, height, width)",
            f"shape {got}, whose channels seem to come last",
            remedy,
        )
    if shape is not None and got[1:] != shape:
        raise _checks.bad_value(
            "X", f"images of shape {shape} as image_shape says", f"{got[1:]}", "drop image_shape"
        )
    if 0 in got:
        raise _checks.bad_value("X", "at least one image with pixels", f"shape {got}", "pass images")
    if isinstance(X, Tensor):
        if not X.is_floating_point():
            raise _checks.bad_type("X", "floating-point pixels", str(X.dtype), "pass X.float() / 255")
        return _checks.floating("X", X.detach()).reshape(len(X), -1), got[1:]
    array = np.asarray(X)
    if array.dtype.kind != "f":
        raise _checks.bad_type(
            "X",
            "floating-point pixels",
            str(array.dtype),
            "pass X.astype('float32') / 255 for integers up to 255",
        )
    bad = int((~np.isfinite(array)).sum())
    if bad:
        raise _checks.bad_value(
            "X", "finite pixels", f"{bad} NaN or infinite ones", "clean or impute them first"
        )
    return array.reshape(len(array), -1), got[1:]
