"""Classifier of small tensors: the network of Makantasis et al. 2021 behind scikit-learn's interface."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from agop import _checks
from agop._progress import Bar
from agop.gradients.ansatz import nfm
from agop.gradients.layers import layer_agops
from agop.gradients.modes import mode_sizes
from agop.machines import _inputs
from agop.machines._inputs import Place
from agop.networks.blockwise import train_by_blocks
from agop.networks.rank_r import FactoredLinear, blocks_of, tensor_network
from agop.networks.training import Epoch, Training, train
from agop.view import LayerView

FLAT = "flat"
WAYS = ("joint", "by-mode")

E = TypeVar("E", bound="RankRClassifier")


class RankRClassifier(ClassifierMixin, BaseEstimator):
    r"""A network with one hidden layer whose weight tensors have rank R, for small images and other tensors.

    :math:`f(X) = V \tanh(\langle W^{(q)}, X\rangle)_q + b` with :math:`W^{(q)}` as in `agop.RankR`; trained on the cross-entropy, a mean
    over samples, with Adam.

    Parameters
    ----------
    units : int
        Hidden units Q.
    rank : int or None
        R; None: the dense twin, :math:`Q \prod p` weights instead of :math:`Q R \sum p`.
    image_shape : tuple, "flat" or None
        :math:`(p_1, \ldots, p_D)` of samples that come as flat rows, in C order: (height, width), (channels, height, width), or more modes.
        Samples of three axes and more, (n, p_1, …, p_D), need none. "flat": rows are vectors, tensors of one mode; then there is no
        constraint.
    epochs, batch_size, lr, weight_decay
        Of the training. "by-mode" wants smaller rates and fewer epochs than "joint": the paper has 50 epochs, batches of 65, 5e-4.
    training : "joint" or "by-mode"
        All parameters together; or, as in the paper, on every batch `inner_steps` steps for the factors of each mode, and then for V and b.
    inner_steps : int
        Of "by-mode".
    init_gain : float
        The first layer's initialisation is scaled by this.
    verbose : bool
        Show a bar with elapsed and remaining time on standard error.
    device, dtype : optional
        Where and in what ("float32", "float64") to compute. None: where the input is, in its dtype.
    random_state : int, RandomState, torch.Generator or None
        Seeds initialisation and batches. Global generators are left alone.

    Attributes
    ----------
    classes_ : array (C,)
        The labels, sorted.
    shape_ : tuple
        :math:`(p_1, \ldots, p_D)`.
    network_ : torch.nn.Sequential
        The network on standardised samples; `network_[0]` is a `RankR` (or a `Flatten` and a `Linear`).
    n_weights_ : int
        Of the first layer.
    mean_, scale_ : array (d,), float
        Entries are centred by their training mean and divided by one number, the root mean square of all of them (1 if that is 0).
    history_ : list of dict
        One entry an epoch: loss, accuracy (both while the weights moved), seconds.

    Notes
    -----
    Ctrl-C stops a fit, which then has learned nothing. The paper's samples are windows of hyperspectral images; its data are not part of
    this package. Source: Makantasis et al. 2021 (IEEE Access 9).

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> digits = load_digits()
    >>> model = RankRClassifier(rank=1, epochs=20, random_state=0).fit(digits.images[:1000], digits.target[:1000])
    >>> model.score(digits.images[1000:], digits.target[1000:]) > 0.85, model.n_weights_
    (True, 1200)
    """

    shape_: tuple[Any, ...]

    # scikit-learn's contract: a constructor stores whatever it gets, `fit` checks it
    def __init__(
        self,
        units: Any = 75,
        rank: Any = 1,
        image_shape: Any = None,
        epochs: Any = 100,
        batch_size: Any = 64,
        lr: Any = 5e-3,
        weight_decay: Any = 0.0,
        training: Any = "joint",
        inner_steps: Any = 10,
        init_gain: Any = 1.0,
        verbose: Any = False,
        device: Any = None,
        dtype: Any = None,
        random_state: Any = None,
    ) -> None:
        self.units = units
        self.rank = rank
        self.image_shape = image_shape
        self.epochs = epochs
        self.batch_size = batch_size
        self.lr = lr
        self.weight_decay = weight_decay
        self.training = training
        self.inner_steps = inner_steps
        self.init_gain = init_gain
        self.verbose = verbose
        self.device = device
        self.dtype = dtype
        self.random_state = random_state

    def fit(self: E, X: Any, y: Any) -> E:
        """Fit to samples (n, p_1, …, p_D), or flat rows with `image_shape`, and labels (n,) of any kind.

        Raises
        ------
        ValueError, TypeError
            One sentence, for samples, labels or parameters that can't be used, and for a training that diverges.
        """
        self._forget()
        try:
            self._fit(X, y)
        except BaseException:
            self._forget()
            raise
        return self

    def _fit(self, X: Any, y: Any) -> None:
        rows, place = self._rows(X, reset=True)
        classes, index = _inputs.check_labels("y", y, len(rows))
        seed = _inputs.seed_from(self.random_state)
        units = _checks.integer("units", self.units, at_least=1)
        rank = None if self.rank is None else _checks.integer("rank", self.rank, at_least=1)
        gain = _checks.real("init_gain", self.init_gain, above=0)
        _checks.one_of("training", self.training, WAYS)
        how = Training(
            epochs=_checks.integer("epochs", self.epochs, at_least=0),
            batch_size=_checks.integer("batch_size", self.batch_size, at_least=1),
            lr=_checks.real("lr", self.lr, above=0),
            weight_decay=_checks.real("weight_decay", self.weight_decay, at_least=0),
            optimiser="adam",
            loss="cross-entropy",
            seed=seed,
        )
        wide = rows.double()
        self._learn_scale(wide)
        z = self._standardised(rows, place)
        network = tensor_network(self.shape_, len(classes), units=units, rank=rank, init_gain=gain, seed=seed)
        network = network.to(device=place.device, dtype=place.dtype)
        self.history_ = [vars(epoch) for epoch in self._epochs(network, z, index.to(place.device), how)]
        self.classes_, self.network_ = classes, network.eval().requires_grad_(False)
        self.n_weights_ = sum(part.numel() for part in network[0].parameters())
        self.device_, self.dtype_ = str(place.device), str(place.dtype).removeprefix("torch.")

    def _epochs(
        self, network: nn.Module, z: Tensor, labels: Int[Tensor, " n"], how: Training
    ) -> Iterator[Epoch]:
        if self.training == "by-mode":
            steps = _checks.integer("inner_steps", self.inner_steps, at_least=1)
            epochs = train_by_blocks(network, z, labels, how, blocks_of(network), inner=steps)
        else:
            epochs = train(network, z, labels, how)
        if not self.verbose:
            yield from epochs
            return
        with Bar() as bar:
            for epoch in epochs:
                bar(epoch.number, how.epochs, f"epoch {epoch.number}/{how.epochs}: loss {epoch.loss:.3g}")
                yield epoch

    def _learn_scale(self, rows: Float[Tensor, "n d"]) -> None:
        """Means of the entries, and one scale; both in float64."""
        largest = float(rows.abs().max()) or 1.0
        means = (rows / largest).mean(0)
        scale = float((rows / largest - means).square().mean().sqrt())
        self.mean_, self.scale_ = (means * largest).cpu().numpy(), scale * largest if scale > 0 else 1.0

    def _standardised(self, rows: Tensor, place: Place) -> Tensor:
        means = torch.from_numpy(self.mean_).to(rows.device)
        return _inputs.rounded((rows.double() - means) / self.scale_, place.dtype).reshape(-1, *self.shape_)

    def _rows(self, X: Any, *, reset: bool) -> tuple[Float[Tensor, "n d"], Place]:
        """Samples as flat rows; `reset` learns their shape."""
        X, shape = flat_rows(X, self.image_shape)
        if not reset and shape is not None and shape != self.shape_ and shape != (FLAT,):
            raise _checks.bad_value(
                "X", f"samples of shape {self.shape_} as in fit", f"{shape}", "pass such samples"
            )
        device, dtype = (self.device, self.dtype) if reset else (self.device_, self.dtype_)
        values, place = _inputs.check_X(self, X, reset=reset, device=device, dtype=dtype)
        if reset:
            self.shape_ = (values.shape[1],) if shape in (None, (FLAT,)) else shape
        return values, place

    def _logits(self, X: Any) -> tuple[Float[Tensor, "m c"], Place]:
        check_is_fitted(self)
        rows, place = self._rows(X, reset=False)
        with torch.no_grad():
            return self.network_(self._standardised(rows, place)), place

    def decision_function(self, X: Any) -> Any:
        """Logits (m, C); for two classes the second less the first, (m,)."""
        values, place = self._logits(X)
        return place.returned(values[:, 1] - values[:, 0] if values.shape[1] == 2 else values)

    def predict_proba(self, X: Any) -> Any:
        """Softmax of the logits, (m, C)."""
        values, place = self._logits(X)
        return place.returned(values.softmax(1))

    def predict(self, X: Any) -> Any:
        """The class of the largest logit, (m,): a tensor for tensors if the labels are numbers, else an array."""
        values, place = self._logits(X)
        labels = self.classes_[values.argmax(1).cpu().numpy()]
        if place.given_tensor and labels.dtype.kind in "bif":
            return torch.from_numpy(labels).to(place.given_device)
        return labels

    def views(self, X: Any) -> Iterator[LayerView]:
        r"""Both layers for `agop.profile(model, X, y)`: "hidden" (:math:`h \to \tanh(Wh)`) and "readout", on standardised samples.

        Feature matrices are :math:`W^TW` of the dense weights, AGOPs those of the logits over the samples X, a sum over classes.
        """
        check_is_fitted(self)
        rows, place = self._rows(X, reset=False)
        z = self._standardised(rows, place)
        first, last = _linear_of(self.network_[0]), self.network_[2]
        agops = layer_agops(self.network_, z, [first, last])
        before = z.flatten(1)
        matrices = list(agops.values())
        for name, layer, agop in (("hidden", first, matrices[0]), ("readout", last, matrices[1])):
            with torch.no_grad():
                _, sizes, right = torch.linalg.svd(layer.weight.double(), full_matrices=False)
                projected = before @ (sizes[:, None] * right).to(before).mT
                after = layer(before)
                after = after.tanh() if layer is first else after
            yield LayerView(name, before, projected, after, nfm(layer), agop)
            before = after

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "network_")

    def _forget(self) -> None:
        for name in [name for name in vars(self) if name.endswith("_")]:
            delattr(self, name)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = self.image_shape is not None
        tags.input_tags.three_d_array = True
        return tags


def flat_rows(X: Any, image_shape: Any) -> tuple[Any, tuple[Any, ...] | None]:
    """Samples as rows, and the shape of one; other input as it is, for the checks of rows, with the shape that `image_shape` says."""
    flat = isinstance(image_shape, str) and image_shape == FLAT
    if isinstance(image_shape, str) and not flat:
        raise _checks.bad_value("image_shape", "the shape of a sample, or 'flat'", repr(image_shape))
    asked = (FLAT,) if flat else None if image_shape is None else mode_sizes("image_shape", image_shape)
    if isinstance(X, list | tuple) and X and all(np.ndim(x) >= 2 for x in X):
        if len({tuple(np.shape(x)) for x in X}) > 1:
            raise _checks.bad_value("X", "samples of one shape", "several shapes", "crop, pad or resize them")
        X = (
            torch.stack(list(X))
            if all(isinstance(x, Tensor) for x in X)
            else np.stack([np.asarray(x) for x in X])
        )
    axes = getattr(X, "ndim", 2)
    if axes < 2:
        return X, asked
    if axes > 2:
        got = tuple(X.shape[1:])
        if flat or (asked is not None and asked != got):
            raise _checks.bad_value(
                "X", "samples of the shape that image_shape says", f"{got}", "drop image_shape"
            )
        if 0 in X.shape:
            raise _checks.bad_value(
                "X", "at least one sample with entries", f"shape {tuple(X.shape)}", "pass samples"
            )
        return X.reshape(len(X), -1), got
    if asked is None:
        raise _checks.bad_value(
            "X", "samples (n, p_1, ..., p_D), or flat rows with image_shape", f"shape {_shape(X)}", "set image_shape=(height, width)"
        )  # fmt: skip
    columns = _shape(X)[-1]
    if not flat and isinstance(columns, int) and columns != prod(asked):
        raise _checks.bad_value(
            "X", f"{prod(asked)} columns for image_shape={asked}", f"{columns}", "pass flat rows in C order"
        )
    return X, asked


def _shape(X: Any) -> tuple[Any, ...]:
    return tuple(getattr(X, "shape", ("?", "?")))


def _linear_of(first: nn.Module) -> nn.Module:
    """The linear map of the first layer, factored or dense."""
    return next(part for part in first.modules() if isinstance(part, FactoredLinear | nn.Linear))
