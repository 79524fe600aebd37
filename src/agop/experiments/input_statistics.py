"""Means and standard deviations that a model's inputs were scaled with in training, from the file that keeps them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from agop._checks import bad_value
from agop.datasets import Standardiser
from agop.datasets.npz import DAMAGED, read_arrays
from agop.networks.models import image_layout

MEANS, SCALES = ("mean", "means", "mean_", "image_mean"), ("scale", "std", "stds", "scale_", "image_std")
"""Names of the two entries: those of `agop network`, of scikit-learn's scaler, of torchvision's and Hugging Face's preprocessing."""

_MOST_BYTES = 64 * 2**20
_REMEDY = "write numpy.savez(path, mean=..., scale=...), or JSON with these two lists"


def read_statistics(path: str, shape: tuple[int, ...]) -> Standardiser:
    """The standardiser that a .npz or .json file with `mean` and `scale` (or `std`) describes.

    Parameters
    ----------
    path
        The file. Its two arrays hold one number, a number a channel of images, or a number a feature.
    shape
        Of one point.

    Raises
    ------
    ValueError
        One sentence, if the file can't be read, lacks an array, or its arrays fit no points of this shape.
    """
    try:
        arrays = _arrays(Path(path))
        mean, scale = (_entry(arrays, names) for names in (MEANS, SCALES))
    except DAMAGED as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise bad_value(
            "statistics", "a .npz or .json file with mean and scale", f"{path!r} ({reason})", _REMEDY
        ) from None
    return Standardiser(_by_feature(mean, shape, path), _by_feature(scale, shape, path))


def _arrays(path: Path) -> Mapping[str, Any]:
    if path.suffix != ".json":
        return read_arrays(path, _MOST_BYTES)
    if path.stat().st_size > _MOST_BYTES:
        raise ValueError("larger than any list of statistics")
    content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise TypeError("no JSON object")
    return content


def _entry(arrays: Mapping[str, Any], names: tuple[str, ...]) -> np.ndarray:
    found = next((arrays[name] for name in names if name in arrays), None)
    if found is None:
        raise ValueError(f"it has no {names[0]}")
    values = np.asarray(found, dtype=np.float64)
    if np.isnan(values).any() or (names is SCALES and not (values > 0).all()):
        raise ValueError(
            f"{names[0]} holds " + ("entries that are not above 0" if names is SCALES else "NaN")
        )
    return values


def _by_feature(values: np.ndarray, shape: tuple[int, ...], path: str) -> np.ndarray:
    """A number for each feature of a flattened point."""
    d, flat = math.prod(shape), values.reshape(-1)
    if len(flat) == 1:
        return np.repeat(flat, d)
    if len(flat) == d:
        return flat
    if len(shape) == 3:
        channels, height, width = image_layout(shape)
        if len(flat) == channels:
            last = shape != (channels, height, width)
            return np.tile(flat, height * width) if last else np.repeat(flat, height * width)
    expected = (
        f"1 number, one a channel, or one for each of {d:,} features (shape {'×'.join(map(str, shape))})"
    )
    raise bad_value(
        "statistics", expected, f"{len(flat)} in {path!r}", "take the file of the model's training"
    )
