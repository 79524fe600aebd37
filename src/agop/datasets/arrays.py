"""What arrays must be like, whichever source they come from: flat finite points, one label each."""

from __future__ import annotations

import numpy as np

from agop._checks import bad_value


def points(name: str, array: np.ndarray) -> np.ndarray:
    """Flat finite numeric rows, in the dtype they came in (bool as uint8, half precision as float32)."""
    if array.dtype.kind not in "buif":
        raise bad_value(name, "real numbers", f"dtype {array.dtype}", "convert it to uint8 or float32")
    if array.ndim < 2 or array.size == 0:
        raise bad_value(
            name,
            "at least one point, as rows (n, ...)",
            f"shape {array.shape}",
            "put one point into each row",
        )
    flat = array.reshape(len(array), -1)
    if flat.dtype.kind == "f" and not np.isfinite(flat).all():
        count = int((~np.isfinite(flat)).sum())
        raise bad_value(
            name, "finite values", f"{count:,} NaN or infinite entries", "clean or impute them first"
        )
    if flat.dtype.kind == "b" or flat.dtype == np.float16:
        return flat.astype(np.uint8 if flat.dtype.kind == "b" else np.float32)
    return flat


def labels(name: str, array: np.ndarray, points_name: str, n_points: int) -> np.ndarray:
    """One integer or string label per point."""
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise bad_value(
            name, "one label per point, shape (n,)", f"shape {array.shape}", "take the argmax of one-hot rows"
        )
    if len(array) != n_points:
        raise bad_value(
            name, f"as many rows as {points_name} ({n_points})", f"{len(array)}", "pass matching rows"
        )
    if array.dtype.kind == "f":
        with np.errstate(invalid="ignore"):
            whole = (
                np.isfinite(array).all() and (array == np.round(array)).all() and np.abs(array).max() < 2**53
            )
        if not whole:
            raise bad_value(
                name, "class labels", "fractions, NaN or infinities", "this is a job for class labels"
            )
        return array.astype(np.int64)
    if array.dtype.kind not in "buiUS":
        raise bad_value(name, "integer or string labels", f"dtype {array.dtype}", "convert it to integers")
    return np.char.decode(array, "utf-8", "replace") if array.dtype.kind == "S" else array


def encode(name: str, values: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """The index of every label among the sorted classes of the training set."""
    if (values.dtype.kind == "U") != (classes.dtype.kind == "U"):
        raise bad_value(
            name,
            f"labels like those of y_train ({classes.dtype})",
            f"dtype {values.dtype}",
            "use one kind",
        )
    unseen = np.setdiff1d(values, classes)
    if len(unseen):
        listed = ", ".join(str(label) for label in unseen[:5]) + ("…" if len(unseen) > 5 else "")
        raise bad_value(name, "only classes of the training set", f"also {listed}", "remove these points")
    return np.searchsorted(classes, values).astype(np.int64)
