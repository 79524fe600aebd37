r"""Polynomial ridge regression of degree one or two, with its gradient and its AGOP in closed form.

Source: Emschwiller, Gamarnik, Kızıldağ, Zadik (2020), *Neural Networks and Polynomial Regression. Demystifying the Overparametrization
Phenomena* (arXiv 2003.10523): networks that interpolate generalise because polynomials of low degree approximate them, and those of
degree two come near them on images. Which products of pixels they took and how they penalised them is not known to us: `pairs`, `scaling`
and `ridge` are choices of ours.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from agop import _checks
from agop._blocks import row_blocks, rows_per_block
from agop._memory import parse_memory
from agop._progress import ProgressHook
from agop.linalg.psd import psd_power
from agop.machines._base import Callback, KernelEstimator
from agop.machines._inputs import Place
from agop.machines._sides import KernelClassifier, KernelRegressor
from agop.machines.columns import SCALINGS
from agop.machines.polynomial_features import Monomials
from agop.machines.polynomial_ridge import SOLVERS, Plan, Polynomial, RidgeProblem, Solver
from agop.machines.progress import Progress
from agop.machines.samples import Samples
from agop.ranks import current
from agop.view import LayerView

P = TypeVar("P", bound="_PolynomialRidge")


class _RangePlace(Place):
    """A place that refuses what the dtype of the user's input does not hold: squares soon leave the range of a short one."""

    def returned(self, values: Tensor, dtype: torch.dtype | None = None) -> Any:
        dtype = self.given_dtype if dtype is None else dtype
        return super().returned(_rounded(values, dtype, "predictions"), dtype)


class _PolynomialRidge(KernelEstimator):
    """The fit that both estimators share."""

    machine_: Polynomial
    warm_start = False  # a fit has no parts to go on from
    _exact_targets = True

    # scikit-learn's contract: a constructor stores whatever it gets, `fit` checks it; the types are in the docstring
    def __init__(
        self,
        degree: Any = 2,
        pairs: Any = "all",
        shape: Any = None,
        radius: Any = 1,
        ridge: Any = 1.0,
        scaling: Any = "columns",
        solver: Any = "auto",
        max_memory: Any = None,
        validation: Any = None,
        verbose: Any = False,
        device: Any = None,
        dtype: Any = None,
        random_state: Any = None,
    ) -> None:
        self.degree = degree
        self.pairs = pairs
        self.shape = shape
        self.radius = radius
        self.ridge = ridge
        self.scaling = scaling
        self.solver = solver
        self.max_memory = max_memory
        self.validation = validation
        self.verbose = verbose
        self.device = device
        self.dtype = dtype
        self.random_state = random_state

    def fit(
        self: P,
        X: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
        callback: Callback | None = None,
        progress: ProgressHook | None = None,
    ) -> P:
        r"""Fit to `y`: targets (n,) or (n, c) of a regressor, labels (n,) of any kind of a classifier.

        Parameters
        ----------
        X, y, sample_weight
            Training samples, (n, d), their targets, and how much each counts (None: equally): minimised is
            :math:`\sum_i w_i \|y_i - f(x_i)\|^2 + \mu \|\Theta\|_F^2`; means, standard deviations and AGOP are weighted by w too, so that a
            weight of 2 is the same as the sample twice, and 0 as if it were not there.
        X_val, y_val, sample_weight_val
            Samples that choose among several ridges, instead of a share held out by the parameter `validation`.
        callback
            Called after each ridge with (index from 0, how many in all, its entry of `history_`).
        progress
            Called many times with (operations done, operations predicted, what is being done).

        Notes
        -----
        Ctrl-C, or an exception that `callback` or `progress` raises, stops the fit. The estimator then holds the best polynomial of
        the ridges that were finished, or is not fitted if there was none.

        Inside `agop.launched` every rank solves the whole problem, and all of them keep the coefficients of rank 0.

        Raises
        ------
        ValueError, TypeError
            Of bad samples, targets, weights or parameters, in one sentence; also if the system is singular (ridge too small).
        MemoryError
            If neither system fits into `max_memory`, before anything is computed.
        """
        return super().fit(
            X,
            y,
            sample_weight,
            X_val=X_val,
            y_val=y_val,
            sample_weight_val=sample_weight_val,
            callback=callback,
            progress=progress,
        )

    def _learn_targets(self, samples: Samples, dtype: torch.dtype | None) -> None:
        super()._learn_targets(samples, None)  # targets are fitted as they are, in float64

    def _fit_samples(
        self,
        samples: Samples,
        validation: Samples | None,
        callback: Callback | None,
        progress: ProgressHook | None,
    ) -> None:
        monomials, ridges, plan = current().together(lambda: self._check_parameters(samples, validation))
        later = {step: cost for step, cost in plan.operations.items() if step != "gram"}
        meter = Progress("ridge", [plan.operations, *[later] * (len(ridges) - 1)], progress)
        tell = meter.during(0)
        problem = RidgeProblem.of(monomials, self.scaling, samples.X, samples.Y, samples.weight)
        solver = Solver.of(problem, plan.name, tell)
        self.history_: list[dict[str, Any]] = []
        for index, ridge in enumerate(ridges):
            tell = meter.during(index) if index else tell
            start = time.perf_counter()
            polynomial, report = solver.solve(ridge, last=index + 1 == len(ridges), tell=tell)
            entry = {"ridge": ridge, "monomials": monomials.count, "solver": plan.name}
            entry |= {"solver_reason": plan.reason, **report, **_scores(polynomial, samples, validation)}
            learned = self._learned(polynomial, entry, problem)
            tell("agop", 1.0)
            entry["seconds"] = time.perf_counter() - start
            # in one go: Ctrl-C must not part what belongs together
            self.__dict__.update(learned | {"history_": [*self.history_, entry]})
            if callback is not None:
                callback(index, len(ridges), entry)

    def _check_parameters(
        self, samples: Samples, validation: Samples | None
    ) -> tuple[Monomials, list[float], Plan]:
        d = samples.X.shape[1]
        monomials = Monomials.asked(d, self.degree, self.pairs, self.shape, self.radius)
        _checks.one_of("scaling", self.scaling, SCALINGS)
        ridges = _ridges(self.ridge, validation is not None)
        plan = Plan.of(
            len(samples),
            samples.Y.shape[1],
            monomials,
            solver=_checks.one_of("solver", self.solver, SOLVERS),
            n_ridges=len(ridges),
            max_memory=parse_memory("max_memory", self.max_memory),
            device=samples.X.device,
        )
        return monomials, ridges, plan

    def _learned(
        self, polynomial: Polynomial, entry: dict[str, Any], problem: RidgeProblem
    ) -> dict[str, Any]:
        """What to keep of the fit with one ridge: all of it, with its AGOP, if no ridge so far was better."""
        score, best = entry.get("validation_score"), getattr(self, "validation_score_", None)
        if score is not None and best is not None and score <= best:
            return {}
        agop = _within_range(polynomial.agop(problem.moments), polynomial)
        learned = {"machine_": polynomial, "agop_": agop, "ridge_": entry["ridge"]}
        return learned if score is None else learned | {"validation_score_": score}

    def _checked(self, X: Any) -> tuple[Float[Tensor, "m d"], Place]:
        X, place = super()._checked(X)
        return X, _RangePlace(**vars(place))

    def _decision(self, X: Float[Tensor, "m d"]) -> Float[Tensor, "m c"]:
        return _rounded(self.machine_.predict(X), torch.float64, "predictions")  # `returned` rounds further

    def grad(self, X: Any, output: Any = None) -> Any:
        r"""Gradients of one output at the rows of `X`, :math:`\nabla f_o(x) = D^{-1}(b_o + 2 A_o z)`, (m, d).

        Parameters
        ----------
        X
            Samples, (m, d).
        output
            Which output: the column of `y` of a regressor, the index in `classes_` of a classifier (the gradient is that of its ±1
            target). None where there is only one.

        Returns
        -------
        array or Tensor (m, d)
            In the unit of y over that of X. All outputs at once would be (m, c, d): ask for one after the other.

        Raises
        ------
        ValueError
            If there are several outputs and none is named, or `output` is none of them.
        """
        X, place = self._checked(X)
        chosen = self._output(output)
        gradients = torch.empty_like(X)
        for rows in row_blocks(len(X), rows_per_block(len(X), 40 * X.shape[1])):
            gradients[rows] = _rounded(self.machine_.gradient(X[rows], chosen), X.dtype, "gradients")
        return place.returned(gradients)

    def _output(self, output: Any) -> int:
        count = self.machine_.coefficients.shape[1]
        if output is None and count == 1:
            return 0
        expected = f"the number of an output, 0 to {count - 1}"
        if output is None:
            raise _checks.bad_value("output", expected, "None", "ask for one output after the other")
        number = _checks.integer("output", output)
        if not 0 <= number < count:
            raise _checks.bad_value("output", expected, f"{number}")
        return number

    def views(self, X: Any) -> Iterator[LayerView]:
        r"""The polynomial as one layer on the samples `X`, for `agop.profile(model.views(X), X, y)`.

        As for a layer of a Deep RFM: `input` is X, `projected` is :math:`X M^{1/2}` with the AGOP M, which is the feature matrix and the
        AGOP of the view. `output` are the predictions (m, c), the ±1 targets of a classifier; monomials are not formed.
        """
        X, _ = self._checked(X)
        root = psd_power(self.agop_, 0.5).matrix
        yield LayerView(
            name="polynomial",
            input=X,
            projected=_rounded(X.double() @ root, X.dtype, "projected rows"),
            output=_rounded(self._decision(X), X.dtype, "predictions"),
            feature_matrix=self.agop_,
            agop=self.agop_,
        )


def _scores(polynomial: Polynomial, samples: Samples, validation: Samples | None) -> dict[str, float | None]:
    """Training score, and validation score where there are samples for it."""
    scores = samples.training_score(polynomial.predict(samples.X))
    if validation is not None:
        scores["validation_score"] = validation.score(polynomial.predict(validation.X))
    return scores


def _ridges(ridge: Any, validated: bool) -> list[float]:
    """The different ridges to try, in their order."""
    ridge = _checks.plain(ridge)
    if not isinstance(ridge, list | tuple | np.ndarray):
        return [_checks.real("ridge", ridge, at_least=0)]
    candidates = list(dict.fromkeys(_checks.real("ridge", value, at_least=0) for value in list(ridge)))
    if not candidates:
        raise _checks.bad_value("ridge", "at least one candidate", "none", "pass a number")
    if len(candidates) > 1 and not validated:
        raise _checks.bad_value(
            "ridge",
            "one number, or validation samples to choose among several with",
            f"{len(candidates)} candidates and none",
            "set validation=0.2, or pass X_val and y_val to fit",
        )
    return candidates


def _rounded(values: Float[Tensor, "*m"], dtype: torch.dtype, what: str) -> Float[Tensor, "*m"]:
    """Values in a dtype that holds them."""
    rounded = values.to(dtype)
    if not bool(torch.isfinite(rounded).all()):
        name = str(dtype).removeprefix("torch.")
        raise _checks.bad_value(
            "X",
            f"rows whose {what} are within the range of {name}",
            "larger ones",
            "rescale X and y, or use float64",
        )
    return rounded


def _within_range(agop: Float[Tensor, "d d"], polynomial: Polynomial) -> Float[Tensor, "d d"]:
    """The AGOP, if the squares of gradients neither overflow nor vanish."""
    top, tiny = float(agop.diagonal().max()), torch.finfo(agop.dtype).tiny
    varies = bool((polynomial.coefficients != 0).any())
    if not bool(torch.isfinite(agop).all()) or (varies and top < tiny):
        got, remedy = "larger ones", "rescale X or y"
        if top < tiny:
            got, remedy = "smaller ones", "rescale X or y, or lower ridge"
        raise _checks.bad_value("X, y", "squared gradients within the range of float64", got, remedy)
    return agop


_PARAMETERS = r"""
    .. math:: f_o(x) = t_o + b_o \cdot z + z^T A_o z, \qquad z = (x - a)/s,

    minimises :math:`\sum_i w_i \|y_i - f(x_i)\|^2 + \mu \sum_o \left(\|b_o\|^2 + \sum_{j \le k} \theta_{ojk}^2\right)`, where
    :math:`\theta_{ojk}` is the coefficient of the monomial :math:`z_j z_k` (so :math:`A_{jj} = \theta_{jj}` and
    :math:`A_{jk} = \theta_{jk}/2`). The constants t are not penalised: a number added to y is added to f. Degree one is linear ridge
    regression.

    Parameters
    ----------
    degree : 1 or 2
        Of the polynomial.
    pairs : "all" or "local"
        Which products :math:`z_j z_k` there are: all :math:`d(d + 1)/2`, or those of near pixels of an image.
    shape : tuple, optional
        For "local": (height, width) or (channels, height, width) of an image, whose pixels are the columns of X in C order.
    radius : int
        For "local": how many rows and columns apart two pixels may be. With channels, every pair of channels counts, at one pixel too.
    ridge : float, or a list of these
        :math:`\mu \ge 0`, as it is (not times n). Near 0 a polynomial with about as many monomials as there are points interpolates at
        the peak of its test error: do not go there unless that peak is what you study. Of a list, the ridge with the best validation
        score.
    scaling : "columns", "common" or "none"
        The coordinates z in which monomials are formed and penalised.
        "columns": columns are centred and divided by :math:`\sigma_j \sqrt d`, so that rows have a mean squared length of 1 whatever d
        and the units (d counts columns that vary). Predictions then change neither with the origin nor with the unit of a column nor with
        a constant column more, and one ridge serves all data.
        "common": centred, and divided by one number to the same mean length, which keeps what is large large (pixels, principal
        components).
        "none": z = x; the penalty, and with it the prediction, depends on origin and units.
    solver : "auto", "primal" or "dual"
        Which system is solved, in float64 whatever the dtype: that of the p monomials in blocks of rows, :math:`np^2 + p^3/3` operations,
        or that of the n points, :math:`4n^2 d + n^3/3` (local pairs :math:`n^2 p`). Both have the same solution. "auto": the cheaper
        one that fits into memory.
    max_memory : int, str or None
        Bytes, or a text such as "8GB", that a fit may take; None is what is free. A fit that cannot stay within it says so
        before it starts.
    validation : float, optional
        A share of the samples that is held out (class by class for labels) to choose the ridge, and not fitted on. Samples of your own go
        to `fit` as `X_val` and `y_val`. There is no refit on all samples: for that, fit once more with `ridge=ridge_`.
    verbose : bool
        Show a bar with elapsed and remaining time on standard error.
    device, dtype : optional
        Where to compute, and the dtype ("float32", "float64") of what is predicted. None: where the input is, in its dtype.
    random_state : int, RandomState, torch.Generator or None
        Seeds the choice of the samples that `validation` holds out. Global generators are left alone.

    Attributes
    ----------
    classes_ : array (C,)
        Of a classifier: the labels, sorted.
    agop_ : Tensor (d, d)
        The AGOP on the training points, :math:`\sum_i w_i J_i^T J_i/\sum_i w_i`, summed over outputs, with respect to X as it was passed
        (not z), not rescaled. It is float64 for any dtype: squares of gradients leave the range of float32. For degree one it is
        :math:`W^T W`.
    ridge_, validation_score_
        The ridge of the predictor, and its validation score.
    history_ : list of dict
        One entry a ridge: ridge, monomials, solver and why, smallest pivot, training and validation score, seconds.
    machine_ : Polynomial
        The polynomial: `intercept` (c,), `coefficients` (p, c) of `monomials` in the coordinates z, which `coordinates` maps to;
        `quadratic(o)` gives b and A.

    Notes
    -----
    :math:`\mathrm{AGOP} = D^{-1} \sum_o \left[b_o b_o^T + 2 b_o (A_o m)^T + 2 (A_o m) b_o^T + 4 A_o S A_o\right] D^{-1}` with the weighted
    moments :math:`m = E z`, :math:`S = E z z^T` and D = diag(s): exact, :math:`4 c d^3` operations.
    Source: Emschwiller, Gamarnik, Kızıldağ, Zadik 2020 (arXiv 2003.10523).
"""


class PolynomialRegressor(_PolynomialRidge, KernelRegressor):  # noqa: D101
    __doc__ = f"""Ridge regression on all monomials of degree one, or one and two, with exact gradient and AGOP.
    {_PARAMETERS}
    Examples
    --------
    >>> X = torch.randn(200, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    >>> model = PolynomialRegressor(ridge=1e-6).fit(X, X[:, 0] * X[:, 1])
    >>> bool((model.grad(X)[:, 0] - X[:, 1]).abs().max() < 1e-4)
    True
    """


class PolynomialClassifier(_PolynomialRidge, KernelClassifier):  # noqa: D101
    __doc__ = f"""Polynomial ridge regression to ±1 one-hot targets, the largest output wins; with exact gradient and AGOP.
    {_PARAMETERS}
    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> model = PolynomialClassifier(pairs="local", shape=(8, 8)).fit(X[:1000], y[:1000])
    >>> model.score(X[1000:], y[1000:]) > 0.9
    True
    """
