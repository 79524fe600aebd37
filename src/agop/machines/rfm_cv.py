"""RFM chosen by honest predictions instead of a validation set: an average of what won a race of recursions."""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Iterator
from numbers import Integral, Real
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int
from sklearn.metrics import accuracy_score, r2_score
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from agop import _checks
from agop._progress import ProgressHook, shown
from agop.blocks.block import Blocks
from agop.machines import _inputs
from agop.machines._in_blocks import in_blocks
from agop.machines._inputs import Place
from agop.machines._sides import KernelClassifier, KernelRegressor
from agop.machines._table_estimator import READ, TableEstimator
from agop.machines.checkpoint import check_folder, key_of
from agop.machines.columns import SCALINGS
from agop.machines.criterion import Criterion, standard_error
from agop.machines.encoding import Encoding
from agop.machines.importances import averaged_agop
from agop.machines.names import PRECISIONS
from agop.machines.probabilities import fitted_slope, shares_of, tempered
from agop.machines.race import Trial
from agop.machines.rfm import RFMClassifier, RFMRegressor
from agop.machines.ridge_choice import RidgeChoice
from agop.machines.rows import drawn as drawn_rows
from agop.machines.samples import Samples
from agop.machines.scoring import check_scoring, scored
from agop.machines.search import Candidate, Choice, Search, candidates, choose_rows
from agop.machines.search_checkpoint import SearchCheckpoint
from agop.machines.search_results import search_results
from agop.machines.search_space import RIDGES, completed, drawn
from agop.machines.solver import LARGE
from agop.machines.streaming import opened, with_names
from agop.machines.targets import Targets
from agop.ranks import current

DEFAULT_CANDIDATES = 16

E = TypeVar("E", bound="_SearchedRFM")

_SHARED = (
    "target_means_", "target_scales_", "target_extent_", "missing_indicator_", "column_means_", "column_scales_",
)  # fmt: skip
"""What each of the models has, and the search too."""


class _SearchedRFM(TableEstimator):
    """The search, shared by both estimators."""

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "param_distributions": "no_validation",
        "n_candidates": [Interval(Integral, 1, None, closed="left"), None],
        "max_time": [Interval(Real, 0, None, closed="neither"), None],
        "n_iter": [Interval(Integral, 0, None, closed="left")],
        "ridges": ["array-like"],
        "ensemble": [Interval(Integral, 1, None, closed="left")],
        "cv": "no_validation",
        "scoring": [str, callable, None],
        "max_rows": [Interval(Integral, 10, None, closed="left"), None],
        "scaling": [StrOptions(set(SCALINGS))],
        "categorical_features": ["array-like", StrOptions({"from_dtype"}), None],
        "precision": [StrOptions(set(PRECISIONS))],
        "n_jobs": [Integral, None],
        "verbose": ["verbose"],
        "device": "no_validation",
        "dtype": "no_validation",
        "random_state": "no_validation",
    }
    _base: ClassVar[type]
    _checkpoint: Path | None = None
    """Where an unfinished fit to all rows keeps what is finished."""
    best_score_error_: float | None

    # scikit-learn's contract: a constructor stores whatever it gets, `fit` checks it; the types are in the docstring
    def __init__(
        self,
        param_distributions: Any = None,
        n_candidates: Any = None,
        max_time: Any = None,
        n_iter: Any = 16,
        ridges: Any = RIDGES,
        ensemble: Any = 16,
        cv: Any = 3,
        scoring: Any = None,
        max_rows: Any = 3000,
        scaling: Any = "columns",
        categorical_features: Any = "from_dtype",
        precision: Any = "mixed",
        n_jobs: Any = None,
        verbose: Any = False,
        device: Any = None,
        dtype: Any = None,
        random_state: Any = None,
    ) -> None:
        self.param_distributions = param_distributions
        self.n_candidates = n_candidates
        self.max_time = max_time
        self.n_iter = n_iter
        self.ridges = ridges
        self.ensemble = ensemble
        self.cv = cv
        self.scoring = scoring
        self.max_rows = max_rows
        self.scaling = scaling
        self.categorical_features = categorical_features
        self.precision = precision
        self.n_jobs = n_jobs
        self.verbose = verbose
        self.device = device
        self.dtype = dtype
        self.random_state = random_state

    def fit(  # type: ignore[override]
        self: E,
        X: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        groups: Any = None,
        progress: ProgressHook | None = None,
        checkpoint: Any = None,
    ) -> E:
        """Search, then fit what was chosen to all rows.

        Parameters
        ----------
        X, y, sample_weight
            As for `RFMRegressor` and `RFMClassifier`.
        groups
            Rows of one group (n,) are held out together; None: equal rows are.
        progress
            Called with (done, of how many, what is being done).
        checkpoint
            A folder for the fit to all rows of a source, as in `RFMRegressor.fit`: when the same search, done again, has chosen the same
            model, its fit goes on there.

        Notes
        -----
        Ctrl-C ends the search: what is best so far is fitted to all rows, and a warning says so. A second Ctrl-C ends that too.
        """
        begun = time.monotonic()
        self._check_constraints()
        folder = check_folder(checkpoint)
        self._forget()
        self.seed_ = self._agreed_seed()
        source, X, y, sample_weight = opened(self, X, y, sample_weight)
        if source is not None:
            numbers = drawn_rows(source.n_rows, min(source.n_rows, LARGE), self.seed_)
            block = source.take(numbers)
            X, y, sample_weight = with_names(source, block), block.y, block.weight
            if groups is not None:
                _checks.same_length("X", source.n_rows, "groups", len(groups))
                groups = np.asarray(groups)[numbers]
        table, place = self._rows(
            X, reset=True, device=self.device, dtype=self.dtype, counts=_inputs.counting(sample_weight)
        )
        learned: dict[str, Any] = {}
        samples = self._samples("", table, y, sample_weight, place, learned)
        self.__dict__ |= learned
        self.device_, self.dtype_ = str(place.device), str(place.dtype).removeprefix("torch.")
        counts = None if len(samples) == len(table) else _inputs.counting(sample_weight)
        if groups is not None:
            groups = np.asarray(groups.cpu() if isinstance(groups, Tensor) else groups)
            _checks.same_length("X", len(table), "groups", len(groups))
            groups = groups if counts is None else groups[counts]
        kept = np.arange(len(table)) if counts is None else np.flatnonzero(counts)
        whole, some = samples, self._searched(samples) if source is None else None
        if some is not None:
            samples, kept = samples.take(torch.from_numpy(some)), kept[some]
            groups = None if groups is None else groups[some]
            counts = None

        def search(heard: ProgressHook | None) -> None:
            self._checkpoint = folder
            self._search(samples, whole, source, place, groups, counts, kept, len(table), begun, heard)

        with shown(self.verbose, progress) as heard:
            search(heard)
        return self

    def _searched(self, samples: Samples) -> np.ndarray | None:
        """Of very many rows a seeded share, from which those that are searched with are taken; None for all."""
        if len(samples) <= LARGE or not isinstance(self.cv, Integral):
            return None
        rows = drawn_rows(len(samples), LARGE, self.seed_)
        if samples.labels is not None:  # no class may be missing
            first = np.unique(samples.labels.numpy(), return_index=True)[1]
            rows = np.union1d(rows, first)
        return rows

    def _agreed_seed(self) -> int:
        """The seed of all ranks, which run the same search beside each other: nothing in it may hang on a clock or on threads."""
        ranks, seed = current(), _inputs.seed_from(self.random_state)
        if ranks.alone:
            return seed
        if self.max_time is not None or self.n_jobs not in (None, 1):
            got = "max_time" if self.max_time is not None else f"n_jobs={self.n_jobs}"
            remedy = "set n_candidates, and n_jobs=None"
            raise _checks.bad_value("max_time, n_jobs", "None inside agop.launched", got, remedy)
        return int(ranks.from_main(torch.tensor(seed)))

    def _search(
        self,
        samples: Samples,
        whole: Samples,
        source: Blocks | None,
        place: Place,
        groups: np.ndarray | None,
        counts: np.ndarray | None,
        kept: np.ndarray,
        n: int,
        begun: float,
        progress: ProgressHook | None,
    ) -> None:
        count, limit = self.n_candidates, self.max_time
        count = DEFAULT_CANDIDATES if count is None and limit is None else count
        ridges = tuple(_checks.real("ridges", ridge, at_least=0) for ridge in self.ridges)
        if not ridges:
            raise _checks.bad_value("ridges", "at least one ridge", "none")
        remembered = self._remembered(source)
        before = remembered.restored()
        columns = len(Encoding.of(samples.X, self.categories_).sources)
        draws: Iterator[dict[str, Any]] = (
            completed(one) for one in drawn(self.param_distributions, self.seed_, columns)
        )
        if before is not None:
            draws, count, limit = iter([completed(before)]), 1, None
        rows = choose_rows(samples, groups, counts, self.cv, self.max_rows, self.seed_)
        counted = self._reweighted(samples)
        scale = Targets.of(
            counted.Y, counted.weight, center=True, labels=samples.labels is not None, dtype=None
        )
        # of a source only the rows that are searched with are here
        self._learn_prior(self._reweighted(whole) if source is None else counted)
        self.target_means_, self.target_scales_ = scale.means, scale.scales
        self.target_extent_ = [
            scale.largest,
            scale.resolution,
        ]  # a scorer asks for predictions before there is a model
        large = source is not None or len(whole) > LARGE
        search = Search(
            self._made,
            samples,
            place.dtype,
            rows,
            self._criterion(samples, counted, rows.chosen, scale),
            scale,
            1 if large else int(self.ensemble),
            n_jobs=self.n_jobs,
            deadline=float("inf") if limit is None else begun + float(limit),
        )
        meter = _Meter(progress, count, rows.folds, begun, limit)
        plan = [tuple(sorted(set(ridges)))] * (int(self.n_iter) + 1)
        race = search.race(draws, count, plan, limit, self.seed_, meter.tell)
        if not any(candidate.has(0) for candidate in candidates(race.trials)):
            raise _nothing(race.trials, race.interrupted)
        choice = search.choose(race.trials)
        if before is not None:
            search.notes.append(
                "the search was cut off after it had chosen: of its recursions the one that won was repeated"
            )
        if race.interrupted:
            search.notes.append(f"the search was stopped after {len(race.trials)} recursions")
        failed = [trial.error for trial in race.trials if trial.error]
        if failed:
            first = failed[0].rstrip(".")
            search.notes.append(
                f"{len(failed)} of {len(race.trials)} recursions failed, the first with: {first}"
            )
        chosen = [place for place in range(len(choice.pool)) if place == 0 or choice.weights[place] > 0]
        chosen.sort(key=lambda place: (place > 0, -float(choice.weights[place])))
        members = [choice.pool[place] for place in chosen]
        if large:
            remembered.write(members[0].trial.params)
            meter.tell(1, "fit to all rows")
            models = {0: self._fitted_to_many(members[0], whole, source, ridges, place.dtype, search.notes)}
            remembered.done()
        else:
            models = search.fitted(members, samples, meter.tell)
        self._keep(choice, [(chosen[k], models[k]) for k in sorted(models)])
        if large:
            self.best_params_["ridge"] = self.best_estimator_.ridge
        self._keep_scores(search, choice, samples, kept, n)
        self._keep_results(race.trials, choice, search)
        self.notes_ = search.notes
        for note in search.notes:
            warnings.warn(f"{type(self).__name__}: {note}.", UserWarning, stacklevel=4)
        meter.finish()

    def _remembered(self, source: Blocks | None) -> SearchCheckpoint:
        """Where the choice of a search that ends by the clock is kept."""
        if source is None or self.max_time is None or not current().alone:
            return SearchCheckpoint(None)
        settings = sorted((name, str(value)) for name, value in self.get_params(deep=False).items())
        return SearchCheckpoint(self._checkpoint, key_of([source.digest, self.seed_, settings], []))

    def _fitted_to_many(
        self,
        best: Candidate,
        whole: Samples,
        source: Blocks | None,
        ridges: tuple[float, ...],
        dtype: torch.dtype,
        notes: list[str],
    ) -> Any:
        """The best candidate fitted to all rows on centres, its ridge chosen by sums over folds of rows that M has not seen."""
        model = self._made(best.params)
        model.solver = "nystrom"
        model._ridges_to_choose = RidgeChoice(tuple(sorted(set(ridges))))
        try:
            if source is not None:
                for name in READ:
                    model.__dict__.pop(name, None)
                model.fit(source, checkpoint=self._checkpoint)
            else:
                model._continue(whole, None)
                model._fit_samples(model._prepared(whole, None, dtype)[0], None, None, None)
        except KeyboardInterrupt:
            if not hasattr(model, "machine_"):
                raise
            notes.append(
                "the fit to all rows was stopped: what predicts was fitted to the rows that its metric was learned on"
            )
        model.__dict__.pop("_ridges_to_choose")
        model.ridge = float(model.history_[-1]["ridge"])
        if source is not None:
            classes = getattr(model, "classes_", None)
            if classes is not None and not np.array_equal(classes, self.classes_):
                got = f"{len(classes)} classes of which {len(self.classes_)} are among {LARGE:,} rows"
                raise _checks.bad_value("y", "classes that are not so rare", got, "leave out what is rarer")
            self.__dict__ |= {name: value for name, value in vars(model).items() if name in READ}
        return model

    def _made(self, params: dict[str, Any]) -> Any:
        """An unfitted RFM with these parameters, which knows what reading the samples has left."""
        options = {
            "scaling": self.scaling,
            "categorical_features": self.categorical_features,
            "precision": self.precision,
            "device": self.device,
            "dtype": self.dtype,
            "random_state": self.seed_,
        }
        if hasattr(self, "class_weight"):
            options["class_weight"] = self.class_weight
        model = self._base(**options, **params)
        model.__dict__ |= {name: value for name, value in vars(self).items() if name in READ}
        return model

    def _learn_prior(self, samples: Samples) -> None:
        """Keep the shares of the classes, for a classifier."""

    def _criterion(
        self, samples: Samples, counted: Samples, chosen: Int[Tensor, " m"], scale: Targets
    ) -> Criterion:
        part, weighed = samples.take(chosen), counted.take(chosen)
        weight = torch.ones(len(part), dtype=torch.float64) if weighed.weight is None else weighed.weight
        is_classes = samples.labels is not None
        targets = (part.Y + 1) / 2 if is_classes else scale.scaled(part.Y, torch.float64)
        scorer = None
        if check_scoring(self.scoring) is not None:

            def scorer(values: Float[Tensor, "m c"], places: Int[Tensor, " m"]) -> float:
                own = part.take(places)
                restored = values if is_classes else scale.restored(values)
                return scored(self, own, restored, self.scoring)

        return Criterion(
            targets,
            is_classes,
            (weight / weight.max()).to(targets),
            torch.arange(len(part), device=targets.device),
            scorer,
        )

    def _keep(self, choice: Choice, models: list[tuple[int, Any]]) -> None:
        """The fitted models with their weights."""
        self.best_estimator_ = models[0][1]
        self.best_params_ = dict(choice.pool[0].params)
        weights = [float(choice.weights[place]) for place, _ in models]
        members = [(model, weight) for (_, model), weight in zip(models, weights) if weight > 0]
        members = members or [(self.best_estimator_, 1.0)]
        total = sum(weight for _, weight in members)
        self.estimators_ = [model for model, _ in members]
        self.weights_ = np.array([weight / total for _, weight in members])
        self._share_of_best()

    def _share_of_best(self) -> None:
        """What is the same for all models: how columns were encoded and targets scaled."""
        self.__dict__ |= {name: getattr(self.best_estimator_, name) for name in _SHARED}

    def _keep_scores(
        self, search: Search, choice: Choice, samples: Samples, kept: np.ndarray, n: int
    ) -> None:
        """Honest predictions and what they are worth."""
        criterion = search.criterion.take(choice.places)
        fold = search.rows.fold[choice.places]
        honest = self._calibrated(choice.values, fold, search.rows.chosen[choice.places], samples)
        place = torch.from_numpy(kept)[search.rows.chosen[choice.places]].numpy()
        losses = criterion.losses(honest, shares=True)
        mean, error = standard_error(losses, criterion.weight)
        own = samples.take(search.rows.chosen[choice.places])
        self.best_score_, self.best_score_error_ = -mean, error
        if criterion.scorer is not None:
            self._keep_score_of_scorer(
                own, honest if criterion.is_classes else search.scale.restored(honest), fold
            )
        self._keep_honest(search.scale, honest, own, place, n)

    def _keep_score_of_scorer(
        self, own: Samples, honest: Float[Tensor, "m c"], fold: Int[Tensor, " m"]
    ) -> None:
        """The score of honest predictions by the scorer that was asked for, and its standard error over folds."""
        judge = copy.copy(self)
        judge.__dict__["_probabilities"] = lambda values: values  # they are calibrated already
        self.best_score_ = scored(judge, own, honest, self.scoring)
        rows = [(fold == number).nonzero()[:, 0] for number in fold.unique().tolist()]
        by_fold = [scored(judge, own.take(part), honest[part], self.scoring) for part in rows]
        self.best_score_error_ = (
            float(np.std(by_fold, ddof=1) / len(by_fold) ** 0.5) if len(rows) > 1 else None
        )

    def _keep_results(self, trials: list[Trial], choice: Choice, search: Search) -> None:
        self.cv_results_ = search_results(trials, choice, search)
        self.best_index_ = int(np.argmin(self.cv_results_["rank_test_score"]))

    def _calibrated(
        self, values: Float[Tensor, "m c"], fold: Int[Tensor, " m"], rows: Int[Tensor, " m"], samples: Samples
    ) -> Float[Tensor, "m c"]:
        return values

    def _keep_honest(
        self, scale: Targets, honest: Float[Tensor, "m c"], own: Samples, place: np.ndarray, n: int
    ) -> None:
        raise TypeError("a subclass keeps its predictions")

    def _checked(self, X: Any) -> tuple[Float[Tensor, "m d"], Place]:
        """New samples as codes and gaps: each model places them for itself."""
        check_is_fitted(self)
        return self._rows(X, reset=False, device=self.device_, dtype=self.dtype_)

    def _decision(self, X: Float[Tensor, "m d"]) -> Float[Tensor, "m c"]:
        dtype = getattr(torch, self.dtype_)
        total: Tensor | None = None
        for model, weight in zip(self.estimators_, self.weights_.tolist(), strict=True):
            part = weight * model._decision(model._placed(X, dtype)).double()
            total = part if total is None else total + part
        assert total is not None
        return total

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "estimators_") or "machine_" in vars(self)

    @property
    def predictor_agop_(self) -> Float[Tensor, "p p"]:
        """The AGOP of the averaged function over encoded columns, in float64, not rescaled; formed when it is asked for."""
        check_is_fitted(self)
        known = self.__dict__.get("_own_agop")
        if (known is None or known[0] is not self.estimators_) and len(self.estimators_) == 1:
            matrix = self.estimators_[0].predictor_agop_ * float(self.weights_[0]) ** 2
            known = self._own_agop = (self.estimators_, matrix)
        elif known is None or known[0] is not self.estimators_:
            matrix = averaged_agop(
                [(model.machine_, model._map, model.best_iteration_ > 0) for model in self.estimators_],
                self.weights_.tolist(),
                self.best_estimator_._weight_,
            )
            known = self._own_agop = (self.estimators_, matrix)
        return known[1]

    @property
    def agop_(self) -> Float[Tensor, "p p"]:
        """The feature matrix M of `best_estimator_`."""
        check_is_fitted(self)
        return self.best_estimator_.agop_


_PARAMETERS = r"""
    A recursion is an RFM with a kernel, a bandwidth, an exponent and a ridge for learning; each iteration with each of the `ridges`
    on top is a candidate. Recursions are drawn and race: all on the first of `cv` folds (of more than 1,500 rows, on a subsample before
    that), the best third on all folds. Candidates are judged by their predictions of rows that no step of their fit has seen; a greedy
    average of the best (Caruana et al. 2004, ICML) is fitted to all rows. Models of one recursion share the fits that learn its metric.

    What predicts are models fitted to all rows; scores and honest predictions are those of fits without the fold in question, and for each
    fold the average is chosen by the others. Equal rows (with `groups`, rows of a group) are never parted, and folds don't depend on the
    order of rows: k copies of a row are one with weight k. The fit is the same whatever `n_jobs` is, and, without `max_time`, whenever it
    is repeated.

    Parameters
    ----------
    param_distributions : dict, list of dicts or None
        Parameters of a recursion to lists or distributions of scipy, drawn by scikit-learn's ParameterSampler: kernel, bandwidth,
        bandwidth_factor, bandwidth_at, power, scale, diagonal, center_gradients, learning_ridge. None: eight fixed ones first, six of which
        were chosen on 42 tables to serve best together, then draws over Laplace, Gaussian and L1 kernels (of at most ten
        columns seldom "lpq"), 1/10 to 64 times the median distance, diagonal and full metrics.
    n_candidates : int or None
        How many recursions are drawn. None: 16, or with `max_time` as many as there is time for.
    max_time : float or None
        Seconds. The race leaves what fits to all rows are expected to need, between 5 and 40 % of them; then what was chosen is fitted,
        as many models of it as there is time for.
        `cv_results_` says how far each recursion came.
    n_iter : int
        At most so many iterations; a recursion ends when two in a row did not better its score by a hundredth of what it has gained since
        iteration 0.
    ridges : list of float
        Ridges of the fit that predicts. Iteration 0 tries all of them, the later ones the best and one beside it; other folds the two
        best of each iteration, up to one beyond the best.
    ensemble : int
        Models that the average may have; 1 for one model, whose AGOP can be read.
    cv : int, splitter or iterable
        Folds: their number, a splitter of scikit-learn, or pairs of row numbers; each row is held out once.
    scoring : str, callable or None
        What is searched for: None is the squared error of regression (each target in units of its standard deviation) and the Brier score
        of classes, or the name of a scorer of scikit-learn, or a callable (estimator, X, y). Weighted; over the rows of all folds together.
    max_rows : int or None
        Rows that are searched with, a seeded share of all if there are more; the fit at the end is to all. Above 30,000 rows (of which so
        many are drawn first) that is one fit of the best candidate on centres (`solver="nystrom"`), whose ridge is chosen among `ridges`
        by three folds of the rows that its metric was not learned on; `ensemble` is then 1.
    scaling, categorical_features, precision, device, dtype
        As in `RFMRegressor` and `RFMClassifier`.
    n_jobs : int or None
        Threads that run recursions, as in joblib.
    verbose : bool
        Show a bar with elapsed and remaining time on standard error.
    random_state : int, RandomState, torch.Generator or None
        Seeds folds, draws and subsamples.

    Attributes
    ----------
    best_params_ : dict
        Of the best single candidate: `RFMRegressor(**best_params_)` or the classifier is that model.
    best_estimator_ : RFMRegressor or RFMClassifier
        It, fitted to all rows.
    estimators_, weights_
        The models of the average, and their shares (k,).
    best_score_, best_score_error_ : float
        The score of the honest predictions, larger is better (squared errors and Brier scores are negative; the latter is halved for two
        classes, as in scikit-learn), and its standard error: over rows, or with `scoring` over folds.
    oof_predictions_ : array (n,), (n, c) or (n, C)
        Honest predictions of each row: targets, or calibrated class probabilities. NaN for rows that were not searched with. Of a source
        of blocks: of 30,000 rows.
    oof_score_ : float
        What `score` gives for them: R² or accuracy.
    cv_results_ : dict of arrays
        One entry a candidate, as in scikit-learn's searches: `params`, `param_…`, `split0_test_score` and so on (NaN where it did not run),
        `mean_test_score`, `std_test_score`, `rank_test_score`; and `n_folds` it was judged on, the number of its `recursion` and the
        `recursion_time` in seconds of all its candidates, its `weight` in the average.
    best_index_ : int
        The place of the best candidate there.
    notes_ : list of str
        What ended early, each with a warning.
    feature_importances_, predictor_agop_
        Of the averaged function, as in `RFMRegressor`; `agop_` is that of `best_estimator_`.
    classes_, n_features_in_, feature_names_in_, n_outputs_, categories_, missing_indicator_, encoded_feature_names_, column_means_
        As in `RFMRegressor` and `RFMClassifier`.
    column_scales_, target_means_, target_scales_, target_extent_, device_, dtype_, seed_
        Likewise.
"""

_CLASSIFIER_PARAMETERS = _PARAMETERS.replace(
    """
    Attributes
    ----------""",
    """    class_weight : dict, "balanced" or None
        Weights of classes, multiplied with `sample_weight`; scores and probabilities are those of the reweighted classes.

    Attributes
    ----------
    class_prior_, slope_
        Shares of the classes (C,), and the slope of the evidence against them that calibrates probabilities.""",
    1,
)


class RFMRegressorCV(_SearchedRFM, KernelRegressor):  # noqa: D101
    __doc__ = f"""Recursive Feature Machines for regression, chosen by honest predictions and averaged.
    {_PARAMETERS}
    Examples
    --------
    >>> from sklearn.datasets import make_friedman1
    >>> X, y = make_friedman1(200, n_features=8, random_state=0)
    >>> search = RFMRegressorCV(n_candidates=4, n_iter=3, random_state=0).fit(X, y)
    >>> search.oof_score_ > 0.9
    True
    """

    _base = RFMRegressor

    def _keep_honest(
        self, scale: Targets, honest: Float[Tensor, "m c"], own: Samples, place: np.ndarray, n: int
    ) -> None:
        values = scale.restored(honest).cpu().numpy()
        self.oof_predictions_ = np.full((n, values.shape[1]), np.nan)
        self.oof_predictions_[place] = values
        if self._one_axis_:
            self.oof_predictions_ = self.oof_predictions_[:, 0]
        weight = None if own.weight is None else own.weight.cpu().numpy()
        self.oof_score_ = float(
            r2_score(
                scale.scaled(own.Y, torch.float64).cpu().numpy(), honest.cpu().numpy(), sample_weight=weight
            )
        )


class RFMClassifierCV(_SearchedRFM, KernelClassifier):  # noqa: D101
    __doc__ = f"""Recursive Feature Machines for classification, chosen by honest predictions and averaged.
    {_CLASSIFIER_PARAMETERS}"""

    _base = RFMClassifier
    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **_SearchedRFM._parameter_constraints,
        "class_weight": [dict, StrOptions({"balanced"}), None],
    }

    def __init__(
        self,
        param_distributions: Any = None,
        n_candidates: Any = None,
        max_time: Any = None,
        n_iter: Any = 16,
        ridges: Any = RIDGES,
        ensemble: Any = 16,
        cv: Any = 3,
        scoring: Any = None,
        max_rows: Any = 3000,
        scaling: Any = "columns",
        categorical_features: Any = "from_dtype",
        precision: Any = "mixed",
        n_jobs: Any = None,
        verbose: Any = False,
        device: Any = None,
        dtype: Any = None,
        random_state: Any = None,
        class_weight: Any = None,
    ) -> None:
        super().__init__(
            param_distributions=param_distributions,
            n_candidates=n_candidates,
            max_time=max_time,
            n_iter=n_iter,
            ridges=ridges,
            ensemble=ensemble,
            cv=cv,
            scoring=scoring,
            max_rows=max_rows,
            scaling=scaling,
            categorical_features=categorical_features,
            precision=precision,
            n_jobs=n_jobs,
            verbose=verbose,
            device=device,
            dtype=dtype,
            random_state=random_state,
        )
        self.class_weight = class_weight

    def _learn_prior(self, samples: Samples) -> None:
        assert samples.labels is not None
        weight = torch.ones(len(samples), dtype=torch.float64) if samples.weight is None else samples.weight
        mass = torch.zeros(len(self.classes_), dtype=torch.float64)
        mass.index_add_(0, samples.labels, (weight / weight.max()).cpu())
        self.class_prior_ = (mass / mass.sum()).numpy()
        self.slope_ = 1.0

    def _calibrated(
        self, values: Float[Tensor, "m c"], fold: Int[Tensor, " m"], rows: Int[Tensor, " m"], samples: Samples
    ) -> Float[Tensor, "m c"]:
        shares, prior = shares_of(values), torch.from_numpy(self.class_prior_)
        part = self._reweighted(samples).take(rows)
        assert part.labels is not None
        labels = part.labels.to(shares.device)
        self.slope_ = fitted_slope(shares, labels, part.weight, prior)
        honest = torch.empty_like(shares)
        for number in fold.unique().tolist():
            other, own = fold != number, fold == number
            weight = None if part.weight is None else part.weight[other]
            slope = fitted_slope(shares[other], labels[other], weight, prior) if bool(other.any()) else 1.0
            honest[own] = tempered(shares[own], prior, slope)
        return honest

    def _keep_honest(
        self, scale: Targets, honest: Float[Tensor, "m c"], own: Samples, place: np.ndarray, n: int
    ) -> None:
        self.oof_predictions_ = np.full((n, honest.shape[1]), np.nan)
        self.oof_predictions_[place] = honest.cpu().numpy()
        assert own.labels is not None
        weight = None if own.weight is None else own.weight.cpu().numpy()
        self.oof_score_ = float(
            accuracy_score(own.labels.numpy(), honest.argmax(1).cpu().numpy(), sample_weight=weight)
        )

    def _probabilities(self, values: Float[Tensor, "m c"]) -> Float[Tensor, "m c"]:
        return tempered(shares_of(values), torch.from_numpy(self.class_prior_), float(self.slope_))

    @in_blocks
    def predict_proba(self, X: Any) -> Any:
        """Calibrated class probabilities (m, C)."""
        X, place = self._checked(X)
        return place.returned(self._probabilities(self._decision(X)))

    @in_blocks
    def predict(self, X: Any) -> Any:
        """The most probable class, (m,): a tensor for tensors if the labels are numbers, else an array."""
        X, place = self._checked(X)
        return self._as_labels(self._probabilities(self._decision(X)), place)


class _Meter:
    """How far a search is, for whoever listens: by the clock if there is a limit, else by the heats that are to be expected."""

    def __init__(
        self, hook: ProgressHook | None, count: int | None, folds: int, begun: float, limit: Any
    ) -> None:
        self._hook, self._begun, self._limit = hook, begun, limit
        self._done, self._total = 0.0, 1.0
        if limit is None and count is not None:
            self._total = count + -(-count // 3) * (folds - 1) + 1 + min(count, 8)
        elif limit is not None:
            self._total = float(limit)

    def tell(self, count: int, text: str) -> None:
        self._done = (
            self._done + count if self._limit is None else max(self._done, time.monotonic() - self._begun)
        )
        if self._hook is not None:
            self._hook(min(self._done, 0.99 * self._total), self._total, text)

    def finish(self) -> None:
        if self._hook is not None:
            self._hook(self._total, self._total, "done")


def _nothing(trials: list[Trial], interrupted: bool) -> BaseException:
    """What to raise if no candidate was judged."""
    if interrupted:
        return KeyboardInterrupt()
    errors = [trial.error for trial in trials if trial.error]
    if errors:
        return ValueError(errors[0])
    return _checks.bad_value("max_time", "time for one recursion", "less", "raise it, or set n_candidates")
