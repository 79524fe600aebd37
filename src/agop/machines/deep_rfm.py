r"""Deep RFM: layers of kernel regression, its AGOP, and random features; a deep model without backpropagation.

Source: Beaglehole, Súkeník, Mondelli, Belkin 2024 (arXiv 2402.13728), Algorithm "Deep RFM".
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from torch import Tensor

from agop import _checks
from agop.linalg.psd import psd_power
from agop.linalg.rowspace import row_basis
from agop.machines import _inputs
from agop.machines._base import Callback, KernelClassifier, KernelEstimator, KernelRegressor
from agop.machines._inputs import Place
from agop.machines.feature_maps import FeatureMap, draw_feature_map
from agop.machines.kernel_ridge import KernelMachine, fit_kernel_machine
from agop.machines.memory import check_fits, estimate_memory, parse_memory
from agop.machines.rfm import PRECISIONS, SOLVERS, _training_score
from agop.view import LayerView


@dataclass(frozen=True, eq=False)
class DeepRFMLayer:
    r"""One fitted layer :math:`x \mapsto \Phi(M^p x/\|x\|)`, with the coefficients of its kernel machine.

    The machine's centres are not kept: they are the training points carried through the earlier layers, and are formed
    again when they are needed.
    """

    agop: Float[Tensor, "d d"]
    root: Float[Tensor, "d d"]
    coefficients: Float[Tensor, "n c"]
    feature_map: FeatureMap

    def project(self, X: Float[Tensor, "m d"]) -> Float[Tensor, "m d"]:
        """The projected stage of rows that were normalised."""
        return X @ self.root

    def __call__(self, X: Float[Tensor, "m d"]) -> Float[Tensor, "m k"]:
        """The layer's output for its raw input."""
        return self.feature_map(self.project(unit_rows(X)))


def unit_rows(X: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """Rows divided by their Euclidean norm; a zero row stays zero."""
    norms = X.norm(dim=1, keepdim=True)
    return X / torch.where(norms > 0, norms, torch.ones_like(norms))


class _DeepRFM(ClassNamePrefixFeaturesOutMixin, TransformerMixin, KernelEstimator):
    """The stack of layers, shared by both estimators."""

    X_fit_: Tensor

    # scikit-learn's contract: a constructor stores whatever it gets, `fit` checks it; the types are in the docstring
    def __init__(
        self,
        n_layers: Any = 8,
        width: Any = 1024,
        feature_map: Any = "relu",
        feature_bandwidth: Any = 20.0,
        kernel: Any = "laplace",
        bandwidth: Any = 2.0,
        ridge: Any = 1e-3,
        power: Any = 0.5,
        solver: Any = "auto",
        precision: Any = "mixed",
        max_memory: Any = None,
        warm_start: Any = False,
        verbose: Any = False,
        device: Any = None,
        dtype: Any = None,
        random_state: Any = None,
    ) -> None:
        self.n_layers = n_layers
        self.width = width
        self.feature_map = feature_map
        self.feature_bandwidth = feature_bandwidth
        self.kernel = kernel
        self.bandwidth = bandwidth
        self.ridge = ridge
        self.power = power
        self.solver = solver
        self.precision = precision
        self.max_memory = max_memory
        self.warm_start = warm_start
        self.verbose = verbose
        self.device = device
        self.dtype = dtype
        self.random_state = random_state

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
        n_layers = _checks.integer("n_layers", self.n_layers, at_least=1)
        width = _checks.integer("width", self.width, at_least=1)
        _checks.real("ridge", self.ridge, at_least=0)
        _checks.real("power", self.power, above=0)
        _checks.real("feature_bandwidth", self.feature_bandwidth, above=0)
        _checks.one_of("solver", self.solver, SOLVERS)
        _checks.one_of("precision", self.precision, PRECISIONS)
        memory = parse_memory("max_memory", self.max_memory)
        estimate = estimate_memory(
            len(X), X.shape[1], Y.shape[1], width=width, n_layers=n_layers, dtype=X.dtype
        )
        check_fits(estimate, memory, X.device)
        self._begin_stack(X, n_layers)
        for layer in self.layers_:
            X = layer(X)
        cells = None if labels is None else labels.to(X.device)
        for index in range(len(self.layers_), n_layers):
            start = time.perf_counter()
            zero_rows = int((X.norm(dim=1) == 0).sum())
            X = unit_rows(X)
            kernel = _inputs.make_kernel(self.kernel, self.bandwidth, X)
            basis = row_basis(X) if X.device.type != "mps" else None
            fit = fit_kernel_machine(
                kernel,
                X if basis is None else X @ basis.to(X.dtype),
                Y,
                self.ridge,
                cells=cells,
                sample_weight=sample_weight,
                precision=self.precision,
                max_memory=memory,
                computed=True,
            )
            assert fit.agop is not None
            raised = psd_power(fit.agop, self.power)
            features = self._draw(index, X.shape[1], width, kernel, X)
            coefficients = fit.machine.coefficients
            layer = DeepRFMLayer(
                _lifted(fit.agop, basis, X), _lifted(raised.matrix, basis, X), coefficients, features
            )
            if zero_rows:
                fit.report["notes"].append(f"{zero_rows} rows are zero at this layer's input and stay zero")
            entry = {
                "layer": index + 1,
                **_training_score(fit.fitted, Y, labels),
                **fit.report,
                "rank": raised.rank,
                "clipped": raised.clipped,
            }
            self.machine_ = KernelMachine(kernel, X, coefficients, self.precision)
            self.layers_.append(layer)
            X = layer.feature_map(layer.project(X))
            entry["seconds"] = time.perf_counter() - start
            self.history_.append(entry)
            if callback is not None:
                callback(index, n_layers, entry)
        self._n_features_out = X.shape[1]

    def _begin_stack(self, X: Float[Tensor, "n d"], n_layers: int) -> None:
        """Start with no layers, or with those of the last fit on the same points if `warm_start` is set."""
        if self.warm_start and hasattr(self, "layers_"):
            if self.X_fit_.shape != X.shape or not torch.equal(self.X_fit_.to(X), X):
                raise _checks.bad_value(
                    "X",
                    "the training points of the last fit (warm_start=True continues it)",
                    "other points",
                    "set warm_start=False",
                )
            if n_layers < len(self.layers_):
                raise _checks.bad_value(
                    "n_layers",
                    f">= {len(self.layers_)}, the layers already fitted",
                    f"{n_layers}",
                    "set warm_start=False",
                )
            return
        self.X_fit_ = X
        self.seed_ = _inputs.seed_from(self.random_state)
        self.layers_: list[DeepRFMLayer] = []
        self.history_: list[dict[str, Any]] = []

    def _draw(self, index: int, d: int, width: int, kernel: Any, X: Float[Tensor, "n d"]) -> FeatureMap:
        """The random features of one layer: they depend on the seed and the layer only, not on device or dtype."""
        seed = np.random.SeedSequence([self.seed_, index]).generate_state(1, np.uint64)[0]
        generator = torch.Generator().manual_seed(int(seed >> np.uint64(1)))
        drawn = draw_feature_map(
            self.feature_map,
            d,
            width,
            generator=generator,
            bandwidth=self.feature_bandwidth,
            exponent=getattr(kernel, "exponent", 1.0),
            kernel=type(kernel).__name__.lower(),
        )
        return placed(drawn, X)

    @property
    def agop_(self) -> Float[Tensor, "d d"]:
        """AGOP of the last layer's kernel machine with respect to that layer's input."""
        return self.layers_[-1].agop

    def _decision(self, X: Float[Tensor, "m d"]) -> Float[Tensor, "m c"]:
        for layer in self.layers_[:-1]:
            X = layer(X)
        return self.machine_.predict(unit_rows(X))

    def _staged_decision(self, X: Float[Tensor, "m d"]) -> Iterator[Float[Tensor, "m c"]]:
        centers = self.X_fit_
        for layer in self.layers_:
            centers, X = unit_rows(centers), unit_rows(X)
            kernel = _inputs.make_kernel(self.kernel, self.bandwidth, centers)
            yield KernelMachine(kernel, centers, layer.coefficients, self.precision).predict(X)
            centers, X = (layer.feature_map(layer.project(rows)) for rows in (centers, X))

    def transform(self, X: Any, layer: int = -1) -> Any:
        """The output stage of a layer, (m, k): layer 0 is the first, -1 the last.

        Returns an array for arrays and a tensor for tensors.
        """
        X, place = self._checked(X)
        count = len(self.layers_)
        layer = _checks.integer("layer", layer)
        if not -count <= layer < count:
            raise _checks.bad_value("layer", f"an index from {-count} to {count - 1}", f"{layer}")
        for fitted in self.layers_[: layer % count + 1]:
            X = fitted(X)
        return place.returned(X)

    def views(self, X: Any) -> Iterator[LayerView]:
        """The three stages of every layer on the samples `X`, one layer at a time; see `LayerView`."""
        X, _ = self._checked(X)
        for index, layer in enumerate(self.layers_):
            rows = unit_rows(X)
            projected = layer.project(rows)
            X = layer.feature_map(projected)
            yield LayerView(
                name=f"layer {index + 1}",
                input=rows,
                projected=projected,
                output=X,
                feature_matrix=layer.agop,
                agop=layer.agop,
            )


def _lifted(
    M: Float[Tensor, "r r"], basis: Float[Tensor, "d r"] | None, X: Float[Tensor, "n d"]
) -> Float[Tensor, "d d"]:
    """A matrix in the coordinates of `basis` as one in those of `X`, in its dtype."""
    return (M if basis is None else basis @ M.to(basis.dtype) @ basis.mT).to(X.dtype)


def placed(feature_map: FeatureMap, like: Tensor) -> FeatureMap:
    """A feature map with its tensors in the dtype and on the device of `like`."""
    if not hasattr(feature_map, "__dataclass_fields__") or hasattr(feature_map, "function"):
        return feature_map
    return type(feature_map)(**{name: value.to(like) for name, value in feature_map.tensors().items()})


_PARAMETERS = r"""
    For each of `n_layers` layers: normalise rows, :math:`x \leftarrow x/\|x\|`; fit kernel ridge regression,
    :math:`A = (k(X, X) + \mu I)^{-1} Y`; take the AGOP :math:`M` of the predictor; map
    :math:`X \leftarrow \Phi(X M^p)` with random, untrained features :math:`\Phi`. The predictor is the kernel machine of the last layer.

    Parameters
    ----------
    n_layers : int
        Number of layers.
    width : int
        Number of random features a layer.
    feature_map : str or callable
        "relu", "fourier" (the law that belongs to `kernel`), "fourier-laplace" (multivariate Cauchy frequencies, the L2 Laplace kernel),
        "fourier-gaussian", "fourier-laplace-l1" (independent Cauchy frequencies, the L1 Laplace kernel), "identity", or a function of
        an (n, d) tensor that maps each row by itself.
    feature_bandwidth : float
        Bandwidth of the kernel that Fourier features approximate.
    kernel : "laplace", "gaussian" or an `agop.kernels.Kernel`
        A kernel object brings its own bandwidth; a name takes `bandwidth`.
    bandwidth : float or "median"
        On unit-norm rows, so distances lie in [0, 2]; "median" is taken anew at each layer.
    ridge : float
        :math:`\mu \ge 0`, added to the diagonal of K as it is.
    power : float
        The exponent p of the AGOP; the paper uses 1/2.
    solver : "auto" or "cholesky"
        The direct solver; what was used is in `history_`.
    precision : "mixed" or "native"
        "mixed" forms distances in float64 whatever the dtype: without that, a float32 fit stalls once points of a class nearly coincide.
    max_memory : int, str or None
        Bytes, or a text such as "8GB", that a fit may take; None is what is free. A fit that cannot stay within it says so before it
        starts.
    warm_start : bool
        A further `fit` on the same points keeps the finished layers and adds those that are missing.
    verbose : bool
        Show a progress bar.
    device, dtype : optional
        Where and in what ("float32", "float64") to compute. None: where the input is, in its dtype.
    random_state : int, RandomState, torch.Generator or None
        Seeds the random features, layer by layer; the same on every device. Global generators are left alone.

    Attributes
    ----------
    layers_ : list of DeepRFMLayer
        Feature matrix, its power, feature map and kernel coefficients of each layer. Training points are kept once, and the
        centres of the last layer's machine.
    history_ : list of dict
        One entry a layer: training score, solver, dtype of the solution, smallest pivot, AGOP route, rank and clipped eigenvalues,
        seconds, notes on every fallback.

    Notes
    -----
    `fit(X, y, sample_weight=None, callback=None)`: the callback is called after each layer with (index, count, history entry).
"""


class DeepRFMRegressor(_DeepRFM, KernelRegressor):  # noqa: D101
    __doc__ = f"""Deep RFM for regression.
    {_PARAMETERS}"""

    def staged_predict(self, X: Any) -> Iterator[Any]:
        """Predictions of each layer's kernel machine, first to last."""
        X, place = self._checked(X)
        for values in self._staged_decision(X):
            yield self._as_targets(values, place)


class DeepRFMClassifier(_DeepRFM, KernelClassifier):  # noqa: D101
    __doc__ = f"""Deep RFM for classification: ±1 one-hot targets, the largest output wins.
    {_PARAMETERS}
    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> model = DeepRFMClassifier(n_layers=3, width=64, random_state=0).fit(X - X.mean(0), y)
    >>> model.transform(X).shape
    (150, 64)
    """

    def staged_predict(self, X: Any) -> Iterator[np.ndarray]:
        """Labels predicted by each layer's kernel machine, first to last."""
        X, _ = self._checked(X)
        for values in self._staged_decision(X):
            yield self._as_labels(values)
