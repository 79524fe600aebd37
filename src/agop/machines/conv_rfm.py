r"""ConvRFM: a kernel machine of images that learns the metric of its patches from its own patch AGOP.

Source: Beaglehole, Radhakrishnan, Pandit, Belkin 2023 (arXiv 2309.00570), *Mechanism of feature learning in convolutional neural networks*.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from sklearn.model_selection import KFold, StratifiedKFold
from torch import Tensor

from agop import _checks
from agop._progress import ProgressHook
from agop.machines._base import Callback
from agop.machines._image_estimator import ImageEstimator
from agop.machines._sides import KernelClassifier, KernelRegressor
from agop.machines.conv_machine import (
    ConvMachine,
    Plan,
    agop_of,
    fit_conv_machine,
    gram,
    predicted_steps,
    solve,
)
from agop.machines.conv_stage import image_view
from agop.machines.progress import Progress, StepHook
from agop.machines.samples import Samples
from agop.ranks import current
from agop.view import LayerView


class _ConvRFM(ImageEstimator):
    """The recursion `fit → patch AGOP → fit …` on images, shared by both estimators."""

    machine_: ConvMachine

    # scikit-learn's contract: a constructor stores whatever it gets, `fit` checks it; the types are in the docstring
    def __init__(
        self,
        kernel: Any = "cntk",
        depth: Any = 3,
        patch_size: Any = 3,
        stride: Any = 1,
        padding: Any = "valid",
        image_shape: Any = None,
        bandwidth: Any = "median",
        ridge: Any = 1e-3,
        ridge_scale: Any = "largest",
        n_iter: Any = 1,
        power: Any = 0.5,
        scale: Any = "max",
        positions: Any = "sum",
        n_agop: Any = None,
        max_memory: Any = None,
        validation: Any = None,
        n_folds: Any = 2,
        warm_start: Any = False,
        verbose: Any = False,
        device: Any = None,
        dtype: Any = None,
        random_state: Any = None,
    ) -> None:
        self.kernel = kernel
        self.depth = depth
        self.patch_size = patch_size
        self.stride = stride
        self.padding = padding
        self.image_shape = image_shape
        self.bandwidth = bandwidth
        self.ridge = ridge
        self.ridge_scale = ridge_scale
        self.n_iter = n_iter
        self.power = power
        self.scale = scale
        self.positions = positions
        self.n_agop = n_agop
        self.max_memory = max_memory
        self.validation = validation
        self.n_folds = n_folds
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
        plan, n_iter, crossed = current().together(lambda: self._check_parameters(samples, validation))
        n, c = samples.Y.shape
        if not hasattr(self, "history_"):
            self.history_: list[dict[str, Any]] = []
            self._matrix_: Tensor | None = None
        fits = [predicted_steps(plan, n, c, i < n_iter) for i in range(n_iter + 1)]
        chosen = n_iter
        if crossed:
            meter = Progress("fit", [fit for fit in fits for _ in range(self.n_folds)] + fits, progress)
            scores = self._cross_fitted(plan, samples, n_iter, meter)
            # of equal scores the earliest
            self.cross_fitted_scores_, chosen = scores, int(np.argmax(scores))
            before = len(fits) * self.n_folds
        else:
            meter, before = Progress("iteration", fits, progress), 0
        while len(self.history_) <= chosen:
            iteration = self._iteration()
            entry = self._iterate(
                plan, samples, validation, iteration < chosen, meter.during(before + iteration)
            )
            if callback is not None:
                callback(iteration, chosen + 1, entry)

    def _check_parameters(self, samples: Samples, validation: Samples | None) -> tuple[Plan, int, bool]:
        n_iter = _checks.integer("n_iter", self.n_iter, at_least=0)
        crossed = self._check_choice(samples, validation)
        plan = self._plan(samples.X, samples.Y.shape[1], self._grid(), self.depth)
        done = len(getattr(self, "history_", ())) - 1
        if done > n_iter:
            raise _checks.bad_value(
                "n_iter", f">= {done}, the iterations already done", f"{n_iter}", "set warm_start=False"
            )
        return plan, n_iter, crossed

    def _iteration(self) -> int:
        """The next fit; one that formed no AGOP is done again."""
        return len(self.history_) - (bool(self.history_) and not self.history_[-1]["learned"])

    def _iterate(
        self, plan: Plan, samples: Samples, validation: Samples | None, learns: bool, tell: StepHook
    ) -> dict[str, Any]:
        """One fit, with the M it leads to: nothing of it is kept unless all of it is done."""
        start, iteration, M = time.perf_counter(), self._iteration(), self._matrix_
        fit = fit_conv_machine(plan, samples, M, with_agop=learns, tell=tell)
        entry = {
            "iteration": iteration,
            "learned": learns,
            **samples.training_score(fit.fitted),
            **fit.report,
        }
        features = plan.grid.features
        identity = torch.eye(features, dtype=samples.X.dtype, device=samples.X.device)
        learned: dict[str, Any] = {
            "machine_": fit.machine,
            "agop_": identity if M is None else M.to(samples.X.dtype),
            "best_iteration_": iteration,
        }
        if validation is not None:
            score = validation.score(fit.machine.predict(validation.X))
            entry["validation_score"] = learned["validation_score_"] = score
            learned = learned if score > getattr(self, "validation_score_", -np.inf) else {}
        if learns:
            assert fit.agop is not None
            learned["_matrix_"] = plan.next_matrix(fit.agop, M, fit.report["notes"])
            entry["n_agop"] = len(samples) if plan.n_agop is None else min(len(samples), plan.n_agop)
            tell("root", 1.0)
        entry["seconds"] = time.perf_counter() - start
        learned["history_"] = [*self.history_[:iteration], entry]
        self.__dict__.update(learned)  # in one go: Ctrl-C must not part what belongs together
        return entry

    def _cross_fitted(self, plan: Plan, samples: Samples, n_iter: int, meter: Progress) -> list[float]:
        """Of each iteration, the score of left-out values with an M that has not seen the fold of the sample."""
        values = samples.Y.new_zeros(n_iter + 1, *samples.Y.shape)
        for fold, (kept, held) in enumerate(_folds(samples, self.n_folds, self.seed_)):
            others, M = samples.take(kept), None
            for iteration in range(n_iter + 1):
                tell = meter.during(fold * (n_iter + 1) + iteration)
                metric, _ = plan.metric(samples.X, M)
                K = gram(plan, samples.X, metric, tell)
                part = K[kept][:, kept] if iteration < n_iter else None
                left_out = solve(plan, K, samples, leave_out=True)[2]
                assert left_out is not None
                values[iteration, held] = left_out[held]
                tell("factor", 1.0)
                if part is not None:
                    A = solve(plan, part, others)[0]
                    machine = ConvMachine(plan.kernel, plan.grid, metric, others.X, A)
                    agop = agop_of(plan, machine, others, lambda share, tell=tell: tell("agop", share))
                    M = plan.next_matrix(agop, M, [])
                    tell("root", 1.0)
        return [samples.score(rows) for rows in values]

    def _decision(self, X: Float[Tensor, "m d"]) -> Float[Tensor, "m c"]:
        return self.machine_.predict(X)

    def views(self, X: Any, pool: str = "flatten") -> Iterator[LayerView]:
        r"""The images as one layer, for `agop.profile(model, X, y)`: `input` → `projected` → `output`.

        Parameters
        ----------
        X
            Images, as in `predict`.
        pool : "flatten" or "mean"
            "flatten": the input is the image, projected are all patches times :math:`M^p` side by side. "mean": the mean patch, and it
            times :math:`M^p`; the view has M then, which has the size of a patch. The output are the predictions in both.
        """
        _checks.one_of("pool", pool, ("flatten", "mean"))
        X, _ = self._checked(X)
        machine = self.machine_
        yield image_view("patches", machine.grid, machine.metric.root, X, self._decision(X), self.agop_, pool)


def _folds(samples: Samples, n_folds: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Rows of the other folds and of each fold; classes keep their proportions."""
    rng = np.random.RandomState(seed % 2**32)
    order = np.arange(len(samples))
    if samples.labels is None:
        parts = KFold(n_folds, shuffle=True, random_state=rng).split(order)
    else:
        fewest = int(torch.bincount(samples.labels).min())
        if fewest < n_folds:
            raise _checks.bad_value(
                "y",
                f"at least n_folds={n_folds} samples of each class",
                f"{fewest}",
                "lower n_folds, or set validation",
            )
        parts = StratifiedKFold(n_folds, shuffle=True, random_state=rng).split(order, samples.labels)
    for kept, held in parts:
        yield torch.from_numpy(kept).to(samples.X.device), torch.from_numpy(held).to(samples.X.device)


PARAMETERS = r"""
    patch_size, stride, padding
        Of the convolutions: pixels q on a side; pixels from one patch to the next; "valid" (patches lie inside the image) or "same" (zeros
        around it: with stride 1 as many patches as pixels). Of "cntk" all convolutions have them.
    image_shape : tuple, optional
        (height, width) or (channels, height, width) of images that come as flat rows, in the order (channel, row, column). Images of four
        axes, (n, channels, height, width), need none. With `patch_size=1` rows without a shape are images of one pixel.
    bandwidth : float or "median"
        Of a radial kernel, in the units of the distance of patches; "median" is the median distance between differing training patches
        at equal positions (of at most 500 images and 16 × 16 positions).
    ridge, ridge_scale : float, and "largest" or "absolute"
        :math:`\mu \ge 0`, added to the diagonal of K: times the largest entry of K ("largest": the ridge is relative, and the scale of the
        images doesn't matter to "cntk"), or as it is ("absolute")."""

LEARNING = r"""
    power : float
        The exponent p of M in the map of patches, :math:`x_p \leftarrow x_p M^p`; the paper's is 1/2.
    scale : "max", "frobenius", "trace" or "none"
        M is divided by its largest diagonal entry, by its Frobenius norm (as in the paper), scaled to trace c q², or kept. For "cntk" with
        a relative ridge all are the same predictor.
    positions : "sum" or "mean"
        Of the AGOP over positions: the paper's is the sum. It changes M by a factor, which matters to `scale="none"` only.
    n_agop : int, optional
        Take the AGOP at so many training images, a seeded choice; None: at all of them. `history_` says how many it were."""

_SERVICE = r"""
    max_memory : int, str or None
        Bytes, or a text such as "8GB", that a fit may take; None is what is free. Beside the kernel matrix and the images at most 1.5 GB
        are used, less where this asks for it; a fit that cannot stay within it says so before it starts.
    validation : float, optional
        How what predicts is chosen, of equal scores the earliest: on a share of the samples that is held out (class by class for
        labels) and not fitted on. None: the last one. Samples of your own go to `fit` as `X_val` and `y_val`.{crossed}
    warm_start : bool
        A further `fit` on the same data goes on after what is finished: of a fit that was stopped, or with more of it.
    verbose : bool
        Show a bar with elapsed and remaining time on standard error.
    device, dtype : optional
        Where and in what ("float32", "float64") to compute. None: where the input is, in its dtype. Products of patches are formed in
        float64 whatever the dtype, up to 2,048 images the kernel matrix is kept in it too.
    random_state : int, RandomState, torch.Generator or None
        Seeds what is drawn: held-out samples, folds, the images of `n_agop`. Global generators are left alone."""

CROSSED = r"""
        "cross-fitted": by leave-one-out values of all samples; for each of `n_folds` folds M is learned on the others and counts for
        samples of the fold only, so that no M has seen the sample that it is judged by; then all is fitted once more, on all samples.
    n_folds : int
        Of "cross-fitted", at least 2."""
SERVICE = _SERVICE.replace("{crossed}", "")

_PARAMETERS = r"""
    Repeats `n_iter` times: fit kernel ridge regression with a kernel of patches in the metric M; set M to the patch AGOP of
    the predictor over all training images,

    .. math:: M = \frac1n \sum_i \sum_c \sum_p \nabla_{x_p} f_c(x_i)\, \nabla_{x_p} f_c(x_i)^T,

    (c q², c q²), exact. A last fit with the last M is the predictor. M starts at the identity.

    Parameters
    ----------
    kernel : "cntk", "patch-laplace", "patch-gaussian", "patch-…" or an `agop.kernels.Kernel`
        "cntk": neural tangent kernel of a ReLU network of `depth` convolutions without pooling. "patch-…", or a kernel object: a
        kernel of distances, averaged over the patches at equal positions.
    depth : int
        Convolutions of "cntk"; other kernels have one."""
_PARAMETERS += PARAMETERS
_PARAMETERS += r"""
    n_iter : int
        How often M is learned; 0 is kernel ridge regression. A first step gains most; more can lose again: choose with `validation`."""
_PARAMETERS += LEARNING + _SERVICE.replace("{crossed}", CROSSED)
_PARAMETERS += r"""

    Attributes
    ----------
    classes_ : array (C,)
        Of a classifier: the labels, sorted.
    agop_ : Tensor (c q², c q²)
        The M of the predictor, scaled as `scale` says; a row is a pixel of a patch in the order (channel, row, column).
    image_shape_ : tuple
        (channels, height, width).
    best_iteration_, validation_score_
        The iteration that predicts, and its score on held-out samples: accuracy or :math:`R^2`.
    cross_fitted_scores_ : list of float
        With "cross-fitted": the score of each iteration.
    history_ : list of dict
        One entry a fit: iteration, training and validation score, the largest entry of K, the ridge as it was added, smallest pivot, rank
        and clipped eigenvalues of the M it used, images of the AGOP, seconds, notes.
    machine_ : ConvMachine
        The fit that predicts.

    Notes
    -----
    Cost: :math:`n^2/2` kernel values of P positions each; the AGOP about twice that and :math:`2 n^2 P c_\mathrm{out} c q^2` operations.

    At equal patches the part of the gradient that changes the angle is 0 by convention, and at zero patches all of it.

    Source: Beaglehole, Radhakrishnan, Pandit, Belkin 2023 (arXiv 2309.00570). Their script takes the AGOP at 20 images, sets NaN to 0, and
    chooses ridge and iteration by the test accuracy.
"""


class ConvRFMRegressor(_ConvRFM, KernelRegressor):  # noqa: D101
    __doc__ = f"""Convolutional Recursive Feature Machine for regression on images.
    {_PARAMETERS}"""


class ConvRFMClassifier(_ConvRFM, KernelClassifier):  # noqa: D101
    __doc__ = f"""Convolutional Recursive Feature Machine for classification of images: ±1 one-hot targets, the largest output wins.
    {_PARAMETERS}
    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> model = ConvRFMClassifier(depth=1, image_shape=(8, 8)).fit(X[:300], y[:300])
    >>> model.score(X[300:500], y[300:500]) > 0.85
    True
    """
