r"""Deep RFM with something else in the place of its projection :math:`M^{1/2}`: what must not collapse the classes.

A control layer is that of Deep RFM (rows of norm 1, projection R, random features), with another R:

- "agop": :math:`M^{1/2}`, M the AGOP of the layer's kernel machine; the procedure itself.
- "random": the spectrum of :math:`M^{1/2}` in Haar-random directions.
- "pca": the spectrum of :math:`M^{1/2}` in the principal directions of the layer's input, which know no labels.
- "identity": R = I, random features alone.
- "shuffled": :math:`M^{1/2}` of a kernel machine that was fitted to permuted labels.
- "naive": :math:`M^{1/2}` in single precision throughout, squared distances as ‖x‖² + ‖z‖² − 2 x·z, as the procedure is usually written.

"random" and "pca" take the spectrum of the AGOP at their own layer, so that only the directions differ. The random features of a layer
are those that `DeepRFMClassifier` draws for the same seed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from agop._blocks import row_blocks, rows_per_block
from agop._checks import one_of
from agop.experiments.subjects.deep_rfm_config import DeepRFMConfig
from agop.kernels import Laplace
from agop.kernels.named import make_kernel
from agop.linalg.psd import eigh_descending, psd_power
from agop.machines.deep_rfm_layer import placed, unit_rows
from agop.machines.feature_maps import FeatureMap, draw_feature_map, layer_generator
from agop.machines.kernel_ridge import fit_kernel_machine
from agop.profiles.profile import profile
from agop.view import LayerView

RULES = ("agop", "random", "pca", "identity", "shuffled", "naive")
"""What may stand in the place of the projection."""


@dataclass(frozen=True, eq=False)
class Layer:
    """What a rule sees of a layer: its input, targets and labels, options, and randomness of its own."""

    X: Float[Tensor, "n d"]
    labels: Int[Tensor, " n"]
    n_classes: int
    config: DeepRFMConfig
    generator: torch.Generator

    def agop(self, labels: Int[Tensor, " n"] | None = None) -> Float[Tensor, "d d"]:
        """AGOP of the kernel machine fitted to the labels, or to others."""
        labels = self.labels if labels is None else labels
        fit = fit_kernel_machine(
            make_kernel(self.config.kernel, self.config.bandwidth, self.X),
            self.X,
            signed_targets(labels, self.n_classes).to(self.X),
            self.config.ridge,
            cells=labels,
            precision=self.config.precision,
            computed=True,
        )
        assert fit.agop is not None
        return fit.agop


def _agop(layer: Layer) -> Float[Tensor, "d d"]:
    return psd_power(layer.agop(), 0.5).matrix


def _shuffled(layer: Layer) -> Float[Tensor, "d d"]:
    order = torch.randperm(len(layer.labels), generator=layer.generator)
    return psd_power(layer.agop(layer.labels[order]), 0.5).matrix


def _random(layer: Layer) -> Float[Tensor, "d d"]:
    M = layer.agop().double()
    normal = torch.randn(M.shape, generator=layer.generator, dtype=torch.float64)
    Q, R = torch.linalg.qr(normal)
    return _in_directions(M, Q * R.diagonal().sign())  # the sign makes Q uniform


def _pca(layer: Layer) -> Float[Tensor, "d d"]:
    centred = layer.X.double() - layer.X.double().mean(0)
    return _in_directions(layer.agop(), eigh_descending(centred.mT @ centred)[1])


def _in_directions(M: Float[Tensor, "d d"], directions: Float[Tensor, "d d"]) -> Float[Tensor, "d d"]:
    roots = eigh_descending(M)[0].clamp_min(0).sqrt()
    return (directions * roots) @ directions.mT


def _identity(layer: Layer) -> Float[Tensor, "d d"]:
    return torch.eye(layer.X.shape[1], dtype=layer.X.dtype)


def _naive(layer: Layer) -> Float[Tensor, "d d"]:
    return psd_power(naive_agop(layer), 0.5).matrix


_ROOTS: dict[str, Callable[[Layer], Float[Tensor, "d d"]]] = {
    "agop": _agop,
    "random": _random,
    "pca": _pca,
    "identity": _identity,
    "shuffled": _shuffled,
    "naive": _naive,
}


def naive_agop(layer: Layer) -> Float[Tensor, "d d"]:
    """The AGOP of a Laplace machine with every step in the dtype of X, distances by the expanded square, LU solve."""
    X, L = layer.X, layer.config.bandwidth
    Y = signed_targets(layer.labels, layer.n_classes).to(X)
    norms = X.square().sum(1)
    distances = (norms[:, None] + norms - 2 * X @ X.mT).clamp_min(0).sqrt()
    K = Laplace(bandwidth=L).evaluate(distances.clone(), weight=False)[0]
    assert K is not None
    K.diagonal().add_(layer.config.ridge)
    A = torch.linalg.solve(K, Y)
    K.diagonal().sub_(layer.config.ridge)
    W = torch.where(distances > 1e-10, -K / (L * distances.clamp_min(1e-10)), 0)
    summed = X.new_zeros(X.shape[1], X.shape[1])
    for rows in row_blocks(len(X), rows_per_block(len(X), 4 * X.shape[1] * X.element_size())):
        weighted = W[rows] @ A
        for c in range(A.shape[1]):
            G = weighted[:, c, None] * X[rows] - W[rows] @ (A[:, c, None] * X)
            summed += G.mT @ G
    return summed / len(X)


def signed_targets(labels: Int[Tensor, " n"], n_classes: int) -> Float[Tensor, "n c"]:
    """+1 in the column of the class, −1 elsewhere; float64."""
    return 2 * torch.nn.functional.one_hot(labels, n_classes).double() - 1


def control_views(
    rule: str,
    x_train: Float[Tensor, "n d"],
    labels: Int[Tensor, " n"],
    x_test: Float[Tensor, "m d"] | None,
    config: DeepRFMConfig,
) -> Iterator[tuple[LayerView, LayerView | None]]:
    """The three stages of every layer, on training points and on test points, with `rule` for the projection."""
    one_of("rule", rule, RULES)
    n_classes = int(labels.max()) + 1
    for index in range(config.layers):
        x_train = unit_rows(x_train)
        generator = layer_generator(config.seed, index, 1)
        root = _ROOTS[rule](Layer(x_train, labels, n_classes, config, generator)).to(x_train.dtype)
        features = _features(index, x_train, config)
        train = _view(index, x_train, root, features)
        test = None if x_test is None else _view(index, unit_rows(x_test), root, features)
        yield train, test
        x_train, x_test = train.output, None if test is None else test.output


def _view(index: int, X: Float[Tensor, "n d"], root: Float[Tensor, "d d"], features: FeatureMap) -> LayerView:
    projected = X @ root
    return LayerView(f"layer {index + 1}", X, projected, features(projected))


def _features(index: int, X: Float[Tensor, "n d"], config: DeepRFMConfig) -> FeatureMap:
    """The same draw as `DeepRFMClassifier` with this seed."""
    generator = layer_generator(config.seed, index)
    drawn = draw_feature_map(
        config.feature_map,
        X.shape[1],
        config.width,
        generator=generator,
        bandwidth=config.feature_bandwidth,
        kernel=config.kernel,
    )
    return placed(drawn, X)


def control_profile(
    rule: str,
    x_train: Float[Tensor, "n d"],
    y_train: Int[Tensor, " n"],
    x_test: Float[Tensor, "m d"] | None,
    y_test: Int[Tensor, " m"] | None,
    config: DeepRFMConfig,
) -> pd.DataFrame:
    """NC1 and NC2 of every stage; columns `points` ("train" or "test"), `layer`, `stage`, `nc1`, `nc2`."""
    tables = []
    for number, (train, test) in enumerate(control_views(rule, x_train, y_train, x_test, config), start=1):
        for points, view, labels in (("train", train, y_train), ("test", test, y_test)):
            if view is not None and labels is not None:
                table = profile([view], view.input, labels.numpy()).to_frame()
                table["layer"] = number
                tables.append(table.assign(points=points))
    return pd.concat(tables, ignore_index=True)[["points", "layer", "stage", "nc1", "nc2"]]
