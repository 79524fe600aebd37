"""Polynomials beside a network on images: accuracy, the interpolation peak, and the AGOPs of three machines.

Rows are centred and divided by one number, so that their mean squared length is the number of columns: pixels, or principal components of
the training points where there are more than 100 pixels. Polynomials take `scaling="common"`.

images:  accuracy.csv   method, monomials, ridge, train, test (accuracies)
         agop.csv       first, second, all, off_diagonal, diagonal (Pearson correlations of entries of two AGOPs), cosine
         agops.npz      each AGOP, divided by its largest entry
peak:    points.csv     monomials, points, share (points over monomials), ridge, train, test (errors)
         ridges.csv     set ("as many points as monomials", "eight times as many", "all"), monomials, points, ridge, train, test (errors)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from sklearn.decomposition import PCA
from torch import nn

from agop.datasets import Dataset
from agop.experiments.files import atomic
from agop.experiments.studies.emschwiller2020_students import RIDGES
from agop.experiments.tables import write_table
from agop.experiments.units import Unit
from agop.gradients import agop
from agop.machines.polynomial import PolynomialClassifier
from agop.machines.rfm import RFMClassifier
from agop.networks.models import mlp
from agop.networks.training import Training, train

_RFM_0_1 = {
    "bandwidth": 10.0,
    "ridge": 1e-3,
    "power": 0.5,
    "scaling": "none",
    "center_targets": False,
}
"""The RFM that the study's numbers were made with: defaults of 0.1.0."""

MOST_COLUMNS = 100
"""With more pixels than this, principal components are taken."""

PEAK_SHARES = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 4.0, 8.0)
"""Points over monomials."""

Rows = Float[np.ndarray, "n d"]
Labels = Int[np.ndarray, " n"]


@dataclass(frozen=True, eq=False)
class Images:
    """Training and test points and their labels; `sides` of the images, where columns are pixels."""

    X: Rows
    y: Labels
    X_test: Rows
    y_test: Labels
    sides: tuple[int, ...] = ()

    @classmethod
    def of(cls, data: Dataset, seed: int) -> Images:
        """The points scaled, in random order, one of each class first, then a second one of each, and so on.

        Where the data set has no test points, every fifth of a class is held out.
        """
        order = np.random.default_rng([seed, 0]).permutation(len(data.x_train))
        place = pd.Series(order).groupby(data.y_train[order]).cumcount().to_numpy()
        held_out = place % 5 == 4 if data.x_test is None else np.zeros(len(order), bool)
        taught = order[np.argsort(place, kind="stable")]
        taught = taught[~np.isin(taught, order[held_out])]
        X, y = data.x_train[taught].astype(float), data.y_train[taught]
        if data.x_test is None or data.y_test is None:
            X_test, y_test = data.x_train[order[held_out]], data.y_train[order[held_out]]
        else:
            X_test, y_test = data.x_test, data.y_test
        return cls(X, y, X_test.astype(float), y_test, data.shape).scaled()

    def scaled(self) -> Images:
        """Centred, and divided by one number so that columns have a mean variance of 1 on the training points."""
        mean = self.X.mean(0)
        std = float(np.sqrt(((self.X - mean) ** 2).mean()))
        return self.with_rows((self.X - mean) / std, (self.X_test - mean) / std, self.sides)

    def components(self, count: int) -> Images:
        """The first principal components of the training points."""
        pca = PCA(min(count, *self.X.shape), svd_solver="full").fit(self.X)
        return self.with_rows(pca.transform(self.X), pca.transform(self.X_test), ()).scaled()

    def with_rows(self, X: Rows, X_test: Rows, sides: tuple[int, ...]) -> Images:
        """Other columns."""
        return Images(X, self.y, X_test, self.y_test, sides)

    def first(self, n: int) -> Images:
        """The first n training points."""
        return Images(self.X[:n], self.y[:n], self.X_test, self.y_test, self.sides)

    def permuted(self, seed: int) -> Images:
        """With the training labels in another order."""
        y = np.random.default_rng([seed, 1]).permutation(self.y)
        return Images(self.X, y, self.X_test, self.y_test, self.sides)


def images_of(unit: Unit) -> Images:
    """The points of a unit."""
    assert unit.data is not None
    data = unit.data.load(unit.seed)
    assert isinstance(data, Dataset)
    return Images.of(data, unit.seed)


def run_images(unit: Unit, folder: Path) -> list[str]:
    """Fit polynomials, an RFM and a network, and the same to permuted labels; compare accuracies and AGOPs."""
    options: dict[str, Any] = dict(unit.options)
    pixels = images_of(unit)
    wide = pixels.X.shape[1] > MOST_COLUMNS
    columns = pixels.components(options["components"]) if wide else pixels
    machines = _Machines(columns, unit.seed, options)
    rows = [*machines.rows, *_local(pixels, unit.seed)]
    write_table(folder, "accuracy", pd.DataFrame(rows))
    write_table(folder, "agop", agop_table(machines.agops))
    with atomic(folder / "agops.npz") as file:
        np.savez_compressed(file, **{name: M / np.abs(M).max() for name, M in machines.agops.items()})
    return [f"columns are the first {columns.X.shape[1]} principal components"] if wide else []


class _Machines:
    """Everything that is fitted to the same columns: rows of the table of accuracies, and AGOPs by name."""

    def __init__(self, points: Images, seed: int, options: Mapping[str, Any]) -> None:
        self.rows: list[dict[str, Any]] = []
        self.agops: dict[str, Rows] = {}
        permuted = points.permuted(seed)
        self._polynomial("degree 1", points, seed, degree=1)
        ridge = self._polynomial("degree 2", points, seed)
        self._polynomial("degree 2, permuted labels", permuted, seed, ridge=ridge)
        self._rfm("RFM", points, options)
        model = self._network("network", points, seed, options)
        self._network("network, permuted labels", permuted, seed, options)
        untrained = mlp(points.X.shape[1], _classes(points), width=options["width"], depth=2, seed=seed)
        self.agops["network, untrained"] = network_agop(untrained, points.X)
        self.agops["network"] = network_agop(model, points.X)

    def _polynomial(self, name: str, points: Images, seed: int, **options: Any) -> float:
        model = best_polynomial(points, seed, **options)
        self.agops[name] = model.agop_.cpu().double().numpy()
        self._row(name, points, model, ridge=float(model.ridge_), monomials=model.machine_.monomials.count)
        return float(model.ridge_)

    def _rfm(self, name: str, points: Images, options: Mapping[str, Any]) -> None:
        model = RFMClassifier(n_iter=options["rfm_iterations"], **_RFM_0_1).fit(points.X, points.y)
        self.agops[name] = model.agop_.cpu().double().numpy()
        self._row(name, points, model)

    def _network(self, name: str, points: Images, seed: int, options: Mapping[str, Any]) -> nn.Module:
        model = trained_network(points, seed, options)
        predicted = _Predicting(model)
        self._row(name, points, predicted)
        if name != "network":
            self.agops[name] = network_agop(model, points.X)
        return model

    def _row(self, name: str, points: Images, model: Any, **more: Any) -> None:
        self.rows.append(_accuracies(name, points, model, **more))


def _accuracies(name: str, points: Images, model: Any, **more: Any) -> dict[str, Any]:
    train, test = (model.score(X, y) for X, y in ((points.X, points.y), (points.X_test, points.y_test)))
    columns = {"monomials": np.nan, "ridge": np.nan} | more
    return {"method": name, **columns, "train": float(train), "test": float(test)}


@dataclass(frozen=True)
class _Predicting:
    """A network with a score."""

    model: nn.Module

    def score(self, X: Rows, y: Labels) -> float:
        with torch.no_grad():
            outputs = self.model(torch.as_tensor(X, dtype=torch.float32))
        return float((outputs.argmax(1).numpy() == y).mean())


def best_polynomial(points: Images, seed: int, **options: Any) -> PolynomialClassifier:
    """With the ridge that a fifth of the training points choose (unless it is given), fitted to all of them."""
    options = {"scaling": "common"} | options
    if "ridge" not in options:
        choice = PolynomialClassifier(ridge=RIDGES, validation=0.2, random_state=seed, **options)
        options["ridge"] = choice.fit(points.X, points.y).ridge_
    return PolynomialClassifier(**options).fit(points.X, points.y)


def _local(pixels: Images, seed: int) -> Iterator[dict[str, Any]]:
    """Products of pixels and their neighbours, where the points are images."""
    if len(pixels.sides) in (2, 3):
        model = best_polynomial(pixels, seed, pairs="local", shape=pixels.sides)
        count = model.machine_.monomials.count
        yield _accuracies("degree 2, near pixels", pixels, model, ridge=float(model.ridge_), monomials=count)


def _classes(points: Images) -> int:
    return int(points.y.max()) + 1


def trained_network(points: Images, seed: int, options: Mapping[str, Any]) -> nn.Module:
    """A ReLU network of two hidden layers without biases, trained by Adam on the squared error to ±1 targets."""
    model = mlp(points.X.shape[1], _classes(points), width=options["width"], depth=2, seed=seed)
    training = Training(epochs=options["epochs"], batch_size=64, lr=1e-3, optimiser="adam", seed=seed)
    X, y = torch.as_tensor(points.X, dtype=torch.float32), torch.as_tensor(points.y)
    for _ in train(model, X, y, training):
        pass
    return model.eval()


def network_agop(model: nn.Module, X: Rows) -> Float[np.ndarray, "d d"]:
    """The AGOP with respect to the input, on the training points."""
    return agop(model, torch.as_tensor(X, dtype=torch.float32), dtype=torch.float64).numpy()


PAIRS = (
    ("degree 2", "network"),
    ("degree 2", "RFM"),
    ("RFM", "network"),
    ("degree 2", "degree 2, permuted labels"),
    ("network", "network, permuted labels"),
    ("network", "network, untrained"),
    ("degree 2", "network, untrained"),
    ("degree 2", "degree 1"),
)
"""Which AGOPs are compared."""


def agop_table(agops: Mapping[str, Rows]) -> pd.DataFrame:
    """Every pair of `PAIRS` that there is, with its correlations."""
    return pd.DataFrame([{"first": a, "second": b, **correlations(agops[a], agops[b])} for a, b in PAIRS])


def correlations(A: Float[np.ndarray, "d d"], B: Float[np.ndarray, "d d"]) -> dict[str, float]:
    """Pearson's correlation of the entries of two symmetric matrices: all, off the diagonal, on it; and their cosine, which is not centred.

    A correlation is NaN where one of the matrices has equal entries.
    """
    off = ~np.eye(len(A), dtype=bool)
    cosine = float((A * B).sum() / np.linalg.norm(A) / np.linalg.norm(B))
    return {
        "all": _pearson(A.ravel(), B.ravel()),
        "off_diagonal": _pearson(A[off], B[off]),
        "diagonal": _pearson(A.diagonal(), B.diagonal()),
        "cosine": cosine,
    }


def _pearson(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a - a.mean(), b - b.mean()
    size = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / size if size > 0 else float("nan")


def run_peak(unit: Unit, folder: Path) -> list[str]:
    """Errors of degree two against the number of points, with hardly any ridge and with one; and against the ridge."""
    options: dict[str, Any] = dict(unit.options)
    images = images_of(unit)
    few = images.components(options["peak_components"])
    d = few.X.shape[1]
    p = d + d * (d + 1) // 2
    rows = [
        {**row, "share": share}
        for share in PEAK_SHARES
        if _classes(few) <= round(share * p) <= len(few.X)
        for row in _by_ridge(few.first(round(share * p)), (options["peak_ridge"], options["safe_ridge"]))
    ]
    write_table(folder, "points", pd.DataFrame(rows))
    many = images.components(options["components"]) if images.X.shape[1] > MOST_COLUMNS else images
    sets = {"as many points as monomials": few.first(p), "eight times as many": few.first(8 * p), "all": many}
    curves = [
        {"set": name, **row} for name, points in sets.items() for row in _by_ridge(points, options["ridges"])
    ]
    write_table(folder, "ridges", pd.DataFrame(curves))
    return []


def _by_ridge(points: Images, ridges: Any) -> Iterator[dict[str, Any]]:
    """The errors with each ridge; one system is formed and solved for all of them."""
    model = PolynomialClassifier(ridge=list(ridges), scaling="common")
    model.fit(points.X, points.y, X_val=points.X_test, y_val=points.y_test)
    for entry in model.history_:
        yield {
            "monomials": entry["monomials"],
            "points": len(points.X),
            "ridge": entry["ridge"],
            "train": 1 - entry["train_accuracy"],
            "test": 1 - entry["validation_score"],
        }
