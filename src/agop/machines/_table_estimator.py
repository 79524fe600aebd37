"""What estimators of tables share: columns of numbers, categories and gaps, and names for what is learned of them."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from agop import _checks
from agop.kernels import KERNELS
from agop.machines._base import KernelEstimator
from agop.machines._inputs import rounded
from agop.machines.columns import SCALINGS, Columns
from agop.machines.encoding import Encoding
from agop.machines.importances import column_importances
from agop.machines.samples import Samples

READ = (
    "n_features_in_", "feature_names_in_", "categories_", "classes_", "n_outputs_", "_one_axis_", "device_", "dtype_",
)  # fmt: skip
"""What reading the samples leaves on an estimator, and each that is fitted to parts of them has too."""


class TableEstimator(KernelEstimator):
    """An estimator whose columns may hold categories and gaps, and are rescaled; a subclass gives `agop_` and `predictor_agop_`."""

    _takes_tables = True
    categories_: list[list[Any] | None] | None

    def _learn_columns(self, samples: Samples) -> None:
        _checks.one_of("scaling", self.scaling, SCALINGS)
        centered = bool(getattr(self._kernel_class, "shift_invariant", True))
        encoding = Encoding.of(samples.X, self.categories_)
        columns = encoding.columns(samples.X, samples.weight, self.scaling, centered=centered)
        self.column_means_, self.column_scales_ = columns.means, columns.scales
        self.missing_indicator_ = encoding.gaps

    @property
    def _kernel_class(self) -> Any:
        """What knows of invariances: a kernel, or the class of a name."""
        return (
            KERNELS[self.kernel] if isinstance(self.kernel, str) and self.kernel in KERNELS else self.kernel
        )

    @property
    def _encoding(self) -> Encoding:
        levels = self.categories_ or [None] * self.n_features_in_
        return Encoding(levels, self.missing_indicator_)

    def _placed(self, X: Float[Tensor, "m d"], dtype: torch.dtype) -> Float[Tensor, "m p"]:
        encoded = self._encoding.expanded(X)
        return rounded(Columns(self.column_means_, self.column_scales_)(encoded, dtype), dtype)

    @property
    def encoded_feature_names_(self) -> list[str]:
        """Names of the columns that `agop_` is about: "age", "age is missing", "city=Rome"."""
        check_is_fitted(self)
        given = getattr(self, "feature_names_in_", [f"x{j}" for j in range(self.n_features_in_)])
        return self._encoding.names([str(name) for name in given])

    @property
    def _indicator_groups(self) -> list[list[int]]:
        """The encoded columns of each column of categories."""
        encoding = self._encoding
        first, sources = len(encoding.numbers) + len(encoding.gaps), encoding.sources
        return [
            [first + int(k) for k in (sources[first:] == j).nonzero()[0]]
            for j, known in enumerate(encoding.levels)
            if known
        ]

    @property
    def feature_importances_(self) -> np.ndarray:
        """How much the predictor changes along each input column: shares (d,) of the trace of `predictor_agop_`, with sum 1.

        In standardised coordinates, so that they don't depend on units. A column of categories counts as one: of the gradient over its
        levels the mean is left out, because only one of them can be on. Zeros, with a warning, if the predictor is constant.
        """
        M, groups = self.predictor_agop_, self._indicator_groups
        shares = column_importances(M, self._encoding.sources, groups, self.n_features_in_)
        if not shares.any():
            message = "feature_importances_ are zeros: the predictor is constant at every training point."
            warnings.warn(message, UserWarning, stacklevel=2)
        return shares

    @property
    def agop_in_units_(self) -> Float[Tensor, "d d"]:
        r"""`agop_` with respect to the columns as they were passed, in float64: :math:`D^{-1} M D^{-1}` with D = diag(`column_scales_`).

        Row and column of a column without variation are 0. Of an M that `scale` has rescaled, only ratios mean something.
        """
        check_is_fitted(self)
        scales = self.column_scales_
        inverse = torch.where(scales > 0, 1 / torch.where(scales > 0, scales, 1.0), 0.0)
        return self.agop_.double() * inverse * inverse[:, None]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.sparse = True
        tags.input_tags.categorical = True
        return tags
