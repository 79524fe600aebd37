r"""Recursive Feature Machines: kernel ridge regression that learns its metric from its own AGOP.

Source: Radhakrishnan, Beaglehole, Pandit, Belkin (2024), *Mechanism for feature learning in neural networks and
backpropagation-free machine learning models*, Science 383; the procedure as in Beaglehole et al. 2024 (arXiv 2402.13728).
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from numbers import Integral, Real
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from jaxtyping import Float
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from agop import _checks
from agop._memory import parse_memory
from agop._progress import ProgressHook
from agop.blocks.block import Blocks
from agop.kernels import Kernel, named
from agop.machines import planning
from agop.machines._base import Callback
from agop.machines._sides import KernelClassifier, KernelRegressor
from agop.machines._table_estimator import TableEstimator
from agop.machines._words import CENTRES, SOLVING
from agop.machines.chain import Chain
from agop.machines.checkpoint import check_folder
from agop.machines.columns import SCALINGS
from agop.machines.fact import UPDATES
from agop.machines.generalised import interpolates_noise
from agop.machines.importance_control import importance_control
from agop.machines.importances import machine_agop
from agop.machines.kernel_ridge import MachineFit, StepHook, fit_kernel_machine
from agop.machines.metric import MetricRule
from agop.machines.names import CENTERS, PRECISIONS, RFM_SOLVERS, SCALES
from agop.machines.nystrom import predictor_agop
from agop.machines.planning import FEATURE_POINTS, How
from agop.machines.progress import Progress
from agop.machines.regional import LEAST, check_regions, fit_regions
from agop.machines.regions import RegionalMachine
from agop.machines.resuming import LEARNED, keep_learned, learned
from agop.machines.ridge_choice import RidgeChoice
from agop.machines.rows import HeldRows, Rows, row_hashes
from agop.machines.samples import Samples
from agop.machines.scoring import scored
from agop.machines.streaming import Stream, opened
from agop.ranks import current

R = TypeVar("R", bound="_RFM")


class _RFM(TableEstimator):
    """The recursion `fit → AGOP → fit …`, shared by both estimators."""

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "kernel": [str, Kernel],
        "bandwidth": [Interval(Real, 0, None, closed="neither"), StrOptions({"median"}), "array-like"],
        "bandwidth_factor": [Interval(Real, 0, None, closed="neither")],
        "bandwidth_at": [StrOptions({"start", "each"})],
        "ridge": [Interval(Real, 0, None, closed="left")],
        "learning_ridge": [Interval(Real, 0, None, closed="left"), None],
        "n_iter": [Interval(Integral, 0, None, closed="left")],
        "diagonal": ["boolean"],
        "power": [Interval(Real, 0, None, closed="neither")],
        "scale": [StrOptions(set(SCALES))],
        "center_gradients": ["boolean"],
        "update": [StrOptions(set(UPDATES))],
        "scaling": [StrOptions(set(SCALINGS))],
        "center_targets": ["boolean"],
        "categorical_features": ["array-like", StrOptions({"from_dtype"}), None],
        "solver": [StrOptions(set(RFM_SOLVERS))],
        "tolerance": [Interval(Real, 0, 0.1, closed="right")],
        "max_rank": [Interval(Integral, 0, None, closed="left"), None],
        "n_centers": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "centers": [StrOptions(set(CENTERS))],
        "feature_points": [Interval(Integral, 1, None, closed="left"), StrOptions({"all"})],
        "regions": [Interval(Integral, LEAST, None, closed="left"), None],
        "max_cg_iter": [Interval(Integral, 1, None, closed="left")],
        "precision": [StrOptions(set(PRECISIONS))],
        "max_memory": [Interval(Integral, 1, None, closed="left"), str, None],
        "validation": "no_validation",
        "scoring": [str, callable, None],
        "importance_control": [Interval(Integral, 0, None, closed="left")],
        "warm_start": ["boolean"],
        "verbose": ["verbose"],
        "device": "no_validation",
        "dtype": "no_validation",
        "random_state": "no_validation",
    }
    _weight_: Tensor | None

    # scikit-learn's contract: a constructor stores whatever it gets, `fit` checks it; the types are in the docstring
    def __init__(
        self,
        kernel: Any = "laplace",
        bandwidth: Any = "median",
        bandwidth_factor: Any = 4.0,
        bandwidth_at: Any = "start",
        ridge: Any = 0.1,
        learning_ridge: Any = None,
        n_iter: Any = 2,
        diagonal: Any = False,
        power: Any = 0.25,
        scale: Any = "max",
        center_gradients: Any = False,
        update: Any = "agop",
        scaling: Any = "columns",
        center_targets: Any = True,
        categorical_features: Any = "from_dtype",
        solver: Any = "auto",
        tolerance: Any = 1e-6,
        max_rank: Any = None,
        max_cg_iter: Any = 500,
        n_centers: Any = "auto",
        centers: Any = CENTERS[0],
        feature_points: Any = FEATURE_POINTS,
        regions: Any = None,
        precision: Any = "mixed",
        max_memory: Any = None,
        validation: Any = None,
        scoring: Any = None,
        importance_control: Any = 0,
        warm_start: Any = False,
        verbose: Any = False,
        device: Any = None,
        dtype: Any = None,
        random_state: Any = None,
    ) -> None:
        self.kernel = kernel
        self.bandwidth = bandwidth
        self.bandwidth_factor = bandwidth_factor
        self.bandwidth_at = bandwidth_at
        self.ridge = ridge
        self.learning_ridge = learning_ridge
        self.n_iter = n_iter
        self.diagonal = diagonal
        self.power = power
        self.scale = scale
        self.center_gradients = center_gradients
        self.update = update
        self.scaling = scaling
        self.center_targets = center_targets
        self.categorical_features = categorical_features
        self.solver = solver
        self.tolerance = tolerance
        self.max_rank = max_rank
        self.max_cg_iter = max_cg_iter
        self.n_centers = n_centers
        self.centers = centers
        self.feature_points = feature_points
        self.regions = regions
        self.precision = precision
        self.max_memory = max_memory
        self.validation = validation
        self.scoring = scoring
        self.importance_control = importance_control
        self.warm_start = warm_start
        self.verbose = verbose
        self.device = device
        self.dtype = dtype
        self.random_state = random_state

    _checkpoint: Path | None = None
    """Where an unfinished fit keeps what is finished."""

    def fit(
        self: R,
        X: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
        callback: Callback | None = None,
        progress: ProgressHook | None = None,
        checkpoint: Any = None,
    ) -> R:
        r"""Fit to `y`: targets (n,) or (n, c) of a regressor, labels (n,) of any kind of a classifier.

        Parameters
        ----------
        X, y, sample_weight
            Training samples, (n, d), their targets, and how much each counts (None: equally): minimised is
            :math:`\sum_i w_i \|y_i - f(x_i)\|^2 + \mu \|f\|^2`, and the AGOP is the mean weighted by w, so that a weight of 2 is the
            same as the sample twice, and 0 as if it were not there. Or X is a source of rows in blocks, which holds the others: see
            `agop.open_blocks`.
        X_val, y_val, sample_weight_val
            Samples to validate on, instead of a share held out by the parameter `validation`.
        callback
            Called after each iteration with (index from 0, how many in all, its entry of `history_`).
        progress
            Called many times in an iteration with (operations done, operations predicted, what is being done).
        checkpoint
            A folder that keeps what is finished of an unfinished fit to a source: iterations, and the sums of a pass over all rows after
            every 8,192 of them (or a block, if that is longer). The same fit to the same data goes on from there, to the same bits.

        Notes
        -----
        Ctrl-C, or an exception that `callback` or `progress` raises, stops the fit. The estimator then holds what was finished, it
        predicts with that, and with `warm_start=True` a further `fit` on the same data goes on from there.

        Inside `agop.launched` the ranks share the work: all of them call `fit` with the same samples, and all of them get the
        same fit.
        """
        self._checkpoint = current().together(lambda: check_folder(checkpoint))
        try:
            return super().fit(
                X, y, sample_weight, X_val=X_val, y_val=y_val, sample_weight_val=sample_weight_val, callback=callback, progress=progress
            )  # fmt: skip
        finally:
            del self._checkpoint  # of this call only: the class says that there is none

    def _fit_samples(
        self,
        samples: Samples | Rows,
        validation: Samples | None,
        callback: Callback | None,
        progress: ProgressHook | None,
    ) -> None:
        rows: Rows = HeldRows(samples) if isinstance(samples, Samples) else samples
        if self.regions is not None:
            most = check_regions(self, in_memory=rows.in_memory, validated=validation is not None)
            assert isinstance(samples, Samples)
            self.__dict__.update(fit_regions(self, samples, most, progress))
            self._control(samples)
            return
        n_iter, solver = current().together(lambda: planning.checked(self, rows))
        how, samples = planning.planned(self, rows, solver.agreed(current()), validation is not None)
        self._weight_ = samples.weight if how.large is None else None
        kernels = named.make_kernels(
            self.kernel, self.bandwidth, samples.X, samples.weight, factor=self.bandwidth_factor
        )
        MetricRule.of(self).check(next(iter(kernels)), n_iter)
        if len(kernels) > 1 and validation is None:
            raise _checks.bad_value(
                "bandwidth",
                "one number, or validation samples to choose among several with",
                f"{len(kernels)} candidates and none",
                "set validation=0.2, or pass X_val and y_val to fit",
            )
        d = samples.X.shape[1]
        identity = torch.eye(d, dtype=samples.X.dtype, device=samples.X.device)
        begun = getattr(self, "_chains_", ())
        each = self.bandwidth_at == "each" and isinstance(self.kernel, str)
        chains = [
            Chain(kernel, identity, moves=each and isinstance(asked, str))
            for kernel, asked in kernels.items()
        ]
        self._chains_ = (*begun, *chains[len(begun) :])
        done = max(len(chain.history) for chain in self._chains_) - 1
        if done > n_iter:
            raise _checks.bad_value(
                "n_iter", f">= {done}, the iterations already done", f"{n_iter}", "set warm_start=False"
            )
        fits = planning.operations(how, rows, len(samples), n_iter, len(kernels))
        meter = Progress("iteration" if len(kernels) == 1 else "fit", fits, progress)
        for place in range(len(self._chains_)):
            while len(self._chains_[place].history) <= n_iter:
                index = place * (n_iter + 1) + self._chains_[place].iteration
                entry = self._iterate(place, samples, validation, how, meter.during(index))
                if callback is not None:
                    callback(index, len(fits), entry)
        if how.large is not None and validation is not None and not how.throughout:
            self._refit(samples, validation, how, meter.during(len(fits) - 1))
        if validation is not None and n_iter and self.best_iteration_ == 0:
            self._tell_that_nothing_was_learned()
        self._control(samples)

    def _control(self, samples: Samples) -> None:
        """Keep what permuted copies of the columns get of the importances, if that was asked for."""
        copies = _checks.integer("importance_control", self.importance_control, at_least=0)
        if copies:
            self._control_ = importance_control(self, samples, copies)

    @property
    def importance_control_(self) -> Float[np.ndarray, "k d"]:
        """The importances of permuted copies (k of them) of each column: what is not above them may be noise."""
        check_is_fitted(self)
        if "_control_" not in vars(self):
            raise AttributeError("importance_control_ is there with importance_control=1 or more.")
        return np.array(self._control_)

    def _tell_that_nothing_was_learned(self) -> None:
        """Warn that validation chose the fit with the identity as metric, and whether only because it is the simpler of equals."""
        equals = [e for e in self.history_ if e["validation_score"] == self.validation_score_]
        learned = [e["iteration"] for e in equals if e["iteration"]]
        why = "it has the best validation score"
        if learned:
            why = f"iteration {learned[0]} has the same validation score, and of equal ones the simpler model is taken"
        message = f"iteration 0 predicts: {why}; agop_ is the identity."
        notes = equals[0]["notes"]
        if message not in notes:
            notes.append(message)
        if current().is_main:
            warnings.warn(message, UserWarning, stacklevel=4)

    def _tell_of_fit(self) -> None:
        """Warn if the fit that predicts passes through noise."""
        if self.regions is not None:
            return self._tell_of_regions()
        place = (self.best_candidate_, self.best_iteration_)
        entry = next(e for e in self.history_ if (e["candidate"], e["iteration"]) == place)
        message = interpolates_noise(entry)
        if message is None or message in entry["notes"]:
            return
        entry["notes"].append(message)
        if current().is_main:
            warnings.warn(message, UserWarning, stacklevel=3)

    _ridges_to_choose: RidgeChoice | None = None
    """Ridges that the large fit chooses among, by rows that M has not seen."""

    @property
    def _ridge_of_learning(self) -> float:
        """The ridge of the fits that M is learned from."""
        return float(self.ridge if self.learning_ridge is None else self.learning_ridge)

    def _solving(
        self,
        chain: Chain,
        kernel: Kernel,
        coordinates: Float[Tensor, "d r"],
        X: Float[Tensor, "n r"],
        samples: Samples,
        how: How,
    ) -> Callable[..., MachineFit]:
        """What fits a machine with a given ridge: to all rows, or to those that M is learned on."""
        final = chain.iteration >= int(self.n_iter)
        if how.is_large(final):
            assert how.large is not None
            mapped = (lambda block: block @ coordinates) if chain.iteration else (lambda block: block)
            ridges = self._ridge_choice(samples, chain.iteration) if final else None
            return partial(how.large.solve, kernel, mapped, computed=chain.iteration > 0, ridges=ridges)
        return partial(
            fit_kernel_machine,
            kernel,
            X,
            samples.Y,
            cells=samples.cells,
            sample_weight=samples.weight,
            precision=self.precision,
            center_gradients=bool(self.center_gradients),
            max_memory=parse_memory("max_memory", self.max_memory),
            computed=chain.iteration > 0,
            solver=how.solver,
            initial=chain.coefficients,
        )

    def _ridge_choice(self, samples: Samples, iteration: int) -> RidgeChoice | None:
        """The ridges to choose among, if there are several, beside the rows that M has seen."""
        choice = self._ridges_to_choose
        if choice is None:
            return None
        seen = row_hashes(samples.X).sort().values if iteration else None
        return replace(choice, seen=seen, seed=self.seed_)

    def _iterate(
        self, place: int, samples: Samples, validation: Samples | None, how: How, tell: StepHook
    ) -> dict[str, Any]:
        """One fit of one chain, with the M it leads to: nothing of it is kept unless all of it is done."""
        start = time.perf_counter()
        chain, X = self._chains_[place], samples.X
        rule = MetricRule.of(self)
        coordinates, facts = rule.coordinates(chain, samples)
        X = X @ coordinates if chain.iteration else X
        kernel = chain.kernel_at(self.kernel, X, samples.weight, factor=self.bandwidth_factor)
        learns = chain.iteration < int(self.n_iter)
        solve = self._solving(chain, kernel, coordinates, X, samples, how)
        ridge, learning = float(self.ridge), self._ridge_of_learning
        teacher = solve(learning, with_agop=self.update == "agop", on_step=tell) if learns else None
        apart = teacher is None or (validation is not None and learning != ridge)
        fit = solve(ridge, with_agop=False, on_step=tell) if apart else teacher
        assert fit is not None
        entry: dict[str, Any] = {"candidate": place, "iteration": chain.iteration}
        entry["bandwidth"], entry["ridge"] = getattr(kernel, "bandwidth", None), ridge if apart else learning
        fitted = fit.machine.predict(X) if fit.fitted is None else fit.fitted
        entry |= {**samples.training_score(fitted), **fit.report, **facts}
        learned = {
            "machine_": fit.machine,
            "kernel_": kernel,
            "bandwidth_": entry["bandwidth"],
            "coordinates_": coordinates,
            "agop_": chain.matrix.to(X.dtype),
            "best_candidate_": place,
            "best_iteration_": chain.iteration,
        }
        if how.is_large(not learns):
            learned["_agop_rows"] = (fit.machine, X, samples.weight)
        if validation is not None:
            points = validation.X @ coordinates if chain.iteration else validation.X
            score = scored(self, validation, fit.machine.predict(points), self.scoring)
            entry["validation_score"] = learned["validation_score_"] = score
            learned = learned if self._is_best(place, chain.iteration, score) else {}
        matrix = chain.matrix if teacher is None else rule.following(teacher, samples, coordinates, chain)
        if teacher is not None and apart:
            entry |= {name: teacher.report[name] for name in ("agop_route", "cancellation")}
            entry["notes"] = [*fit.report["notes"], *teacher.report["notes"]]
        entry["seconds"] = time.perf_counter() - start
        history = (*chain.history[: chain.iteration], entry)
        chains = list(self._chains_)
        coefficients = fit.machine.coefficients if fit.report["solver"] == "cg" else None
        chains[place] = Chain(
            chain.kernel, matrix, chain.iteration + learns, history, coefficients, chain.moves
        )
        learned |= {"_chains_": tuple(chains), "history_": [e for link in chains for e in link.history]}
        self.__dict__.update(learned)  # in one go: Ctrl-C must not part what belongs together
        return entry

    def _refit(self, samples: Samples, validation: Samples, how: How, tell: StepHook) -> None:
        """One large fit with the metric that validation chose among fits to the rows that M is learned on."""
        start, coordinates, iteration = time.perf_counter(), self.coordinates_, self.best_iteration_
        chain, large = self._chains_[self.best_candidate_], how.large
        entry = chain.history[iteration]
        if large is None or entry["solver"] == "nystrom":
            return
        mapped = (lambda block: block @ coordinates) if iteration else (lambda block: block)
        fit = large.solve(self.kernel_, mapped, float(self.ridge), computed=iteration > 0, on_step=tell)
        score = scored(self, validation, fit.machine.predict(mapped(validation.X)), self.scoring)
        kept = {name: entry[name] for name in ("agop_route", "cancellation")}
        entry = {
            **entry,
            **samples.training_score(fit.machine.predict(mapped(samples.X))),
            **fit.report,
            **kept,
            "validation_score": score,
            "validation_score_of_learning": entry["validation_score"],
            "ridge": float(self.ridge),
            "seconds": entry["seconds"] + time.perf_counter() - start,
        }
        history = (*chain.history[:iteration], entry, *chain.history[iteration + 1 :])
        chains = list(self._chains_)
        chains[self.best_candidate_] = replace(chain, history=history)
        self.__dict__.update(
            machine_=fit.machine,
            validation_score_=score,
            _chains_=tuple(chains),
            history_=[e for link in chains for e in link.history],
            _agop_rows=(fit.machine, mapped(samples.X), samples.weight),
        )

    def _opened(self, X: Any, y: Any, sample_weight: Any) -> tuple[Any, Any, Any, Any]:
        return opened(self, X, y, sample_weight)

    def _fit_stream(
        self,
        source: Blocks,
        given: tuple[Any, Any, Any],
        callback: Callback | None,
        progress: ProgressHook | None,
    ) -> None:
        """Fit to a source of rows: a pass for statistics, the metric on some of the rows, a pass for the sums."""
        ranks = current()
        if self.regions is not None:
            ranks.together(lambda: check_regions(self, in_memory=False, validated=False))
        digest = ranks.together(lambda: source.digest)
        if not (self.warm_start and self.__sklearn_is_fitted__()):
            self._forget()
            if self._checkpoint is not None and learned(self, self._checkpoint, digest):
                ranks.agree(
                    "the checkpoint", str(len(self.history_)), "choose a folder that all machines share"
                )
        ranks.together(lambda: self._go_on(digest))
        self._agree(ranks)
        holds_out = self._holds_out() and given[0] is None
        stream = ranks.together(lambda: Stream(self, source, self._share() if holds_out else 0.0))

        def tell(share: float) -> None:
            if progress is not None:
                progress(0.0, 1.0, f"statistics of columns, {100 * share:.0f} %")

        stream.learn(tell)
        validation = stream.validation()
        if given[0] is not None or given[1] is not None:
            validation = ranks.together(lambda: stream.given(*given))
        self._fit_samples(stream.rows(), validation, self._keeping(callback), progress)
        if self._checkpoint is not None and ranks.is_main:
            (self._checkpoint / LEARNED).unlink(missing_ok=True)

    def _keeping(self, callback: Callback | None) -> Callback | None:
        """A callback that keeps finished iterations, if there is a folder for them."""
        folder = self._checkpoint
        if folder is None:
            return callback

        def after(index: int, total: int, entry: dict[str, Any]) -> None:
            if current().is_main:
                keep_learned(self, folder)
            if callback is not None:
                callback(index, total, entry)

        return after

    def _is_best(self, place: int, iteration: int, score: float) -> bool:
        """Whether no fit so far has this validation score; of equal ones the first bandwidth, then the first iteration."""
        if not hasattr(self, "machine_"):
            return True
        best = (self.validation_score_, -self.best_candidate_, -self.best_iteration_)
        return (score, -place, -iteration) > best

    def _tell_of_regions(self) -> None:
        """Warn if fits of regions pass through noise."""
        last = {entry["region"]: entry for entry in self.history_}
        told = [message for entry in last.values() if (message := interpolates_noise(entry)) is not None]
        if told and current().is_main:
            message = f"in {len(told)} of {len(last)} regions {told[0]}"
            warnings.warn(message, UserWarning, stacklevel=4)

    def _values(self, X: Float[Tensor, "m d"]) -> Float[Tensor, "m c"]:
        """What predicts at encoded rows, in the units of the machine."""
        if isinstance(self.machine_, RegionalMachine):
            return self.machine_.predict(X)
        values: Tensor = self.machine_.predict(X @ self.coordinates_ if self.best_iteration_ else X)
        return values

    def _decision(self, X: Float[Tensor, "m d"]) -> Float[Tensor, "m c"]:
        return self._scale_of_targets().restored(self._values(X))

    @property
    def region_models_(self) -> list[Any]:
        """With `regions`: the fitted models, in the order of the columns of `region_shares`."""
        return list(self._regional("region_models_").models)

    def _regional(self, name: str) -> RegionalMachine:
        machine = getattr(self, "machine_", None)
        if not isinstance(machine, RegionalMachine):
            check_is_fitted(self)
            raise AttributeError(f"{name} is there with regions=, a number of rows.")
        return machine

    def region_shares(self, X: Any) -> Float[np.ndarray, "m r"]:
        """How much each region counts for each row of X, with sum 1 (m, regions); `region_models_` are in this order."""
        return self._regional("region_shares").tree.shares(self._checked(X)[0]).cpu().numpy()

    @property
    def _on_few_centers(self) -> bool:
        """Whether the centres of the predictor are a choice of the training points: then its coefficients are in float64."""
        chain = self._chains_[self.best_candidate_]
        return bool(chain.history[self.best_iteration_]["solver"] == "nystrom")

    @property
    def _map(self) -> Float[Tensor, "p r"]:
        """From encoded columns to the coordinates of the machine."""
        if self.best_iteration_:
            return self.coordinates_
        return torch.eye(len(self.agop_), dtype=self.agop_.dtype, device=self.agop_.device)

    @property
    def predictor_agop_(self) -> Float[Tensor, "p p"]:
        """The AGOP of the function that predicts, over encoded columns and in float64, not rescaled; formed when it is asked for.

        A mean over training points (weighted; with "nystrom" over the `feature_points` among them), a sum over outputs, in the units of the
        targets that were fitted (`target_scales_`). `agop_` is that of the fit before, from which the metric was made.
        """
        check_is_fitted(self)
        if isinstance(self.machine_, RegionalMachine):
            return self.machine_.averaged("predictor_agop_")
        known = self.__dict__.get("_own_agop")
        if known is None or known[0] is not self.machine_:
            computed = self.best_iteration_ > 0
            rows = self.__dict__.get("_agop_rows", (None,))
            if rows[0] is not self.machine_:
                matrix = machine_agop(self.machine_, self._map, self._weight_, computed=computed)
            else:  # centres are few: the mean is over the rows that M is learned on
                matrix = predictor_agop(self.machine_, self._map, *rows[1:], computed=computed)
            known = self._own_agop = (self.machine_, matrix)
        return known[1]


_PARAMETERS = r"""
    Repeats `n_iter` times: fit kernel ridge regression with :math:`k_M(x, z) = k(\|x - z\|_M)`,
    :math:`A = (K_M + \mu I)^{-1} Y`; set M to the AGOP of the fitted predictor on the training points (or see `update`). A last fit with
    the last M is the predictor. M starts at the identity.

    The defaults are those of the least regret over 21 tables, of the paper's procedure with a full M (docs/benchmarks.md); neither units
    nor offsets of columns or targets change the predictions. The paper's procedure to the letter, which 0.1.0 followed, is
    `bandwidth=10.0, ridge=1e-3, n_iter=5, power=0.5, scaling="none", center_targets=False`.

    Parameters
    ----------
    kernel : "laplace", "gaussian", "l1", "lpq", "relu-nngp", "relu-ntk" or an `agop.kernels.Kernel`
        A kernel object brings its own parameters; a name takes `bandwidth` (those of ReLU networks have none, and one hidden layer).
        "l1" needs `diagonal=True`; "lpq" has p = 1.5, q = 1.
    bandwidth : float, "median", or a list of these
        In the units of the kernel's distance, after `scaling`. "median": `bandwidth_factor` times the lower median of the distances
        between training points that differ, weighted; of more than 1,000 different points, of 1,000 that do not depend on their order; 1
        if none differ. Of a list, such as `[5, 10, "median"]`, the one with the best validation score.
    bandwidth_factor : float
        What "median" is multiplied with.
    bandwidth_at : "start" or "each"
        Whether "median" is taken once, before M is learned, or anew in each fit, from the points as the metric then has them.
    ridge : float
        :math:`\mu \ge 0`, added to the diagonal of K as it is (not times n): weights s·w are the same as a ridge μ/s.
    learning_ridge : float or None
        The ridge of the fits that M is learned from, where it is not that of the fit that predicts (None). Without validation the fits
        before the last have this ridge; with validation each iteration is fitted with both.
    n_iter : int
        How often M is learned; 0 is kernel ridge regression.
    diagonal : bool
        Keep only the diagonal of M: feature weights, no rotations. On raw tables a little better (docs/benchmarks.md).
    power : float
        Points are mapped to :math:`X M^p`. 1/4 makes the metric the root of the AGOP, as in the xRFM package; 1/2, the paper's, the AGOP.
    scale : "max", "trace" or "none"
        M is divided by its largest entry (so that one bandwidth serves all iterations), scaled to trace p (which does not
        depend on the coordinate axes), or kept as the mean of the gradients' outer products.
    center_gradients : bool
        Learn M from the covariance of the gradients instead of their second moment: their mean is left out.
    update : "agop", "fact" or "fact-geometric"
        What M is learned from. "fact": what the features at convergence theorem says of the metric N of the fit, :math:`F = \sum_i
        J_i^T \alpha_i x_i^T` with the coefficients :math:`\alpha`; M is :math:`F F^T`, so that with p = 1/4 the next metric is
        :math:`(F F^T)^{1/2}`. "fact-geometric": :math:`(F N^2 F^T)^{1/2}`, the geometric mean with the last metric. They cost n²(c + d)
        operations (Boix-Adserà et al. 2025, arXiv 2507.05644).
    scaling : "columns", "common" or "none"
        "columns": columns are centred and divided by their standard deviation (weighted). "common": centred, and divided by one number,
        the root of their mean variance, which keeps what is large large (pixels, principal components). "none": left as they are, except
        that kernels of distances compute with centred points, which changes rounding only.
    center_targets : bool
        Regression: the (weighted) mean of each target is subtracted and added back, and each is divided by its standard deviation, so that
        outputs count equally in M. Classification: the ±1 targets are centred, so that a point far from all data is predicted by the
        class shares. False: the predictor falls to 0 far from the data.
    categorical_features : "from_dtype", mask, positions, names or None
        Which columns hold categories, as in scikit-learn's HistGradientBoosting; "from_dtype" takes those of categorical dtype in a frame
        of pandas or polars or a table of pyarrow. A category is an indicator column, at most 1,000 a column; unseen ones are treated as
        missing. Missing numbers (NaN) are the column's mean, with an indicator if there were any in `fit`; a missing category is a
        category. Sparse matrices are made dense."""
_PARAMETERS += r"""
    regions : int or None
        Regions with a metric each: the rows are split at the median along the top direction of the AGOP of a fit that has learned no
        metric (to at most 2,000 of them), again and again until a region has at most so many different rows, and an RFM with these
        parameters is fitted to each. A row near a border is predicted by both sides. For tables whose regions differ, and for more rows
        than one exact fit can take (docs/benchmarks.md). As in xRFM (Beaglehole et al. 2025, arXiv 2508.10053). None: one metric for
        all rows."""
_PARAMETERS += CENTRES + SOLVING[SOLVING.index("\n    tolerance") :]
_PARAMETERS += r"""
    validation : float, optional
        A share of the samples that is held out (class by class for labels) and not fitted on. The predictor is then the fit, over all
        bandwidths and iterations, with the best score on it, weighted by `sample_weight`. Of equal scores the first bandwidth's, then the
        earliest iteration's, the simpler model; a warning says if that is iteration 0, which has learned nothing. There is no refit on
        all samples: for that, fit once more with `bandwidth=bandwidth_` and `n_iter=best_iteration_`. Samples of your own go to `fit` as
        `X_val` and `y_val`.
    scoring : str, callable or None
        What validation goes by: the name of a scorer of scikit-learn ("neg_log_loss", "roc_auc", "neg_mean_absolute_error"), a callable
        (estimator, X, y), or None: accuracy or :math:`R^2`. Larger is better. The scorer gets an estimator whose predictions are given.
    importance_control : int
        How often the fit is repeated beside a copy of the columns whose rows are permuted, for `importance_control_`: such a copy has no
        part in the target, so what it gets of the importances is what noise gets. Each repetition costs a fit to twice as many columns.
    warm_start : bool
        A further `fit` on the same data goes on after the last finished iteration: of a fit that was stopped, or with a larger `n_iter`.
    random_state : int, RandomState, torch.Generator or None
        Seeds the choice of the samples that `validation` holds out, the pivots of "cg", centres and rows of "nystrom". Global generators
        are left alone.

    Attributes
    ----------
    classes_ : array (C,)
        Of a classifier: the labels of positive weight, sorted.
    n_features_in_, feature_names_in_, n_outputs_
        Columns of X; their names, if X had any; of a regressor, columns of y.
    agop_ : Tensor (p, p)
        The feature matrix M of the predictor (scaled as `scale` says), over encoded columns after `scaling`: the AGOP of the fit before,
        or what `update` says.
    agop_in_units_ : Tensor (p, p)
        The same with respect to columns as they were passed, :math:`D^{-1} M D^{-1}` with the scales of columns D.
    predictor_agop_ : Tensor (p, p)
        The AGOP of the function that predicts, over the same columns, not rescaled, in float64; formed when it is first asked for.
    feature_importances_ : array (d,)
        Shares of its trace by column of X, with sum 1: in standardised coordinates, categories as one column.
    importance_control_ : array (importance_control, d)
        What permuted copies of the columns get of the importances, beside the columns themselves (the shares of both sum to 1).
    encoded_feature_names_ : list of str
        Names of the p encoded columns: numbers, "age is missing", "city=Rome".
    categories_ : list of (list or None), or None
        Of each column of X its categories (None last where some were missing), or None for numbers; None if there are only numbers.
    missing_indicator_ : list of int
        The columns of numbers whose gaps have an indicator.
    column_means_, column_scales_ : Tensor (p,)
        What was subtracted from the encoded columns, and what they were divided by (0: constant, mapped to 0; indicators: 1), in float64.
    target_means_, target_scales_ : Tensor (c,)
        The same of the targets.
    target_extent_ : list of float
        The largest absolute target, and the largest machine epsilon of a dtype that keeps the targets' digits: predictions are in the dtype
        of X if it holds both, else in float64.
    best_iteration_, best_candidate_, bandwidth_, validation_score_
        The iteration that the predictor is from (the last one without validation; 0 is kernel ridge regression), the place of its
        bandwidth in the list, that bandwidth, and its validation score.
    kernel_ : Kernel
        The kernel of the predictor, with that bandwidth.
    history_ : list of dict
        One entry a fit: candidate, iteration, bandwidth, training and validation score, solver, dtype of the solution, smallest pivot,
        AGOP route, rank and clipped eigenvalues of the M it used, seconds, notes on every fallback. Of "nystrom" `n_centers`,
        `nystrom_rank` (directions of the centres' kernel matrix above `cut`), `left_out_centers`, `rows`, and `fitted_mse` over all of them
        (in units of the fitted targets); scores beside it are of the rows that M is learned on.
    coordinates_ : Tensor (p, r)
        Maps encoded columns to :math:`X M^p` in the eigenbasis of M; directions that rounding hides are left out (`left_out` in `history_`
        is their share of the scatter, at most the machine epsilon).
    machine_ : KernelMachine
        The fit that predicts, in these coordinates: kernel, centres (the training points, or those that "nystrom" chose), coefficients.
    region_models_ : list of RFM
        With `regions`: the fitted models, each with `agop_`, `kernel_`, `bandwidth_`, `coordinates_`, … of its own. Of the estimator itself
        `agop_` and `predictor_agop_` are then the means of theirs, weighted by how much of the training weight lies in a region, entries
        of `history_` name their region, and `machine_` has the tree.
    device_, dtype_, seed_, settings_, data_digest_
        Where and in what was computed, the seed that `random_state` gave, and the parameters and the digest of the data that a warm start
        must share.
"""


_CLASSIFIER_PARAMETERS = _PARAMETERS.replace(
    """
    Attributes
    ----------""",
    """    class_weight : dict, "balanced" or None
        Weights of classes, multiplied with `sample_weight`; "balanced" gives all classes the same total weight.

    Attributes
    ----------""",
    1,
)


class RFMRegressor(_RFM, KernelRegressor):  # noqa: D101
    __doc__ = f"""Recursive Feature Machine for regression.
    {_PARAMETERS}"""


class RFMClassifier(_RFM, KernelClassifier):  # noqa: D101
    __doc__ = f"""Recursive Feature Machine for classification: ±1 one-hot targets, the largest output wins.
    {_CLASSIFIER_PARAMETERS}
    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> RFMClassifier().fit(X, y).score(X, y) > 0.95
    True
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **_RFM._parameter_constraints,
        "class_weight": [dict, StrOptions({"balanced"}), None],
    }

    def __init__(
        self,
        kernel: Any = "laplace",
        bandwidth: Any = "median",
        bandwidth_factor: Any = 4.0,
        bandwidth_at: Any = "start",
        ridge: Any = 0.1,
        learning_ridge: Any = None,
        n_iter: Any = 2,
        diagonal: Any = False,
        power: Any = 0.25,
        scale: Any = "max",
        center_gradients: Any = False,
        update: Any = "agop",
        scaling: Any = "columns",
        center_targets: Any = True,
        categorical_features: Any = "from_dtype",
        solver: Any = "auto",
        tolerance: Any = 1e-6,
        max_rank: Any = None,
        max_cg_iter: Any = 500,
        n_centers: Any = "auto",
        centers: Any = CENTERS[0],
        feature_points: Any = FEATURE_POINTS,
        regions: Any = None,
        precision: Any = "mixed",
        max_memory: Any = None,
        validation: Any = None,
        scoring: Any = None,
        importance_control: Any = 0,
        warm_start: Any = False,
        verbose: Any = False,
        device: Any = None,
        dtype: Any = None,
        random_state: Any = None,
        class_weight: Any = None,
    ) -> None:
        super().__init__(
            kernel=kernel,
            bandwidth=bandwidth,
            bandwidth_factor=bandwidth_factor,
            bandwidth_at=bandwidth_at,
            ridge=ridge,
            learning_ridge=learning_ridge,
            n_iter=n_iter,
            diagonal=diagonal,
            power=power,
            scale=scale,
            center_gradients=center_gradients,
            update=update,
            scaling=scaling,
            center_targets=center_targets,
            categorical_features=categorical_features,
            solver=solver,
            tolerance=tolerance,
            max_rank=max_rank,
            max_cg_iter=max_cg_iter,
            n_centers=n_centers,
            centers=centers,
            feature_points=feature_points,
            regions=regions,
            precision=precision,
            max_memory=max_memory,
            validation=validation,
            scoring=scoring,
            importance_control=importance_control,
            warm_start=warm_start,
            verbose=verbose,
            device=device,
            dtype=dtype,
            random_state=random_state,
        )
        self.class_weight = class_weight
