r"""Deep ConvRFM: stages of a ConvRFM and a linear convolution with random filters in its metric; no backpropagation.

Source: Beaglehole, Radhakrishnan, Pandit, Belkin 2023 (arXiv 2309.00570).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from torch import Tensor

from agop import _checks
from agop._memory import parse_memory
from agop._progress import ProgressHook
from agop.kernels import Laplace
from agop.kernels.cntk import CNTK, DEEPEST
from agop.kernels.patch_radial import PatchAverage
from agop.kernels.patches import PatchGrid
from agop.linalg.psd import psd_power
from agop.machines import _images
from agop.machines._base import MAY_CHANGE, Callback
from agop.machines._image_estimator import ImageEstimator
from agop.machines._sides import KernelClassifier
from agop.machines.conv_machine import (
    ConvFit,
    ConvMachine,
    Plan,
    conv_memory,
    fit_conv_machine,
    predicted_steps,
)
from agop.machines.conv_rfm import LEARNING, PARAMETERS, SERVICE
from agop.machines.conv_stage import ConvStage, image_view
from agop.machines.feature_maps import layer_generator
from agop.machines.progress import Progress, StepHook
from agop.machines.samples import Samples
from agop.ranks import current
from agop.view import LayerView


class DeepConvRFMClassifier(  # noqa: D101
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, ImageEstimator, KernelClassifier
):
    X_fit_: Tensor
    machine_: ConvMachine

    may_change = MAY_CHANGE - {"n_layers", "n_iter"}

    # scikit-learn's contract: a constructor stores whatever it gets, `fit` checks it; the types are in the docstring
    def __init__(
        self,
        n_layers: Any = 3,
        width: Any = 64,
        kernel: Any = "cntk",
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
        warm_start: Any = False,
        verbose: Any = False,
        device: Any = None,
        dtype: Any = None,
        random_state: Any = None,
    ) -> None:
        self.n_layers = n_layers
        self.width = width
        self.kernel = kernel
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
        n_layers, n_iter, grids = current().together(lambda: self._check_parameters(samples))
        if not hasattr(self, "layers_"):
            self.X_fit_ = samples.X
            self.layers_: list[ConvStage] = []
            self.history_: list[dict[str, Any]] = []
        X, X_val = samples.X, None if validation is None else validation.X
        for stage in self.layers_:
            X, X_val = stage(X), None if X_val is None else stage(X_val)
        fits = self._predicted(samples, grids, n_iter)
        meter = Progress("fit", fits, progress)
        for index in range(len(self.layers_), n_layers):
            hooks = [meter.during(index * (n_iter + 1) + i) for i in range(n_iter + 1)]
            X, X_val = self._add_stage(replace(samples, X=X), X_val, validation, grids[index], hooks)
            if callback is not None:
                callback(index, n_layers, self.history_[-1])

    def _check_parameters(self, samples: Samples) -> tuple[int, int, list[PatchGrid]]:
        n_layers = _checks.integer("n_layers", self.n_layers, at_least=1)
        if n_layers > DEEPEST:
            raise _checks.bad_value("n_layers", f"at most {DEEPEST}", f"{n_layers}")
        width = _checks.integer("width", self.width, at_least=1)
        n_iter = _checks.integer("n_iter", self.n_iter, at_least=0)
        first = self._grid()
        grids, sides = [first], first.sides(n_layers)
        for height, across in sides[:-1]:
            grids.append(replace(first, channels=width, height=height, width=across))
        self._plan(samples.X, samples.Y.shape[1], first, n_layers)
        memory = parse_memory("max_memory", self.max_memory)
        for grid in grids[1:]:
            needs = (len(samples), grid.pixels, samples.Y.shape[1], samples.X.dtype, grid.features)
            conv_memory(*needs, memory, samples.X.device)
        return n_layers, n_iter, grids

    def _predicted(self, samples: Samples, grids: list[PatchGrid], n_iter: int) -> list[dict[str, float]]:
        """About what each fit of each stage costs."""
        fits, (n, c) = [], samples.Y.shape
        for index, grid in enumerate(grids):
            kernel = CNTK(len(grids) - index) if self.kernel == "cntk" else PatchAverage(Laplace())
            plan = Plan(kernel=kernel, grid=grid, ridge=0.0, n_agop=self.n_agop)
            fits += [predicted_steps(plan, n, c, i < n_iter) for i in range(n_iter + 1)]
        return fits

    def _add_stage(
        self,
        samples: Samples,
        X_val: Tensor | None,
        validation: Samples | None,
        grid: PatchGrid,
        hooks: list[StepHook],
    ) -> tuple[Float[Tensor, "n k"], Tensor | None]:
        """One more stage on what comes out of the last; nothing of it is kept unless all of it is done."""
        start, index = time.perf_counter(), len(self.layers_)
        plan = self._plan(samples.X, samples.Y.shape[1], grid, self.n_layers - index)
        M: Tensor | None = None
        best: tuple[int, float | None, ConvFit, Tensor | None] | None = None
        scores: list[float] = []
        for iteration, tell in enumerate(hooks):
            learns = iteration + 1 < len(hooks)
            fit = fit_conv_machine(plan, samples, M, with_agop=learns, tell=tell)
            score = None
            if validation is not None and X_val is not None:
                score = validation.score(fit.machine.predict(X_val))
                scores.append(score)
            if best is None or score is None or best[1] is None or score > best[1]:
                best = (iteration, score, fit, M)
            if learns:
                assert fit.agop is not None
                M = plan.next_matrix(fit.agop, M, fit.report["notes"])
                tell("root", 1.0)
        assert best is not None
        iteration, score, fit, M = best
        stage = self._stage(index, plan, fit, M, samples.X)
        entry: dict[str, Any] = {"layer": index + 1, "iteration": iteration, "depth": plan.kernel.depth}
        entry |= {**samples.training_score(fit.fitted), **fit.report}
        learned: dict[str, Any] = {"machine_": fit.machine, "best_layer_": index}
        if score is not None:
            entry |= {"validation_score": score, "validation_scores": scores}
            learned["validation_score_"] = score
            if index and not score > self.validation_score_:
                learned = {}
        X, X_val = stage(samples.X), None if X_val is None else stage(X_val)
        entry["seconds"] = time.perf_counter() - start
        learned |= {"layers_": [*self.layers_, stage], "history_": [*self.history_, entry]}
        self.__dict__.update(learned, _n_features_out=X.shape[1])  # in one go: Ctrl-C must not part them
        return X, X_val

    def _stage(
        self, index: int, plan: Plan, fit: ConvFit, M: Tensor | None, X: Float[Tensor, "n d"]
    ) -> ConvStage:
        """The random convolution of one stage: its draw depends on the seed and the stage only, not on device or dtype."""
        generator = layer_generator(self.seed_, index)
        features = plan.grid.features
        drawn = torch.randn(self.width, features, generator=generator, dtype=torch.float64).to(X.device)
        agop = torch.eye(features, dtype=torch.float64, device=X.device)
        if M is not None:
            agop, drawn = M, drawn @ current().from_main(psd_power(M.double(), self.power).matrix)
        machine = fit.machine
        return ConvStage(
            agop.to(X.dtype),
            machine.metric.root,
            drawn.to(X.dtype),
            machine.coefficients,
            plan.kernel,
            plan.grid,
        )

    @property
    def agop_(self) -> Float[Tensor, "d _d"]:
        """M of the machine that predicts, with respect to patches of its stage's input."""
        return self.layers_[self.best_layer_].agop

    def _decision(self, X: Float[Tensor, "m d"]) -> Float[Tensor, "m c"]:
        for stage in self.layers_[: self.best_layer_]:
            X = stage(X)
        return self.machine_.predict(X)

    def staged_predict(self, X: Any) -> Iterator[np.ndarray]:
        """Predictions of each stage's kernel machine, first to last."""
        X, place = self._checked(X)
        centers = self.X_fit_
        for stage in self.layers_:
            yield self._as_labels(stage.machine(centers).predict(X), place)
            centers, X = stage(centers), stage(X)

    def transform(self, X: Any, layer: int = -1) -> Any:
        """What comes out of a stage: layer 0 is the first, -1 the last.

        Images (m, width, height, width') for images, flat rows for flat rows; an array for arrays and a tensor for tensors.
        """
        given = X
        X, place = self._checked(X)
        count = len(self.layers_)
        layer = _checks.integer("layer", layer)
        if not -count <= layer < count:
            raise _checks.bad_value("layer", f"an index from {-count} to {count - 1}", f"{layer}")
        chosen = self.layers_[: layer % count + 1]
        for stage in chosen:
            X = stage(X)
        if _images.are_images(given):
            X = X.view(-1, *chosen[-1].shape)
        return place.returned(X)

    def views(self, X: Any, pool: str = "flatten") -> Iterator[LayerView]:
        r"""The three stages of every layer on the images `X`, one layer at a time; see `LayerView`.

        Parameters
        ----------
        X
            Images, as in `predict`.
        pool : "flatten" or "mean"
            "flatten": images, patches times :math:`M^p`, and what comes out, all positions side by side. "mean": means over positions, of
            patches where the convolution reads; the view has M then, which has the size of a patch.
        """
        _checks.one_of("pool", pool, ("flatten", "mean"))
        X, _ = self._checked(X)
        for index, stage in enumerate(self.layers_):
            through = stage(X)
            output = through if pool == "flatten" else through.view(len(X), stage.shape[0], -1).mean(2)
            yield image_view(f"layer {index + 1}", stage.grid, stage.root, X, output, stage.agop, pool)
            X = through


_DOC = r"""Deep ConvRFM for classification of images: ±1 one-hot targets, the largest output wins.

    For each of `n_layers` stages l = 0, 1, …: a ConvRFM on what comes out of the last stage, with the kernel of a network of the
    convolutions that are still to come ("cntk" of depth L − l), keeps the M of its best iteration (the last without validation samples); a
    linear convolution with `width` random filters :math:`G M^p`, G standard normal, makes the next stage's images. The predictor
    is the kernel machine of the last stage (of the best one with validation samples).

    Parameters
    ----------
    n_layers : int
        Number of stages L.
    width : int
        Channels of each stage's output.
    kernel : "cntk", "patch-laplace", "patch-gaussian", "patch-…" or an `agop.kernels.Kernel`
        As in `ConvRFMClassifier`; "cntk" takes its depth from the stage."""
_DOC += PARAMETERS
_DOC += r"""
    n_iter : int
        How often M is learned in each stage."""
_DOC += LEARNING + SERVICE
_DOC += r"""

    Attributes
    ----------
    layers_ : list of ConvStage
        M, filters, and kernel coefficients of each stage. Training images are kept once, and the centres of the machine that predicts.
    best_layer_, validation_score_
        The stage whose kernel machine predicts, counted from 0 (the last one without validation), and its validation score.
    history_ : list of dict
        One entry a stage: the iteration that it kept, depth of its kernel, training score, validation scores of its iterations, the largest
        entry of K, the ridge as it was added, seconds, notes.

    Notes
    -----
    `warm_start=True` finishes a fit that was stopped; more stages are another model, since the depth of every kernel changes.

    Source: Beaglehole, Radhakrishnan, Pandit, Belkin 2023 (arXiv 2309.00570).

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> model = DeepConvRFMClassifier(n_layers=2, width=8, image_shape=(8, 8), random_state=0).fit(X[:100], y[:100])
    >>> model.transform(X[:5].reshape(5, 1, 8, 8)).shape
    (5, 8, 4, 4)
    """
DeepConvRFMClassifier.__doc__ = _DOC
