"""What is tried for each block."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from agop import _checks
from agop.kernels import KERNELS


@dataclass(frozen=True, kw_only=True)
class ConceptSearch:
    """The candidates of each block, of which held-out predictions choose.

    Recursions are all combinations of `bandwidth_factors`, `learning_ridges` and `center_gradients`; each gives `n_iter` + 1 metrics, and
    each metric is tried with every ridge.

    Attributes
    ----------
    kernel
        "laplace" or "gaussian": a kernel that learns a full metric.
    bandwidth_factors
        Bandwidths, in units of the median distance of the samples.
    learning_ridges
        Of the fits that the metric is learned from.
    center_gradients
        Whether the metric is the covariance of the gradients instead of their second moment.
    power
        Hidden states are mapped by this power of the AGOP.
    n_iter
        How often the metric is learned at most; iteration 0 is kernel ridge regression.
    ridges
        Of the fits that predict.
    inverse_penalties
        C of the logistic regressions beside (1/C of the ridge regressions, where `y` is a number).
    scaling
        "common": hidden states are centred and divided by one number; "columns": each feature by its standard deviation.
    n_components
        Directions of each class (one for two classes, or a number): top eigenvectors of the AGOP.
    cv
        Folds.
    """

    kernel: str = "laplace"
    bandwidth_factors: tuple[float, ...] = (1.0, 4.0)
    learning_ridges: tuple[float, ...] = (1.0,)
    center_gradients: tuple[bool, ...] = (False,)
    power: float = 0.25
    n_iter: int = 3
    ridges: tuple[float, ...] = (1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0)
    inverse_penalties: tuple[float, ...] = (1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0)
    scaling: str = "columns"
    n_components: int = 1
    cv: int = 3

    def __post_init__(self) -> None:
        _checks.one_of(
            "search.kernel", self.kernel, [name for name in ("laplace", "gaussian") if name in KERNELS]
        )
        _checks.one_of("search.scaling", self.scaling, ("common", "columns"))
        _checks.real("search.power", self.power, above=0)
        for name, least in (("n_iter", 0), ("n_components", 1), ("cv", 2)):
            _checks.integer(f"search.{name}", getattr(self, name), at_least=least)
        for name in ("bandwidth_factors", "ridges", "learning_ridges", "inverse_penalties"):
            numbers = _listed(name, getattr(self, name))
            checked = tuple(_checks.real(f"search.{name}", number, above=0) for number in numbers)
            object.__setattr__(self, name, checked)
        for flag in _listed("center_gradients", self.center_gradients):
            _checks.one_of("search.center_gradients", flag, (False, True))
        object.__setattr__(self, "center_gradients", tuple(self.center_gradients))

    def plain(self) -> dict[str, Any]:
        """The options as JSON."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def _listed(name: str, values: Any) -> list[Any]:
    if isinstance(values, str) or not hasattr(values, "__len__") or len(values) == 0:
        expected = "a tuple with a candidate or more"
        raise _checks.bad_type(f"search.{name}", expected, _checks.shown(values))
    return list(values)
