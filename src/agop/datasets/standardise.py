"""Per-feature standardisation with the statistics of the training points, and nothing else's."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Real
from sklearn.preprocessing import StandardScaler

from agop._blocks import row_blocks, rows_per_block
from agop._checks import bad_type, bad_value


@dataclass(frozen=True, eq=False)
class Standardiser:
    r"""Centre every feature and divide it by its standard deviation over the training points.

    .. math:: x_j \mapsto (x_j - \mu_j) / \sigma_j, \qquad \sigma_j^2 = \tfrac1n \sum_i (x_{ij} - \mu_j)^2

    A feature that is constant over the training points becomes exactly 0, in the training *and* in the test
    points (its `scale` is infinite). Dividing it by 1 instead, as `sklearn.preprocessing.StandardScaler`
    does, would let a border pixel that is lit in a single test image enter in raw units, up to 255 standard
    deviations from the rest.

    Attributes
    ----------
    mean, scale
        (d,) float64.

    """

    mean: Float64[np.ndarray, " d"]
    scale: Float64[np.ndarray, " d"]

    @classmethod
    def of(cls, x: Real[np.ndarray, "n d"]) -> Standardiser:
        """The statistics of the rows of `x`, in float64, block by block.

        Raises
        ------
        ValueError
            If a standard deviation is too large for a float64.

        """
        _check_points("x_train", x)
        scaler = StandardScaler()
        low, high = np.min(x, axis=0), np.max(x, axis=0)
        with np.errstate(over="ignore", invalid="ignore"):
            for rows in row_blocks(len(x), rows_per_block(len(x), 32 * x.shape[1])):
                scaler.partial_fit(x[rows].astype(np.float64))
            scale = np.sqrt(scaler.var_)
        constant = low == high
        if not (np.isfinite(scaler.mean_) & np.isfinite(scale))[~constant].all():
            raise bad_value(
                "x_train", "values whose variance is finite", f"up to {np.abs(x).max():.3g}", "rescale them"
            )
        # A spread below the resolution of the mean would be rounding noise blown up to unit variance.
        constant |= scale <= np.finfo(np.float64).eps * np.abs(scaler.mean_)
        return cls(mean=np.where(constant, low, scaler.mean_), scale=np.where(constant, np.inf, scale))

    @property
    def n_constant(self) -> int:
        """How many features are constant over the training points."""
        return int(np.isinf(self.scale).sum())

    def __call__(
        self, x: Real[np.ndarray, "n d"], dtype: np.dtype | type = np.float32
    ) -> Float[np.ndarray, "n d"]:
        """Standardised copy of the rows of `x` in `dtype`, computed in float64."""
        _check_points("x", x)
        try:
            dtype = np.dtype(dtype)
        except TypeError:
            raise bad_type("dtype", "a floating-point dtype", repr(dtype)) from None
        if dtype.kind != "f":
            raise bad_type("dtype", "a floating-point dtype", repr(dtype))
        if x.shape[1] != len(self.mean):
            raise bad_value(
                "x", f"{len(self.mean)} features", f"{x.shape[1]}", "pass points like the training points"
            )
        result = np.empty(x.shape, dtype=dtype)
        for rows in row_blocks(len(x), rows_per_block(len(x), 16 * x.shape[1])):
            result[rows] = (x[rows].astype(np.float64) - self.mean) / self.scale
        return result

    def fingerprint(self) -> str:
        """A hash of both arrays."""
        return hashlib.blake2b(self.mean.tobytes() + self.scale.tobytes(), digest_size=16).hexdigest()

    def arrays(self) -> Mapping[str, np.ndarray]:
        """The arrays to save; `Standardiser(**arrays)` is the same object again."""
        return {"mean": self.mean, "scale": self.scale}


def _check_points(name: str, x: object) -> None:
    """Raise unless `x` is an array of real numbers with at least one row and two axes."""
    if not isinstance(x, np.ndarray) or x.dtype.kind not in "biuf":
        got = f"dtype {x.dtype}" if isinstance(x, np.ndarray) else type(x).__name__
        raise bad_type(name, "an array of real numbers, (n, d)", got)
    if x.ndim != 2 or not len(x):
        raise bad_value(
            name, "an array of real numbers, (n, d), with at least one row", f"shape {x.shape}", "reshape it"
        )
