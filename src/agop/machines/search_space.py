"""What a search of RFM draws from: recursions, and the ridges that are tried in each of their iterations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from scipy.stats import loguniform
from sklearn.model_selection import ParameterSampler

from agop import _checks
from agop.kernels import Kernel

RIDGES = (1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0)
"""Ridges on top of a learned metric."""

_FEW_COLUMNS = 10

SEARCHED = (
    "kernel",
    "bandwidth",
    "bandwidth_factor",
    "bandwidth_at",
    "power",
    "scale",
    "diagonal",
    "center_gradients",
    "learning_ridge",
)
"""Parameters of RFM that a recursion may be given."""


def _of(kernel: str, factor: float, ridge: float, **others: Any) -> dict[str, Any]:
    return {"kernel": kernel, "bandwidth_factor": factor, "learning_ridge": ridge, **others}


def default_space(columns: int) -> list[dict[str, Any]]:
    """Distributions over recursions: diagonal metrics and full ones, kernels of distances and of single columns.

    With at most ten columns "lpq" is among them, whose distances cost many times those of other kernels.
    """
    common = {
        "bandwidth_factor": loguniform(0.1, 64),
        "bandwidth_at": ["start", "each"],
        "learning_ridge": [1e-3, 1e-2, 0.1, 1.0],
        "power": [0.25, 0.5],
    }
    diagonal = {**common, "diagonal": [True]}
    full = {**common, "diagonal": [False], "center_gradients": [False, False, True]}
    radial = [{**part, "kernel": [kernel]} for kernel in ("laplace", "gaussian") for part in (diagonal, full)]
    l1 = {**diagonal, "kernel": ["l1"]}
    rare = {**common, "kernel": ["laplace", "l1", "lpq"], "diagonal": [True]}
    return [*radial, *radial, l1, l1, *([rare] if columns <= _FEW_COLUMNS else [])]


FIRST: tuple[dict[str, Any], ...] = (
    _of("laplace", 12.0, 1e-3, power=0.5, diagonal=True),
    _of("gaussian", 3.0, 0.1, power=0.5, diagonal=True, bandwidth_at="each"),
    _of("laplace", 0.5, 0.1, power=0.5),
    _of("l1", 0.5, 0.1, diagonal=True),
    _of("gaussian", 0.16, 0.01, power=0.5, center_gradients=True),
    _of("gaussian", 0.1, 0.01, power=0.5, diagonal=True),
    _of("laplace", 4.0, 0.1),
    _of("l1", 10.0, 1.0, power=0.5, diagonal=True, bandwidth_at="each"),
)
"""What a search of the default space begins with: six of those that serve 42 tables best together, with round values
(benchmarks/portfolio.py), a narrow kernel with a full metric, which targets with little noise ask for, and the default of RFM."""


def drawn(distributions: Any, seed: int, columns: int) -> Iterator[dict[str, Any]]:
    """Recursions without end: the first ones if `distributions` is None, then draws."""
    space = default_space(columns) if distributions is None else _checked(distributions)
    if distributions is None:
        yield from (dict(one) for one in FIRST)
    if all(hasattr(one, "__len__") for part in space for one in part.values()):
        count = sum(_size(part) for part in space)
        yield from ParameterSampler(space, count, random_state=seed % 2**32)
        return
    batch = 0
    while True:  # a sampler must know how many it draws; it draws the same ones again with the same seed
        yield from ParameterSampler(space, 64, random_state=(seed + 7919 * batch) % 2**32)
        batch += 1


def _size(part: Mapping[str, Any]) -> int:
    size = 1
    for values in part.values():
        size *= len(values)
    return size


def _checked(distributions: Any) -> list[dict[str, Any]]:
    expected = "a dict, or a list of dicts, from parameters to lists or scipy distributions"
    parts = [distributions] if isinstance(distributions, Mapping) else distributions
    if (
        not isinstance(parts, list | tuple)
        or not all(isinstance(part, Mapping) for part in parts)
        or not parts
    ):
        raise _checks.bad_type("param_distributions", expected, type(distributions).__name__)
    for part in parts:
        for name, values in part.items():
            if name not in SEARCHED:
                remedy = "ridge and n_iter are tried in every recursion: set ridges= and n_iter="
                raise _checks.bad_value(
                    "param_distributions", "parameters among " + ", ".join(SEARCHED), repr(name), remedy
                )
            drawable = hasattr(values, "rvs") or (hasattr(values, "__len__") and not isinstance(values, str))
            if not drawable or (not hasattr(values, "rvs") and len(values) == 0):
                raise _checks.bad_value("param_distributions", expected, f"{name}: {_checks.shown(values)}")
    return [dict(part) for part in parts]


def completed(asked: Mapping[str, Any]) -> dict[str, Any]:
    """All parameters of a recursion as plain values: what was not drawn is the default of RFM, but for `learning_ridge`, which is 0.1."""
    chosen = {name: _checks.plain(value) for name, value in asked.items()}
    chosen.setdefault("learning_ridge", 0.1)
    kernel = chosen.get("kernel", "laplace")
    columns = kernel == "l1" or (isinstance(kernel, Kernel) and not kernel.mixes_columns)
    if columns:
        chosen.setdefault("diagonal", True)
    return chosen
