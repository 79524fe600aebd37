r"""The unconstrained-features model: linear layers over features that are free parameters, one row a sample.

It stands for the end of a network whose beginning can give every sample any features. `agop.theory.deep_linear` knows its global
minimum; here it is trained to it, in float64.

.. math:: \frac{1}{2N} \|H W_1^T \cdots W_M^T + 1 b^T - Y\|_F^2 + \sum_m \frac{\lambda_m}{2} \|W_m\|_F^2 + \frac{\lambda_H}{2} \|H\|_F^2

with one-hot targets Y (N, C): sums over outputs and parameters, a mean over samples. The bias is not decayed.

Source: Dang, Tran, Osher, Tran-The, Ho, Nguyen 2023 (ICML; arXiv 2301.00437); the authors train by gradient descent, here it is L-BFGS.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from agop import _checks
from agop.networks.streams import stream

_START = 3
"""The use of a seed that draws features and weights; 0 to 2 are those of `models` and `training`."""


class UnconstrainedFeatures(nn.Module):
    """Free features and bias-free linear layers, the last with a bias if so told; `model()` are the outputs of all samples.

    Parameters
    ----------
    n_samples, n_classes
        N and C.
    n_layers
        M >= 1.
    width
        d, of the features and of all layers but the last.
    bias
        Of the last layer; it starts at zero.
    seed
        Of the start: features N(0, 1), weights N(0, 1/d), so that lengths stay about the same from layer to layer. (Much smaller ones
        end at zero, which is a local minimum of two or more layers.)

    Attributes
    ----------
    features : (N, d)
        The free rows.
    layers
        An `nn.Sequential` of M linear layers: with `features` as its input it can be profiled like any network.
    """

    features: nn.Parameter

    def __init__(
        self, n_samples: int, n_classes: int, *, n_layers: int, width: int, bias: bool = False, seed: int = 0
    ) -> None:
        super().__init__()
        n_samples = _checks.integer("n_samples", n_samples, at_least=1)
        n_classes = _checks.integer("n_classes", n_classes, at_least=1)
        n_layers = _checks.integer("n_layers", n_layers, at_least=1)
        width = _checks.integer("width", width, at_least=1)
        generator = stream(seed, _START)

        def normal(rows: int) -> Tensor:
            return torch.randn(rows, width, generator=generator, dtype=torch.float64)

        self.features = nn.Parameter(normal(n_samples))
        self.layers = nn.Sequential()
        for m in range(n_layers):
            last = m == n_layers - 1
            rows = n_classes if last else width
            linear = nn.utils.skip_init(nn.Linear, width, rows, bias=bias and last, dtype=torch.float64)
            with torch.no_grad():
                linear.weight.copy_(normal(rows) / width**0.5)
                if linear.bias is not None:
                    linear.bias.zero_()
            self.layers.append(linear)

    @property
    def weights(self) -> list[nn.Parameter]:
        """W_1, …, W_M."""
        return [layer.get_parameter("weight") for layer in self.layers]

    def forward(self) -> Float[Tensor, "n c"]:
        """Outputs of all samples."""
        return self.layers(self.features)


@dataclass(frozen=True, eq=False)
class UnconstrainedFit:
    r"""A trained model, and what training came to.

    Attributes
    ----------
    model, labels
        Samples are in the order of their classes.
    loss
        The regularised loss.
    gradient
        The largest entry of its gradient.
    steps
        Evaluations of loss and gradient.
    converged
        Whether training ended because the gradient was within the tolerance, or no step from here changed the loss in float64, and
        not because of `max_steps`.
    """

    model: UnconstrainedFeatures
    labels: Int[Tensor, " n"]
    loss: float
    gradient: float
    steps: int
    converged: bool

    @property
    def product(self) -> Float[Tensor, "c d"]:
        """W, the product of the layers."""
        first, *others = (weight.detach() for weight in self.model.weights)
        return reduce(lambda product, weight: weight @ product, others, first)

    @property
    def class_means(self) -> Float[Tensor, "c d"]:
        """Of the features."""
        index = nn.functional.one_hot(self.labels).double()
        return (index / index.sum(0)).mT @ self.model.features.detach()

    @property
    def weight_gram(self) -> Float[Tensor, "c c"]:
        """W Wᵀ."""
        return self.product @ self.product.mT

    @property
    def feature_gram(self) -> Float[Tensor, "c c"]:
        """H̄ H̄ᵀ of the class means."""
        return self.class_means @ self.class_means.mT

    @property
    def cross_gram(self) -> Float[Tensor, "c c"]:
        """W H̄ᵀ."""
        return self.product @ self.class_means.mT


def train_unconstrained_features(
    counts: Sequence[int],
    *,
    n_layers: int,
    width: int,
    weight_decay: float | int | Sequence[float | int],
    feature_decay: float | int,
    bias: bool = False,
    random_state: int = 0,
    max_steps: int = 20_000,
    tolerance: float = 1e-10,
) -> UnconstrainedFit:
    r"""Minimise the loss from a random start by L-BFGS (strong Wolfe conditions), in float64 on the CPU: about a second.

    A local method: it ends in a minimum, which need not be the global one. For two or more layers, zero is always a local minimum of a
    class, and just above the threshold of minority collapse a class that should be zero has another, which is not zero.

    Parameters
    ----------
    counts
        Samples of each class, >= 1.
    n_layers, width, bias
        As `UnconstrainedFeatures`.
    weight_decay
        A number, or one for each layer.
    feature_decay
        Of the features.
    random_state
        Seed of the start, an integer >= 0.
    max_steps
        Most evaluations of loss and gradient.
    tolerance
        Stop when no entry of the gradient is larger. (Rounding of the loss may end training a little above 1e-10.)

    Raises
    ------
    ValueError, TypeError
        If an argument is out of range, or the decays are not as many as layers.

    Examples
    --------
    >>> fit = train_unconstrained_features([8, 4], n_layers=1, width=3, weight_decay=0.01, feature_decay=0.01)
    >>> fit.converged
    True
    >>> [round(float(value), 3) for value in fit.weight_gram.diagonal()]
    [2.708, 1.88]
    """
    checked = [_checks.integer(f"counts[{k}]", n, at_least=1) for k, n in enumerate(counts)]
    if not checked:
        raise _checks.bad_value("counts", "the number of samples of each class", "none")
    decays = _decays(weight_decay, _checks.integer("n_layers", n_layers, at_least=1))
    feature_decay = _checks.real("feature_decay", feature_decay, at_least=0)
    max_steps = _checks.integer("max_steps", max_steps, at_least=1)
    tolerance = _checks.real("tolerance", tolerance, above=0)
    _checks.integer("random_state", random_state, at_least=0)
    labels = torch.repeat_interleave(torch.tensor(checked))
    targets = nn.functional.one_hot(labels).double()
    model = UnconstrainedFeatures(
        len(labels), len(checked), n_layers=n_layers, width=width, bias=bias, seed=random_state
    )

    def loss() -> Float[Tensor, ""]:
        total = (model() - targets).square().sum() / len(labels)
        total = total + feature_decay * model.features.square().sum()
        for decay, weight in zip(decays, model.weights, strict=True):
            total = total + decay * weight.square().sum()
        return total / 2

    return _minimise(model, labels, loss, max_steps, tolerance)


def _minimise(
    model: UnconstrainedFeatures,
    labels: Int[Tensor, " n"],
    loss: Callable[[], Tensor],
    max_steps: int,
    tolerance: float,
) -> UnconstrainedFit:
    steps, value, gradient, settled = 0, math.inf, math.inf, False

    def closure() -> Tensor:
        nonlocal steps
        steps += 1
        model.zero_grad()
        current = loss()
        current.backward()
        return current

    while not settled and steps < max_steps:
        before = value
        optimiser = torch.optim.LBFGS(
            model.parameters(),
            max_iter=max_steps - steps,
            max_eval=max_steps - steps,
            history_size=50,
            tolerance_grad=tolerance,
            tolerance_change=0,
            line_search_fn="strong_wolfe",
        )
        optimiser.step(closure)
        value = float(closure().detach())
        gradient = max(float(part.grad.abs().max()) for part in model.parameters() if part.grad is not None)
        if not math.isfinite(value):
            raise _checks.bad_value("weight_decay", "a training that converges", f"a loss of {value}")
        settled = (
            gradient <= tolerance or not value < before
        )  # a new memory of curvature gains nothing either
    model.zero_grad()
    return UnconstrainedFit(model, labels, value, gradient, steps, settled)


def _decays(weight_decay: float | int | Sequence[float | int], n_layers: int) -> list[float]:
    if not isinstance(weight_decay, Sequence):
        return [_checks.real("weight_decay", weight_decay, at_least=0)] * n_layers
    if len(weight_decay) != n_layers:
        raise _checks.bad_value(
            "weight_decay",
            f"a number, or one for each of the {n_layers} layers",
            f"{len(weight_decay)} numbers",
        )
    return [_checks.real(f"weight_decay[{m}]", each, at_least=0) for m, each in enumerate(weight_decay)]
