r"""Teacher and students: networks with one hidden layer that learn the labels of such a network, and what stands beside them.

A student is :math:`f(x) = a \cdot \sigma(W x + b)` with m units. All of W, b, a are trained on half the mean squared error by L-BFGS (full
batch, float64) until the error is `TARGET` of the labels' variance, or for a number of steps. Labels are centred and scaled to variance 1
on the training points, so that an error is a share of the variance.

students.csv    student ("tanh", "relu", "features", "degree 1", "degree 2"), labels ("teacher", "permuted"), width (units, random features
                or monomials), points, train, test (mean squared errors), steps
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.optimize import minimize

from agop.experiments.tables import write_table
from agop.experiments.units import Unit
from agop.machines.polynomial import PolynomialRegressor

TARGET = 1e-5
"""The training error, a share of the variance of the labels, at which a student is told to stop."""

RIDGES = [1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0]
"""From which held-out points choose the ridge of a polynomial."""

Rows = Float[np.ndarray, "n d"]
Values = Float[np.ndarray, " n"]


@dataclass(frozen=True, eq=False)
class Lesson:
    """Points in the cube [-1, 1]^d and the teacher's labels: training, in random order, and test."""

    X: Rows
    y: Values
    X_test: Rows
    y_test: Values

    def first(self, n: int, permuted: np.random.Generator | None = None) -> Lesson:
        """The first n training points, labels scaled by their mean and standard deviation; with a generator, labels in its order."""
        mean, std = self.y[:n].mean(), self.y[:n].std()
        y = (self.y[:n] - mean) / std
        y = y if permuted is None else permuted.permutation(y)
        return Lesson(self.X[:n], y, self.X_test, (self.y_test - mean) / std)


def lesson(seed: int, n: int, d: int, units: int, gain: float, test: int) -> Lesson:
    r"""A teacher :math:`a \cdot \tanh(W x + b)` and its labels on points that are uniform in the cube.

    :math:`W_{jk} \sim N(0, 3g^2/d)`, so that :math:`W x` has variance :math:`g^2`; :math:`b_j \sim N(0, 1/4)`;
    :math:`a_j \sim N(0, 1)`.
    """
    rng = np.random.default_rng([seed, 0])
    W, b, a = _start(d, units, rng)
    X, X_test = rng.uniform(-1, 1, (n, d)), rng.uniform(-1, 1, (test, d))
    return Lesson(X, np.tanh(gain * X @ W.T + b) @ a, X_test, np.tanh(gain * X_test @ W.T + b) @ a)


def _start(d: int, m: int, rng: np.random.Generator) -> tuple[Rows, Values, Values]:
    """Weights that give units variance 1 on the cube, biases, and outputs of about variance 1."""
    W = rng.normal(size=(m, d)) * np.sqrt(3 / d)
    return W, rng.normal(size=m) / 2, rng.normal(size=m) / np.sqrt(m)


class _Interpolated(Exception):
    """The training error is at the target."""


@dataclass
class Student:
    r"""A network :math:`a \cdot \sigma(W x + b)`; `parameters` are W, b and a in one vector."""

    activation: str
    width: int
    parameters: Values
    steps: int = 0

    @classmethod
    def untrained(cls, activation: str, width: int, d: int, rng: np.random.Generator) -> Student:
        """With random weights."""
        return cls(activation, width, np.concatenate([part.ravel() for part in _start(d, width, rng)]))

    def layers(self, parameters: Values) -> tuple[Rows, Values, Values]:
        """W (m, d), b (m,), a (m,)."""
        m = self.width
        W = parameters[: -2 * m].reshape(m, -1)
        return W, parameters[-2 * m : -m], parameters[-m:]

    def __call__(self, X: Rows) -> Values:
        """Values at the rows of X."""
        W, b, a = self.layers(self.parameters)
        return self._units(X @ W.T + b) @ a

    def loss(self, parameters: Values, X: Rows, y: Values) -> tuple[float, Values]:
        """Half the mean squared error, and its gradient."""
        W, b, a = self.layers(parameters)
        H = self._units(X @ W.T + b)
        error = (H @ a - y) / len(X)
        slopes = 1 - H * H if self.activation == "tanh" else (H > 0).astype(float)
        delta = error[:, None] * a * slopes
        gradient = np.concatenate([(delta.T @ X).ravel(), delta.sum(0), H.T @ error])
        return float(error @ error) * len(X) / 2, gradient

    def learn(self, X: Rows, y: Values, max_steps: int) -> None:
        """Train by L-BFGS, until the mean squared error is `TARGET` or for so many steps."""

        def loss(parameters: Values) -> tuple[float, Values]:
            value, gradient = self.loss(parameters, X, y)
            self.parameters = parameters.copy() if 2 * value <= TARGET else self.parameters
            if 2 * value <= TARGET:
                raise _Interpolated
            return value, gradient

        def stepped(_: Any) -> None:
            self.steps += 1

        options = {"maxiter": max_steps, "maxfun": 2 * max_steps, "maxcor": 30, "gtol": 1e-12, "ftol": 0.0}
        try:
            found = minimize(
                loss, self.parameters, jac=True, method="L-BFGS-B", callback=stepped, options=options
            )
            self.parameters = found.x
        except _Interpolated:
            pass

    def _units(self, Z: Rows) -> Rows:
        return np.tanh(Z) if self.activation == "tanh" else np.maximum(Z, 0)


def run_students(unit: Unit, folder: Path) -> list[str]:
    """Students of every width on the teacher's labels of 50, 100, … points, and one width on labels in another order."""
    options: dict[str, Any] = dict(unit.options)
    assert unit.data is not None
    whole: Lesson = unit.data.load(unit.seed)
    rows: list[dict[str, Any]] = []
    for place, n in enumerate(options["points"]):
        taught = whole.first(n)
        for width in options["widths"]:
            rows.append(_student(taught, options, width, [unit.seed, 1, place, width]))
        permuted = whole.first(n, np.random.default_rng([unit.seed, 2, place]))
        row = _student(permuted, options, options["permuted_width"], [unit.seed, 3, place])
        rows.append({**row, "labels": "permuted"})
    write_table(folder, "students", pd.DataFrame(rows))
    return []


def _student(taught: Lesson, options: dict[str, Any], width: int, seed: list[int]) -> dict[str, Any]:
    activation = str(options["activation"])
    student = Student.untrained(activation, width, taught.X.shape[1], np.random.default_rng(seed))
    student.learn(taught.X, taught.y, int(options["max_steps"]))
    return _row(activation, width, taught, student(taught.X), student(taught.X_test), student.steps)


def _row(
    name: str, width: int, taught: Lesson, train: Values, test: Values, steps: int = 0
) -> dict[str, Any]:
    errors = {
        "train": float(np.mean((train - taught.y) ** 2)),
        "test": float(np.mean((test - taught.y_test) ** 2)),
    }
    return {
        "student": name,
        "labels": "teacher",
        "width": width,
        "points": len(taught.y),
        **errors,
        "steps": steps,
    }


def run_beside(unit: Unit, folder: Path) -> list[str]:
    """What learns the same labels without training a hidden layer: polynomials, and interpolation by random tanh features."""
    options: dict[str, Any] = dict(unit.options)
    assert unit.data is not None
    whole: Lesson = unit.data.load(unit.seed)
    rows = []
    for n in options["points"]:
        rows += list(_polynomials(whole.first(n), unit.seed))
    n = options["points"][-1]
    for factor in options["factors"]:
        rng = np.random.default_rng([unit.seed, 4, int(100 * factor)])
        rows.append(_random_features(whole.first(n), int(factor * n), rng))
    write_table(folder, "students", pd.DataFrame(rows))
    return []


def _polynomials(taught: Lesson, seed: int) -> Iterator[dict[str, Any]]:
    for degree in (1, 2):
        chosen = PolynomialRegressor(degree, ridge=RIDGES, validation=0.2, random_state=seed)
        ridge = chosen.fit(taught.X, taught.y).ridge_
        model = PolynomialRegressor(degree, ridge=ridge).fit(taught.X, taught.y)
        count = model.machine_.monomials.count
        predicted = model.predict(taught.X), model.predict(taught.X_test)
        yield _row(f"degree {degree}", count, taught, *predicted)


def _random_features(taught: Lesson, width: int, rng: np.random.Generator) -> dict[str, Any]:
    """The smallest coefficients that interpolate with units that are not trained."""
    W, b, _ = _start(taught.X.shape[1], width, rng)
    H, H_test = np.tanh(taught.X @ W.T + b), np.tanh(taught.X_test @ W.T + b)
    a = np.linalg.lstsq(H, taught.y, rcond=None)[0]
    return _row("features", width, taught, H @ a, H_test @ a)
