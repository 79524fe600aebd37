"""What RFM and Deep RFM estimators share: parameters checked in `fit`, classes, probabilities, saving."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from agop import _checks
from agop.machines import _inputs
from agop.machines._inputs import Place

Callback = Callable[[int, int, dict[str, Any]], None]
"""Called after each iteration or layer with (index from 0, how many in all, its history entry); may raise to stop the fit."""


E = TypeVar("E", bound="KernelEstimator")
# PEP 673's Self would say the same; the run-time checks of the tests cannot resolve it in single methods


class KernelEstimator(BaseEstimator):
    """Shared ground of the four estimators; a subclass gives `_fit_targets` and `_decision`."""

    def _fit_targets(
        self,
        X: Float[Tensor, "n d"],
        Y: Float[Tensor, "n c"],
        place: Place,
        *,
        labels: Int[Tensor, " n"] | None,
        sample_weight: Float[Tensor, " n"] | None,
        callback: Callback | None,
    ) -> None:
        raise TypeError("a subclass fits")

    def _decision(self, X: Float[Tensor, "m d"]) -> Float[Tensor, "m c"]:
        raise TypeError("a subclass predicts")

    def _checked(self, X: Any) -> tuple[Float[Tensor, "m d"], Place]:
        """New samples for a fitted estimator, where and in what it computes."""
        check_is_fitted(self)
        X, place = _inputs.check_X(self, X, reset=False, device=self.device_, dtype=self.dtype_)
        return X, place

    def _begin(self, X: Any) -> tuple[Float[Tensor, "n d"], Place]:
        X, place = _inputs.check_X(self, X, reset=True, device=self.device, dtype=self.dtype)
        self.device_, self.dtype_ = str(place.device), str(place.dtype).removeprefix("torch.")
        return X, place

    def _fit(
        self: E,
        X: Float[Tensor, "n d"],
        Y: Float[Tensor, "n c"],
        place: Place,
        labels: Int[Tensor, " n"] | None,
        sample_weight: Any,
        callback: Callback | None,
    ) -> E:
        weight = _inputs.check_weight(sample_weight, X, len(X), place)
        if weight is not None and bool((weight == 0).any()):
            kept = weight > 0  # a sample of weight zero is a sample that is not there
            X, Y, weight = X[kept], Y[kept], weight[kept]
            labels = None if labels is None else labels[kept.cpu()]
        self._fit_targets(X, Y, place, labels=labels, sample_weight=weight, callback=callback)
        return self

    def save(self, path: str | Path) -> None:
        """Write the fitted estimator to a safetensors file (no pickle); see `load`."""
        from agop.machines.persistence import save

        save(self, path)

    @classmethod
    def load(cls: type[E], path: str | Path, *, device: Any = None) -> E:
        """Read an estimator that `save` wrote; raises `ValueError` with one sentence for any other file."""
        from agop.machines.persistence import load

        estimator = load(path, device=device)
        if not isinstance(estimator, cls):
            raise _checks.bad_value("path", f"a saved {cls.__name__}", f"a saved {type(estimator).__name__}")
        return estimator


class KernelRegressor(RegressorMixin, KernelEstimator):
    """The regression side: targets with one or two axes."""

    def fit(self: E, X: Any, y: Any, sample_weight: Any = None, *, callback: Callback | None = None) -> E:
        """Fit to targets `y`, (n,) or (n, c); see the class for `callback`."""
        X, place = self._begin(X)
        Y, self._one_axis_ = _inputs.check_targets(y, len(X), place)
        return self._fit(X, Y, place, None, sample_weight, callback)

    def predict(self, X: Any) -> Any:
        """Predicted targets, with as many axes as `y` had in `fit`."""
        X, place = self._checked(X)
        return self._as_targets(self._decision(X), place)

    def _as_targets(self, values: Float[Tensor, "m c"], place: Place) -> Any:
        return place.returned(values[:, 0] if self._one_axis_ else values)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.single_output = True
        tags.target_tags.multi_output = True
        return tags


class KernelClassifier(ClassifierMixin, KernelEstimator):
    """The classification side: labels of any kind, fitted as ±1 one-hot targets."""

    def fit(self: E, X: Any, y: Any, sample_weight: Any = None, *, callback: Callback | None = None) -> E:
        """Fit to labels `y` (n,), numbers or strings, of at least two classes; see the class for `callback`."""
        X, place = self._begin(X)
        self.classes_, index = _inputs.check_labels(y, len(X))
        Y = _inputs.signed_one_hot(index, len(self.classes_), place)
        return self._fit(X, Y, place, index, sample_weight, callback)

    def predict(self, X: Any) -> np.ndarray:
        """The class of the largest predicted target, (m,)."""
        X, _ = self._checked(X)
        return self._as_labels(self._decision(X))

    def decision_function(self, X: Any) -> Any:
        """Predicted ±1 targets (m, C); for two classes the second column less the first, halved, (m,)."""
        X, place = self._checked(X)
        values = self._decision(X)
        return place.returned((values[:, 1] - values[:, 0]) / 2 if values.shape[1] == 2 else values)

    def predict_proba(self, X: Any) -> Any:
        r"""Class probabilities (m, C): the ±1 targets mapped to 0 and 1, clipped from below and normalised.

        :math:`p_c \propto \max(0, (f_c + 1)/2)`; where all are 0, :math:`p_c \propto 1/(1 + \max f - f_c)`. Not calibrated: use
        `sklearn.calibration.CalibratedClassifierCV` for that.
        """
        X, place = self._checked(X)
        values = self._decision(X)
        shares = ((values + 1) / 2).clamp_min(0)
        distant = 1 / (1 + values.max(1, keepdim=True).values - values)
        shares = torch.where(shares.sum(1, keepdim=True) > 0, shares, distant)
        return place.returned(shares / shares.sum(1, keepdim=True))

    def _as_labels(self, values: Float[Tensor, "m c"]) -> np.ndarray:
        return self.classes_[values.argmax(1).cpu().numpy()]
