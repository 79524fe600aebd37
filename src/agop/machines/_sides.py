"""The two sides of an estimator: regression with targets, classification with labels of any kind."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from sklearn.base import ClassifierMixin, RegressorMixin
from torch import Tensor

from agop import _checks
from agop.machines import _inputs
from agop.machines._base import KernelEstimator
from agop.machines._inputs import Place


class KernelRegressor(RegressorMixin, KernelEstimator):
    """The regression side: targets with one or two axes."""

    def _targets(
        self, name: str, y: Any, n: int, place: Place, learned: dict[str, Any], counts: np.ndarray | None
    ) -> tuple[Float[Tensor, "m c"], Int[Tensor, " m"] | None]:
        Y, one_axis = _inputs.check_targets(name, y, n, place)
        known = learned.setdefault("n_outputs_", Y.shape[1])
        learned.setdefault("_one_axis_", one_axis)
        if Y.shape[1] != known:
            raise _checks.bad_value(name, f"{known} columns like y", f"{Y.shape[1]}")
        return (Y if counts is None else Y[torch.from_numpy(counts).to(Y.device)]), None

    def predict(self, X: Any) -> Any:
        """Predicted targets, with as many axes as `y` had in `fit`."""
        X, place = self._checked(X)
        return self._as_targets(self._decision(X), place)

    def _as_targets(self, values: Float[Tensor, "m c"], place: Place) -> Any:
        values = values[:, 0] if self._one_axis_ else values
        return place.returned(values, self._scale_of_targets().dtype(place.given_dtype))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.single_output = True
        tags.target_tags.multi_output = True
        return tags


class KernelClassifier(ClassifierMixin, KernelEstimator):
    """The classification side: labels of any kind, fitted as ±1 one-hot targets."""

    def _targets(
        self, name: str, y: Any, n: int, place: Place, learned: dict[str, Any], counts: np.ndarray | None
    ) -> tuple[Float[Tensor, "m c"], Int[Tensor, " m"] | None]:
        classes, index = _inputs.check_labels(name, y, n, learned.get("classes_"), counts)
        learned["classes_"] = classes
        return _inputs.signed_one_hot(index, len(classes), place), index

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
