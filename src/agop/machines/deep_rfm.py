r"""Deep RFM: layers of kernel regression, its AGOP, and random features; a deep model without backpropagation.

Source: Beaglehole, Súkeník, Mondelli, Belkin 2024 (arXiv 2402.13728), Algorithm "Deep RFM".
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from jaxtyping import Float
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from torch import Tensor

from agop import _checks
from agop._memory import parse_memory
from agop._progress import ProgressHook
from agop.kernels import named
from agop.linalg.psd import psd_power
from agop.linalg.rowspace import row_basis
from agop.machines._base import Callback, KernelEstimator
from agop.machines._sides import KernelClassifier, KernelRegressor
from agop.machines._words import SOLVING
from agop.machines.deep_rfm_layer import DeepRFMLayer, placed, unit_rows
from agop.machines.feature_maps import FeatureMap, draw_feature_map, layer_generator
from agop.machines.kernel_ridge import KernelMachine, StepHook, fit_kernel_machine
from agop.machines.memory import estimate_memory
from agop.machines.names import PRECISIONS
from agop.machines.progress import Progress, predicted_operations
from agop.machines.samples import Samples
from agop.machines.solver import Solver
from agop.ranks import current
from agop.view import LayerView


class _DeepRFM(ClassNamePrefixFeaturesOutMixin, TransformerMixin, KernelEstimator):
    """The stack of layers, shared by both estimators."""

    X_fit_: Tensor

    shards = True
    """Ranks of a launch may profile a share of the samples each: `views` treats every sample by itself."""

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
        tolerance: Any = 1e-6,
        max_rank: Any = None,
        max_cg_iter: Any = 500,
        precision: Any = "mixed",
        max_memory: Any = None,
        validation: Any = None,
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
        self.tolerance = tolerance
        self.max_rank = max_rank
        self.max_cg_iter = max_cg_iter
        self.precision = precision
        self.max_memory = max_memory
        self.validation = validation
        self.warm_start = warm_start
        self.verbose = verbose
        self.device = device
        self.dtype = dtype
        self.random_state = random_state

    def _fit_samples(
        self,
        samples: Samples,
        validation: Samples | None,
        callback: Callback | None,
        progress: ProgressHook | None,
    ) -> None:
        n_layers, solver = current().together(lambda: self._check_parameters(samples))
        solver = solver.agreed(current())
        n, d, c = *samples.X.shape, samples.Y.shape[1]
        if not hasattr(self, "layers_"):
            self.X_fit_ = samples.X
            self.layers_: list[DeepRFMLayer] = []
            self.history_: list[dict[str, Any]] = []
        X, X_val = samples.X, None if validation is None else validation.X
        for layer in self.layers_:
            X, X_val = layer(X), None if X_val is None else layer(X_val)
        wide = self.width if isinstance(self.feature_map, str) and self.feature_map != "identity" else d
        widths = [d, *[wide] * (n_layers - 1)]
        fits = [predicted_operations(n, min(width, n), c, width=wide, solver=solver.name) for width in widths]
        meter = Progress("layer", fits, progress)
        for index in range(len(self.layers_), n_layers):
            X, X_val = self._add_layer(replace(samples, X=X), X_val, validation, solver, meter.during(index))
            if callback is not None:
                callback(index, n_layers, self.history_[-1])

    def _check_parameters(self, samples: Samples) -> tuple[int, Solver]:
        n_layers = _checks.integer("n_layers", self.n_layers, at_least=1)
        width = _checks.integer("width", self.width, at_least=1)
        _checks.real("ridge", self.ridge, at_least=0)
        _checks.real("power", self.power, above=0)
        _checks.real("feature_bandwidth", self.feature_bandwidth, above=0)
        _checks.one_of("precision", self.precision, PRECISIONS)
        n, d, c = *samples.X.shape, samples.Y.shape[1]
        needs = partial(estimate_memory, n, d, c, width=width, n_layers=n_layers, dtype=samples.X.dtype)
        memory = parse_memory("max_memory", self.max_memory)
        solver = Solver.of(self).chosen(needs, n, float(self.ridge), memory, samples.X.device)
        done = len(getattr(self, "layers_", ()))
        if n_layers < done:
            raise _checks.bad_value(
                "n_layers", f">= {done}, the layers already fitted", f"{n_layers}", "set warm_start=False"
            )
        return n_layers, solver

    def _add_layer(
        self,
        samples: Samples,
        X_val: Tensor | None,
        validation: Samples | None,
        solver: Solver,
        tell: StepHook,
    ) -> tuple[Float[Tensor, "n k"], Tensor | None]:
        """Fit one more layer to what comes out of the last; nothing of it is kept unless all of it is done."""
        start = time.perf_counter()
        zero_rows = int((samples.X.norm(dim=1) == 0).sum())
        X = unit_rows(samples.X)
        kernel = named.make_kernel(self.kernel, self.bandwidth, X)
        basis = row_basis(X) if X.device.type != "mps" else None
        basis = None if basis is None else current().from_main(basis)
        fit = fit_kernel_machine(
            kernel,
            X if basis is None else X @ basis.to(X.dtype),
            samples.Y,
            float(self.ridge),
            cells=samples.cells,
            sample_weight=samples.weight,
            precision=self.precision,
            max_memory=parse_memory("max_memory", self.max_memory),
            computed=True,
            solver=solver,
            on_step=tell,
        )
        assert fit.agop is not None
        raised = psd_power(fit.agop, float(self.power))
        tell("root", 1.0)
        index, coefficients = len(self.layers_), fit.machine.coefficients
        features = self._draw(index, X.shape[1], self.width, kernel, X)
        layer = DeepRFMLayer(
            _lifted(fit.agop, basis, X),
            _lifted(raised.matrix, basis, X),
            coefficients,
            features,
            self.precision,
        )
        if zero_rows:
            fit.report["notes"].append(f"{zero_rows} rows are zero at this layer's input and stay zero")
        assert fit.fitted is not None
        entry = {"layer": index + 1, **samples.training_score(fit.fitted), **fit.report}
        entry |= {"rank": raised.rank, "clipped": raised.clipped}
        machine = KernelMachine(kernel, X, coefficients, self.precision)
        learned: dict[str, Any] = {"machine_": machine, "best_layer_": index}
        if validation is not None and X_val is not None:
            score = validation.score(machine.predict(unit_rows(X_val)))
            entry["validation_score"] = learned["validation_score_"] = score
            if index and not score > self.validation_score_:
                learned = {}
            X_val = layer(X_val)
        X = layer.features(layer.project(X))
        tell("features", 1.0)
        entry["seconds"] = time.perf_counter() - start
        learned |= {"layers_": [*self.layers_, layer], "history_": [*self.history_, entry]}
        self.__dict__.update(learned, _n_features_out=X.shape[1])  # in one go: Ctrl-C must not part them
        return X, X_val

    def _draw(self, index: int, d: int, width: int, kernel: Any, X: Float[Tensor, "n d"]) -> FeatureMap:
        """The random features of one layer: they depend on the seed and the layer only, not on device or dtype."""
        generator = layer_generator(self.seed_, index)
        drawn = draw_feature_map(
            self.feature_map,
            d,
            width,
            generator=generator,
            bandwidth=self.feature_bandwidth,
            exponent=getattr(kernel, "exponent", 1.0),
            kernel=named.kernel_name(kernel),
        )
        return placed(drawn, X)

    @property
    def agop_(self) -> Float[Tensor, "d d"]:
        """AGOP of the machine that predicts, with respect to its layer's input."""
        return self.layers_[self.best_layer_].agop

    def _decision(self, X: Float[Tensor, "m d"]) -> Float[Tensor, "m c"]:
        for layer in self.layers_[: self.best_layer_]:
            X = layer(X)
        return self._scale_of_targets().restored(self.machine_.predict(unit_rows(X)))

    def _staged_decision(self, X: Float[Tensor, "m d"]) -> Iterator[Float[Tensor, "m c"]]:
        centers = self.X_fit_
        for layer in self.layers_:
            centers, X = unit_rows(centers), unit_rows(X)
            kernel = named.make_kernel(self.kernel, self.bandwidth, centers)
            values = KernelMachine(kernel, centers, layer.coefficients, self.precision).predict(X)
            yield self._scale_of_targets().restored(values)
            centers, X = (layer.features(layer.project(rows)) for rows in (centers, X))

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
            X = layer.features(projected)
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


_PARAMETERS = r"""
    For each of `n_layers` layers: normalise rows, :math:`x \leftarrow x/\|x\|`; fit kernel ridge regression,
    :math:`A = (k(X, X) + \mu I)^{-1} Y`; take the AGOP :math:`M` of the predictor; map
    :math:`X \leftarrow \Phi(X M^p)` with random, untrained features :math:`\Phi`. The predictor is the kernel machine of the last layer
    (of the best one with validation samples).

    It is a model of what happens along the depth of a network, with the paper's choices as defaults, for data with many columns and
    classes. A row is divided by its length and goes through random features, so that an RFM predicts better on a small table: iris .84
    against .97, diabetes R² .24 against .47 (5 folds, standardised columns, width 256). Where a Deep RFM is wanted there, fewer layers
    and a larger ridge help: `n_layers=2, ridge=0.1` has .89 and .47.

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
    kernel : "laplace", "gaussian", "relu-nngp", "relu-ntk" or an `agop.kernels.Kernel`
        A kernel object brings its own parameters; a name takes `bandwidth` (those of ReLU networks have none, and one hidden layer).
    bandwidth : float or "median"
        On unit-norm rows, so distances lie in [0, 2]; "median" is taken anew at each layer.
    ridge : float
        :math:`\mu \ge 0`, added to the diagonal of K as it is.
    power : float
        The exponent p of the AGOP; the paper uses 1/2."""
_PARAMETERS += SOLVING
_PARAMETERS += r"""
    validation : float, optional
        A share of the samples that is held out (class by class for labels) and not fitted on. The predictor is then the kernel machine of
        the layer with the best score on it, accuracy or :math:`R^2`, weighted by `sample_weight`; of equal ones the first. Samples of
        your own go to `fit` as `X_val` and `y_val`.
    warm_start : bool
        A further `fit` on the same data keeps the finished layers and adds those that are missing: of a fit that was stopped, or with a
        larger `n_layers`.
    random_state : int, RandomState, torch.Generator or None
        Seeds the random features, layer by layer; the same on every device. Global generators are left alone.

    Attributes
    ----------
    layers_ : list of DeepRFMLayer
        Feature matrix, its power, feature map and kernel coefficients of each layer. Training points are kept once, and the
        centres of the machine that predicts.
    best_layer_, validation_score_
        The layer whose kernel machine predicts, counted from 0 (the last one without validation), and its validation score.
    history_ : list of dict
        One entry a layer: training and validation score, solver, dtype of the solution, smallest pivot, AGOP route, rank and clipped
        eigenvalues,
        seconds, notes on every fallback.
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

    def staged_predict(self, X: Any) -> Iterator[Any]:
        """Labels predicted by each layer's kernel machine, first to last."""
        X, place = self._checked(X)
        for values in self._staged_decision(X):
            yield self._as_labels(values, place)
