"""The two sides of an estimator: regression with targets, classification with labels of any kind."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from sklearn.base import ClassifierMixin, RegressorMixin
from torch import Tensor

from agop import _checks
from agop.machines import _inputs
from agop.machines._base import KernelEstimator
from agop.machines._in_blocks import in_blocks
from agop.machines._inputs import Place
from agop.machines.probabilities import shares_of
from agop.machines.samples import Samples

_TENSOR_KINDS = ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64")
"""Labels that torch has a dtype for and that every operation takes."""


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

    @in_blocks
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

    def _reweighted(self, samples: Samples) -> Samples:
        """Training samples whose weights are multiplied by those of their classes, where the estimator has `class_weight`."""
        asked = getattr(self, "class_weight", None)
        if asked is None or samples.labels is None:
            return samples
        labels = samples.labels.to(samples.X.device)
        weight = torch.ones_like(labels, dtype=torch.float64) if samples.weight is None else samples.weight
        count = len(self.classes_)
        if isinstance(asked, str):
            mass = weight.new_zeros(count).index_add_(0, labels, weight / weight.max())
            factors = mass.sum() / (count * mass)
        else:
            factors = _class_factors(asked, self.classes_).to(weight)
        return replace(samples, weight=weight * factors[labels])

    @in_blocks
    def predict(self, X: Any) -> Any:
        """The class of the largest predicted target, (m,): a tensor for tensors if the labels are numbers, else an array."""
        X, place = self._checked(X)
        return self._as_labels(self._decision(X), place)

    @in_blocks
    def decision_function(self, X: Any) -> Any:
        """Predicted ±1 targets (m, C); for two classes the second column less the first, halved, (m,)."""
        X, place = self._checked(X)
        values = self._decision(X)
        return place.returned((values[:, 1] - values[:, 0]) / 2 if values.shape[1] == 2 else values)

    @in_blocks
    def predict_proba(self, X: Any) -> Any:
        r"""Class probabilities (m, C): the ±1 targets mapped to 0 and 1, clipped from below and normalised.

        :math:`p_c \propto \max(0, (f_c + 1)/2)`; where all are 0, :math:`p_c \propto 1/(1 + \max f - f_c)`. Not calibrated: use
        `sklearn.calibration.CalibratedClassifierCV` for that.
        """
        X, place = self._checked(X)
        return place.returned(shares_of(self._decision(X)))

    def predict_log_proba(self, X: Any) -> Any:
        """Logarithms of `predict_proba`, (m, C): −inf where a class has no probability."""
        shares = self.predict_proba(X)
        if isinstance(shares, Tensor):
            return shares.log()
        with np.errstate(divide="ignore"):
            return np.log(shares)

    def _as_labels(self, values: Float[Tensor, "m c"], place: Place) -> Any:
        labels = self.classes_[values.argmax(1).cpu().numpy()]
        if place.given_tensor and labels.dtype.kind in "biuf" and labels.dtype.name in _TENSOR_KINDS:
            return torch.from_numpy(labels).to(place.given_device)
        return labels


def _class_factors(asked: dict[Any, float], classes: np.ndarray) -> Tensor:
    """The weight of each class, 1 where none is named."""
    known = classes.tolist()
    unknown = [label for label in asked if label not in known]
    if unknown:
        raise _checks.bad_value("class_weight", "labels that occur in y", repr(unknown[0]), "leave it out")
    factors = [_checks.real("class_weight", asked.get(label, 1.0), above=0) for label in known]
    return torch.tensor(factors, dtype=torch.float64)
