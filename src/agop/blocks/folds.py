"""Which rows are held out together: from their numbers alone, so that no pass is needed and blocks may be cut anywhere."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int

from agop import _checks

_GOLDEN, _FIRST, _SECOND = (
    np.uint64(0x9E3779B97F4A7C15),
    np.uint64(0xBF58476D1CE4E5B9),
    np.uint64(0x94D049BB133111EB),
)


def fold_of(rows: Int[np.ndarray, " b"], parts: int, seed: int) -> Int[np.ndarray, " b"]:
    """The fold, 0 to parts − 1, of each row number: the mixed bits of number and seed (splitmix64), modulo the number of parts.

    Folds are as large as each other but for chance, about √n rows. Equal rows with different numbers may be parted: where rows occur
    several times, group them before.
    """
    parts = _checks.integer("parts", parts, at_least=2)
    mixed = _mixed(rows.astype(np.uint64) ^ _mixed(np.array([seed % 2**63], dtype=np.uint64)))
    return (mixed % np.uint64(parts)).astype(np.int64)


def _mixed(z: np.ndarray) -> np.ndarray:
    """The output function of splitmix64 (Steele, Lea and Flood 2014)."""
    with np.errstate(over="ignore"):
        z = z + _GOLDEN
        z = (z ^ (z >> np.uint64(30))) * _FIRST
        z = (z ^ (z >> np.uint64(27))) * _SECOND
        return z ^ (z >> np.uint64(31))
