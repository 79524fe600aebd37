"""What every loader returns: flat rows, integer labels, and where they came from.

Data layout: points are rows. An image of shape (28, 28) or (3, 32, 32) is flattened in C order to (784,) or
(3072,); `Dataset.shape` keeps the shape it had. Labels are indices into `class_names`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Int, Shaped


@dataclass(frozen=True, eq=False)
class Raw:
    """Arrays as a source delivers them: any numeric shape (n, ...), labels of any kind."""

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray | None
    y_test: np.ndarray | None
    class_names: tuple[str, ...] | None = None


@dataclass(frozen=True, eq=False)
class Dataset:
    """Training and test points of one data set.

    Attributes
    ----------
    name
        The registered name, or the file name without its folder.
    x_train, x_test
        (n, d) rows in the dtype of the source, not standardised; `x_test` is None if there is no test set.
    y_train, y_test
        (n,) int64 indices into `class_names`.
    shape
        The shape of one point before it was flattened.
    class_names
        One name per class of the whole training set, in label order.
    source
        Where the points came from and which were taken, in one sentence.
    notes
        What a reader of the results must know, such as classes that the chosen training points lack.

    """

    name: str
    x_train: Shaped[np.ndarray, "n d"]
    y_train: Int[np.ndarray, " n"]
    x_test: Shaped[np.ndarray, "m d"] | None
    y_test: Int[np.ndarray, " m"] | None
    shape: tuple[int, ...]
    class_names: tuple[str, ...]
    source: str
    notes: tuple[str, ...] = field(default=())

    def fingerprint(self) -> str:
        """A hash of all points and labels: two data sets with the same fingerprint hold the same numbers."""
        digest = hashlib.blake2b(digest_size=16)
        for array in (self.x_train, self.y_train, self.x_test, self.y_test):
            if array is None:
                digest.update(b"none")
                continue
            digest.update(f"{array.dtype.str}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()
