"""What RFM and Deep RFM estimators share: how a fit begins, goes on and is watched; saving."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from numbers import Real
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int
from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import validate_parameter_constraints
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from agop import _checks
from agop._progress import ProgressHook, shown
from agop.blocks.block import Blocks
from agop.machines import _inputs, persistence
from agop.machines._inputs import Place
from agop.machines.samples import Samples
from agop.machines.targets import Targets
from agop.ranks import Ranks, current

Callback = Callable[[int, int, dict[str, Any]], None]
"""Called after each iteration or layer with (index from 0, how many in all, its history entry); may raise to stop the fit."""

MAY_CHANGE = frozenset(
    (
        "n_iter",
        "n_layers",
        "solver",
        "tolerance",
        "max_rank",
        "n_centers",
        "centers",
        "max_cg_iter",
        "max_memory",
        "warm_start",
        "verbose",
        "device",
        "dtype",
        "importance_control",
        "random_state",
    )
)
"""Parameters that a warm start need not share with the fit it continues."""

_ANEW = "set warm_start=False to begin anew"

E = TypeVar("E", bound="KernelEstimator")
# PEP 673's Self would say the same; the run-time checks of the tests cannot resolve it in single methods


class KernelEstimator(BaseEstimator):
    """Shared ground of all kernel estimators; a subclass gives `_fit_samples`, `_decision` and `_targets`."""

    may_change: ClassVar[frozenset[str]] = MAY_CHANGE
    """See `MAY_CHANGE`."""
    _takes_tables: ClassVar[bool] = False
    """Whether columns may hold categories and gaps."""
    _exact_targets: ClassVar[bool] = False
    """Whether targets are fitted in float64 whatever the dtype of X."""

    seed_: int
    data_digest_: str

    def _fit_samples(
        self,
        samples: Samples,
        validation: Samples | None,
        callback: Callback | None,
        progress: ProgressHook | None,
    ) -> None:
        raise TypeError("a subclass fits")

    def _opened(self, X: Any, y: Any, sample_weight: Any) -> tuple[Blocks | None, Any, Any, Any]:
        """The source to stream from if these samples are streamed, else None; and X, y, sample_weight to be read into memory."""
        return None, X, y, sample_weight

    def _fit_stream(
        self,
        source: Blocks,
        given: tuple[Any, Any, Any],
        callback: Callback | None,
        progress: ProgressHook | None,
    ) -> None:
        raise TypeError("a subclass that opens sources fits to them")

    def _decision(self, X: Float[Tensor, "m d"]) -> Float[Tensor, "m c"]:
        raise TypeError("a subclass predicts")

    def _targets(
        self, name: str, y: Any, n: int, place: Place, learned: dict[str, Any], counts: np.ndarray | None
    ) -> tuple[Float[Tensor, "m c"], Int[Tensor, " m"] | None]:
        """Targets (m, c) in float64 and labels (or None) of those of `n` rows that count (None: all).

        What `fit` learns of them is in `learned`, which is empty at first.
        """
        raise TypeError("a subclass reads targets")

    def _rows(
        self, X: Any, *, reset: bool, device: Any, dtype: Any, counts: Any = None
    ) -> tuple[Float[Tensor, "n d"], Place]:
        """Samples as rows where they are computed with; `reset` learns their number of features, of those rows that count (None: all)."""
        return _inputs.check_X(
            self, X, reset=reset, device=device, dtype=dtype, gaps=self._takes_tables, counts=counts
        )

    def _holds_out(self) -> bool:
        """Whether `fit` holds a share of the samples out."""
        return self.validation is not None

    def fit(
        self: E,
        X: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
        callback: Callback | None = None,
        progress: ProgressHook | None = None,
    ) -> E:
        r"""Fit to `y`: targets (n,) or (n, c) of a regressor, labels (n,) of any kind of a classifier.

        Parameters
        ----------
        X, y, sample_weight
            Training samples, (n, d), or for RFM a source of rows in blocks (`agop.open_blocks`), which holds the others; their targets, and
            how much each counts (None: equally): minimised is
            :math:`\sum_i w_i \|y_i - f(x_i)\|^2 + \mu \|f\|^2`, and the AGOP is the mean weighted by w, so that a weight of 2 is the
            same as the sample twice, and 0 as if it were not there.
        X_val, y_val, sample_weight_val
            Samples to validate on, instead of a share held out by the parameter `validation`.
        callback
            Called after each iteration or layer with (index from 0, how many in all, its entry of `history_`).
        progress
            Called many times in an iteration or layer with (operations done, operations predicted, what is being done).

        Notes
        -----
        Ctrl-C, or an exception that `callback` or `progress` raises, stops the fit. The estimator then holds what was finished, it
        predicts with that, and with `warm_start=True` a further `fit` on the same data goes on from there.

        Inside `agop.launched` the ranks share the work: all of them call `fit` with the same samples, and all of them get the
        same fit.
        """
        ranks = current()
        ranks.together(self._check_constraints)
        source, X, y, sample_weight = ranks.together(lambda: self._opened(X, y, sample_weight))
        if source is not None:
            given = (X_val, y_val, sample_weight_val)
            self._with_bar(lambda heard: self._fit_stream(source, given, callback, heard), progress)
            return self
        samples, validation, dtype = ranks.together(
            lambda: self._read(X, y, sample_weight, X_val, y_val, sample_weight_val)
        )
        self._agree(ranks)
        if self._holds_out() and validation is None:
            samples, validation = samples.split(self._share(), self.seed_)
        samples, validation = ranks.together(lambda: self._prepared(samples, validation, dtype))
        self._with_bar(lambda heard: self._fit_samples(samples, validation, callback, heard), progress)
        self._tell_of_fit()
        return self

    def _tell_of_fit(self) -> None:
        """Warn of what a user should know of the fit that was asked for."""

    def _with_bar(self, work: Callable[[ProgressHook | None], None], progress: ProgressHook | None) -> None:
        """Do `work`, which tells how far it is; on rank 0 of a verbose fit a bar shows it."""
        with shown(self.verbose and current().is_main, progress) as heard:
            work(heard)

    def _check_constraints(self) -> None:
        """What scikit-learn can check of the parameters, in its own words; an estimator without constraints checks all itself."""
        constraints = getattr(self, "_parameter_constraints", None)
        if constraints:
            values = {name: _checks.plain(value) for name, value in self.get_params(deep=False).items()}
            validate_parameter_constraints(constraints, values, caller_name=type(self).__name__)

    def _read(
        self, X: Any, y: Any, sample_weight: Any, X_val: Any, y_val: Any, sample_weight_val: Any
    ) -> tuple[Samples, Samples | None, torch.dtype]:
        """Training samples as they came, those to validate on if they were passed, and the dtype to compute in."""
        if not (self.warm_start and self.__sklearn_is_fitted__()):
            self._forget()
        X, place = self._rows(
            X,
            reset=not self.__sklearn_is_fitted__(),
            device=self.device,
            dtype=self.dtype,
            counts=_inputs.counting(sample_weight) if self._takes_tables else None,
        )
        learned: dict[str, Any] = {}
        samples = self._samples("", X, y, sample_weight, place, learned)
        validation = self._given(X_val, y_val, sample_weight_val, place, learned)
        self._continue(samples, validation)
        learned |= {"device_": str(place.device), "dtype_": str(place.dtype).removeprefix("torch.")}
        self.__dict__.update(learned)
        return samples, validation, place.dtype

    def _samples(
        self, suffix: str, X: Tensor, y: Any, sample_weight: Any, place: Place, learned: dict[str, Any]
    ) -> Samples:
        """Rows as they came with targets, labels and weights; those of weight zero are not there."""
        if y is None:
            raise _inputs.no_targets()
        weight = _inputs.check_weight("sample_weight" + suffix, sample_weight, len(X), place)
        counts = None if weight is None or bool((weight > 0).all()) else (weight > 0).cpu().numpy()
        Y, labels = self._targets("y" + suffix, y, len(X), place, learned, counts)
        if counts is not None and weight is not None:
            X, weight = X[weight > 0], weight[weight > 0]
        return Samples(X, Y, labels, weight)

    def _prepared(
        self, samples: Samples, validation: Samples | None, dtype: torch.dtype
    ) -> tuple[Samples, Samples | None]:
        """Samples as the machine takes them, in `dtype`; what is learned of columns and targets is kept with the estimator."""
        samples = self._reweighted(samples)
        if not self.__sklearn_is_fitted__():
            self._learn_columns(samples)
            self._learn_targets(samples, dtype)
        scale = self._scale_of_targets()

        def taken(part: Samples) -> Samples:
            return replace(
                part,
                X=self._placed(part.X, dtype),
                Y=scale.scaled(part.Y, torch.float64 if self._exact_targets else dtype),
                restored=scale.restored,
            )

        return taken(samples), None if validation is None else taken(validation)

    def _reweighted(self, samples: Samples) -> Samples:
        """Training samples with the weights they are fitted with."""
        return samples

    def _learn_columns(self, samples: Samples) -> None:
        """Keep what the columns of the training samples are like; nothing, unless an estimator rescales them."""

    def _placed(self, X: Float[Tensor, "m d"], dtype: torch.dtype) -> Float[Tensor, "m p"]:
        """Rows in the coordinates that the machine computes in."""
        return _inputs.rounded(X, dtype)

    def _learn_targets(self, samples: Samples, dtype: torch.dtype | None) -> None:
        scale = Targets.of(
            samples.Y,
            samples.weight,
            center=bool(getattr(self, "center_targets", False)),
            labels=samples.labels is not None,
            dtype=dtype,
        )
        self.target_means_, self.target_scales_ = scale.means, scale.scales
        self.target_extent_ = [scale.largest, scale.resolution]

    def _scale_of_targets(self) -> Targets:
        return Targets(self.target_means_, self.target_scales_, *self.target_extent_)

    def _agree(self, ranks: Ranks) -> None:
        """Every rank fits the same samples in the same way from the same point on, or none does."""
        if ranks.alone:
            return
        ranks.agree("X, y", self.data_digest_, "pass the same samples on every rank, their work is shared")
        own = ("device", "max_memory", "random_state", "verbose")
        settings = {
            name: repr(value) for name, value in self.get_params(deep=False).items() if name not in own
        }
        shown = ", ".join(f"{name}={text.partition(' at 0x')[0]}" for name, text in settings.items())
        ranks.agree("parameters", shown, "give every rank the same ones")
        ranks.agree(
            "the fit to go on from",
            str(len(getattr(self, "history_", ()))),
            "load the same file on every rank",
        )
        self.seed_ = int(ranks.from_main(torch.tensor(self.seed_)))

    def _given(
        self, X: Any, y: Any, sample_weight: Any, place: Place, learned: dict[str, Any]
    ) -> Samples | None:
        """The validation samples that were passed to `fit`."""
        if X is None and y is None and sample_weight is None:
            return None
        if X is None or y is None:
            raise _checks.bad_value("X_val, y_val", "both", "one of them", "pass samples and their targets")
        X, _ = self._rows(X, reset=False, device=place.device, dtype=place.dtype)
        return self._samples("_val", X, y, sample_weight, place, learned)

    def _share(self) -> float:
        remedy = "pass samples of your own to fit as X_val and y_val"
        if not isinstance(self.validation, Real):
            raise _checks.bad_type(
                "validation", "None or a share of the samples", type(self.validation).__name__, remedy
            )
        share = _checks.real("validation", self.validation, above=0, remedy=remedy)
        if share >= 1:
            raise _checks.bad_value("validation", "a share of the samples below 1", f"{share:g}", remedy)
        return share

    def _continue(self, samples: Samples, validation: Samples | None) -> None:
        """Begin a fit, with its seed; or check that a warm start has the data and the parameters of the fit it continues."""
        self._go_on(samples.fingerprint() + ("" if validation is None else validation.fingerprint()))

    def _go_on(self, digest: str) -> None:
        """Begin a fit to the data of this digest, or go on with it."""
        settings = self._settings()
        if not hasattr(self, "seed_"):
            self.seed_ = _inputs.seed_from(self.random_state)
            self.data_digest_, self.settings_ = digest, settings
        for name, was in self.settings_.items():
            if settings[name] != was:
                raise _checks.bad_value(
                    name, f"{was} as in the fit that warm_start=True continues", settings[name], _ANEW
                )
        if self.data_digest_ != digest:
            raise _checks.bad_value(
                "X, y", "the training data of the fit that warm_start=True continues", "other data", _ANEW
            )

    def _settings(self) -> dict[str, str]:
        """The parameters that a warm start has in common with the fit it continues."""
        return {
            name: repr(_checks.plain(value))
            for name, value in self.get_params(deep=False).items()
            if name not in self.may_change
        }

    def _forget(self) -> None:
        """Drop what an earlier fit learned, so that one that fails or is stopped leaves nothing of it behind."""
        for name in [name for name in vars(self) if name.endswith("_") or name == "_n_features_out"]:
            delattr(self, name)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "machine_")

    def _checked(self, X: Any) -> tuple[Float[Tensor, "m d"], Place]:
        """New samples for a fitted estimator, where and in what it computes."""
        check_is_fitted(self)
        X, place = self._rows(X, reset=False, device=self.device_, dtype=self.dtype_)
        return self._placed(X, place.dtype), place

    def save(self, path: str | Path, centers: str | None = None) -> None:
        """Write the fitted estimator to a safetensors file, atomically and without pickle; see `load`.

        The file needs no training data beside it: it holds the points that the kernel machines are centred on, which are the training
        points.

        Parameters
        ----------
        path
            The file; one of that name is replaced once the new one is complete.
        centers : None or "float16"
            None stores the centres as they are, and what is loaded predicts the same to the last bit. "float16" stores them with 11 bits,
            in half or a quarter of the space. Predictions are then those of the same coefficients at slightly moved centres: on the
            digits they move by less than 0.4 % of their size and no label changes; where close points have far targets they move more.
            Compare predictions before the original is deleted.

        Raises
        ------
        ValueError
            If a parameter or the labels can't be stored without pickle (a callable feature map), or the folder does not exist.
        OSError
            If the system can't write; a file of that name stays as it was.
        """
        persistence.save(self, path, centers)

    @classmethod
    def load(cls: type[E], path: str | Path, *, device: Any = None) -> E:
        """Read an estimator that `save` wrote, to compute on `device` (None: the CPU).

        Nothing in the file is executed. A file that is damaged, of another class or of another format version raises `ValueError` with
        one sentence.
        """
        estimator = persistence.load(path, device=device)
        if not isinstance(estimator, cls):
            raise _checks.bad_value("path", f"a saved {cls.__name__}", f"a saved {type(estimator).__name__}")
        return estimator
