r"""Recursive Feature Machines: kernel ridge regression that learns its metric from its own AGOP.

Source: Radhakrishnan, Beaglehole, Pandit, Belkin (2024), *Mechanism for feature learning in neural networks and
backpropagation-free machine learning models*, Science 383; the procedure as in Beaglehole et al. 2024 (arXiv 2402.13728).
"""

from __future__ import annotations

import time
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from agop import _checks
from agop.linalg.psd import PSDPower, psd_power
from agop.machines import _inputs
from agop.machines._base import Callback, KernelClassifier, KernelEstimator, KernelRegressor
from agop.machines._inputs import Place
from agop.machines.kernel_ridge import MachineFit, fit_kernel_machine
from agop.machines.memory import check_fits, estimate_memory, parse_memory

SOLVERS = ("auto", "cholesky")
PRECISIONS = ("mixed", "native")
SCALES = ("max", "trace", "none")


class _RFM(KernelEstimator):
    """The recursion `fit → AGOP → fit …`, shared by both estimators."""

    # scikit-learn's contract: a constructor stores whatever it gets, `fit` checks it; the types are in the docstring
    def __init__(
        self,
        kernel: Any = "laplace",
        bandwidth: Any = 10.0,
        ridge: Any = 1e-3,
        n_iter: Any = 5,
        diagonal: Any = False,
        power: Any = 0.5,
        scale: Any = "max",
        solver: Any = "auto",
        precision: Any = "mixed",
        max_memory: Any = None,
        device: Any = None,
        dtype: Any = None,
        random_state: Any = None,
    ) -> None:
        self.kernel = kernel
        self.bandwidth = bandwidth
        self.ridge = ridge
        self.n_iter = n_iter
        self.diagonal = diagonal
        self.power = power
        self.scale = scale
        self.solver = solver
        self.precision = precision
        self.max_memory = max_memory
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
        n_iter = _checks.integer("n_iter", self.n_iter, at_least=0)
        ridge = _checks.real("ridge", self.ridge, at_least=0)
        power = _checks.real("power", self.power, above=0)
        _checks.one_of("solver", self.solver, SOLVERS)
        _checks.one_of("precision", self.precision, PRECISIONS)
        _checks.one_of("scale", self.scale, SCALES)
        memory = parse_memory("max_memory", self.max_memory)
        check_fits(estimate_memory(len(X), X.shape[1], Y.shape[1], dtype=X.dtype), memory, X.device)
        self.kernel_ = _inputs.make_kernel(self.kernel, self.bandwidth, X)
        self.history_: list[dict[str, Any]] = []
        M = coordinates = torch.eye(X.shape[1], dtype=X.dtype, device=X.device)
        left_out = 0.0
        for iteration in range(n_iter + 1):
            start = time.perf_counter()
            learns = iteration < n_iter
            fit = fit_kernel_machine(
                self.kernel_,
                X if iteration == 0 else X @ coordinates,
                Y,
                ridge,
                cells=None if labels is None else labels.to(X.device),
                sample_weight=sample_weight,
                precision=self.precision,
                with_agop=learns,
                max_memory=memory,
                computed=iteration > 0,
            )
            entry = {"iteration": iteration, **_training_score(fit.fitted, Y, labels), **fit.report}
            entry |= {"dimensions": coordinates.shape[1], "left_out": left_out}
            self.machine_, self.coordinates_, self.agop_ = fit.machine, coordinates, M
            if learns:
                M = self._next_matrix(fit, coordinates, M)
                raised = psd_power(M, power)
                entry |= {"rank": raised.rank, "clipped": raised.clipped}
                coordinates, left_out = numerical_row_space(X, raised, labels)
                M, coordinates = M.to(X.dtype), coordinates.to(X.dtype)
            entry["seconds"] = time.perf_counter() - start
            self.history_.append(entry)
            if callback is not None:
                callback(iteration, n_iter + 1, entry)

    def _next_matrix(
        self, fit: MachineFit, coordinates: Float[Tensor, "d r"], current: Float[Tensor, "d d"]
    ) -> Float[Tensor, "d d"]:
        """The AGOP with respect to the estimator's inputs: the machine's own, pulled back through z = Bᵀx, rescaled."""
        assert fit.agop is not None
        if not bool(fit.agop.diagonal().max() > 0):
            fit.report["notes"].append("the predictor is constant at every training point: M stays as it was")
            return current
        coordinates = coordinates.to(fit.agop.dtype)
        M = coordinates @ fit.agop @ coordinates.mT
        if self.diagonal:
            M = torch.diag(M.diagonal())
        if self.scale == "max":
            return M / M.diagonal().max()
        if self.scale == "trace":
            return M * (len(M) / M.trace())
        return M

    def _decision(self, X: Float[Tensor, "m d"]) -> Float[Tensor, "m c"]:
        return self.machine_.predict(X @ self.coordinates_ if self.n_iter else X)


def numerical_row_space(
    X: Float[Tensor, "n d"], raised: PSDPower, labels: Int[Tensor, " n"] | None
) -> tuple[Float[Tensor, "d r"], float]:
    r"""Coordinates of :math:`X M^p` in the eigenbasis of M, without those that rounding hides; and the share left out.

    Distances do not change under the rotation. A coordinate is left out while all that are left out together carry at
    most the machine epsilon of X's dtype of the scatter of the points, and of their scatter about class means.
    """
    coordinates = raised.coordinates
    Z = X.to(coordinates.dtype) @ coordinates
    shares = [_scatter(Z - Z.mean(0))]
    if labels is not None:
        index = labels.to(Z.device)
        sums = Z.new_zeros(int(index.max()) + 1, Z.shape[1]).index_add_(0, index, Z)
        counts = torch.bincount(index).clamp_min(1)[:, None]
        shares.append(_scatter(Z - (sums / counts)[index]))
    share = torch.stack(shares).max(0).values
    order = share.argsort()
    left_out = share[order].cumsum(0)
    dropped = min(int((left_out <= torch.finfo(X.dtype).eps).sum()), len(order) - 1)
    kept = order[dropped:].sort().values
    return coordinates[:, kept], float(left_out[dropped - 1]) if dropped else 0.0


def _scatter(deviations: Float[Tensor, "n r"]) -> Float[Tensor, " r"]:
    """Each column's share of the sum of squares (zero where there is none)."""
    squares = deviations.square().sum(0)
    return squares / squares.sum().clamp_min(torch.finfo(squares.dtype).tiny)


def _training_score(
    fitted: Float[Tensor, "n c"], Y: Float[Tensor, "n c"], labels: Int[Tensor, " n"] | None
) -> dict[str, float]:
    """Training accuracy for labels, training mean squared error for targets."""
    if labels is not None:
        return {"train_accuracy": float((fitted.argmax(1) == labels.to(fitted.device)).double().mean())}
    return {"train_mse": float((fitted - Y).double().square().mean())}


_PARAMETERS = r"""
    Repeats `n_iter` times: fit kernel ridge regression with :math:`k_M(x, z) = k(\|x - z\|_M)`,
    :math:`A = (K_M + \mu I)^{-1} Y`; set M to the AGOP of the fitted predictor on the training points. A last fit with the last M is
    the predictor. M starts at the identity.

    Parameters
    ----------
    kernel : "laplace", "gaussian" or an `agop.kernels.Kernel`
        A kernel object brings its own bandwidth; a name takes `bandwidth`.
    bandwidth : float or "median"
        In the units of the distance; "median" is the median distance between training points.
    ridge : float
        :math:`\mu \ge 0`, added to the diagonal of K as it is (not times n).
    n_iter : int
        How often M is learned; 0 is kernel ridge regression.
    diagonal : bool
        Keep only the diagonal of M: feature weights, no rotations.
    power : float
        Points are mapped to :math:`X M^p`; 1/2 makes the distance the Mahalanobis distance of M.
    scale : "max", "trace" or "none"
        M is divided by its largest entry (so that one bandwidth serves all iterations), scaled to trace d (which does not
        depend on the coordinate axes), or kept as the mean of the gradients' outer products.
    solver : "auto" or "cholesky"
        The direct solver; what was used is in `history_`.
    precision : "mixed" or "native"
        "mixed" forms distances in float64 whatever the dtype, so that nearly coincident points keep their digits.
    max_memory : int, str or None
        Bytes, or a text such as "8GB", that a fit may take; None is what is free. A fit that cannot stay within it says so
        before it starts.
    device, dtype : optional
        Where and in what ("float32", "float64") to compute. None: where the input is, in its dtype.
    random_state : int, RandomState, torch.Generator or None
        Unused by the direct solver, kept so that all estimators are seeded alike.

    Attributes
    ----------
    classes_ : array (C,)
        Of a classifier: the labels, sorted.
    agop_ : Tensor (d, d)
        The feature matrix M of the predictor (scaled as `scale` says).
    history_ : list of dict
        One entry a fit: training score, solver, dtype of the solution, smallest pivot, AGOP route, rank and clipped eigenvalues, seconds,
        notes on every fallback.
    coordinates_ : Tensor (d, r)
        Maps points to :math:`X M^p` in the eigenbasis of M; directions that rounding hides are left out (`left_out` in `history_` is
        their share of the scatter, at most the machine epsilon).
    machine_ : KernelMachine
        The last fit, in these coordinates.

    Notes
    -----
    `fit(X, y, sample_weight=None, callback=None)`: the callback is called after each fit with (index, count, history entry).
"""


class RFMRegressor(_RFM, KernelRegressor):  # noqa: D101
    __doc__ = f"""Recursive Feature Machine for regression.
    {_PARAMETERS}"""


class RFMClassifier(_RFM, KernelClassifier):  # noqa: D101
    __doc__ = f"""Recursive Feature Machine for classification: ±1 one-hot targets, the largest output wins.
    {_PARAMETERS}
    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> RFMClassifier(bandwidth=3.0, n_iter=2).fit(X, y).score(X, y) > 0.95
    True
    """
