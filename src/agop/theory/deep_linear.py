r"""Neural collapse of deep linear networks over unconstrained features, in closed form, for any class counts.

The model: free features H (N, d), one row a sample, then M linear layers, :math:`W_1, \dots, W_{M-1}` (d, d) and :math:`W_M`
(C, d), and, if so told, a bias b at the end. With one-hot targets Y (N, C), :math:`N = \sum_k n_k` samples and
:math:`W = W_M \cdots W_1`, the weights minimise

.. math:: \frac{1}{2N} \|H W^T + 1 b^T - Y\|_F^2 + \sum_m \frac{\lambda_m}{2} \|W_m\|_F^2 + \frac{\lambda_H}{2} \|H\|_F^2 .

At the minimum all features of a class are equal, classes have directions that are orthogonal to each other, and each class has a
scalar problem of its own. With :math:`\lambda` the geometric mean of the :math:`\lambda_m`,

.. math:: \beta_k = \frac{N}{n_k} M \lambda (N \lambda_H)^{1/M}, \qquad
          x_k = \arg\min_{x \ge 0}\; \frac{1}{x^M + 1} + \beta_k x, \qquad \sigma_k^2 = N \lambda_H x_k^M,

where :math:`\sigma_k` is what W does to the direction of class k. :math:`x_k = 0`, **minority collapse**, just where
:math:`\beta_k \ge (M-1)^{(M-1)/M} / M`: there the minimum of the scalar problem moves to 0 at once, for M > 1 from
:math:`x = (M-1)^{1/M}`.

Source: Dang, Tran, Osher, Tran-The, Ho, Nguyen 2023 (ICML; arXiv 2301.00437), for equal decays of the layers, a width of at least C
and, with a bias, equal counts. Unequal decays, the threshold and narrow networks follow from two facts that need no frame: the least
decay of factors of W with singular values :math:`\sigma_j` is a sum over j, reached by
:math:`s_{m,j} = \sigma_j^{1/M} \sqrt{\lambda / \lambda_m}`; and no outputs of given singular values fit Y better than those that share
the singular vectors of Y, which are the classes' (von Neumann's trace inequality).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import brentq
from torch import Tensor

from agop import _checks
from agop.collapse.moments import ClassMoments
from agop.evidence import Evidence, Need
from agop.probe import Curve
from agop.view import STAGES


@dataclass(frozen=True, eq=False)
class DeepLinearCollapse:
    r"""The minimum, as matrices over classes: what any rotation of the feature space leaves alone. All float64, on the CPU.

    Attributes
    ----------
    counts, n_layers, weight_decay, feature_decay, bias, width
        The model; `weight_decay` has one entry a layer, `width` is None for any d that is large enough.
    beta : (C,)
        :math:`\beta_k`, decay against signal; class k collapses where it is at least `threshold`.
    threshold
        :math:`(M-1)^{(M-1)/M} / M`: 1 for one layer, 1/2 for two.
    singular_values : (M, C)
        :math:`s_{m,k}`, what :math:`W_m` does to the direction of class k. With a bias one of the C directions, all ones, is not used.
    weight_gram : (C, C)
        :math:`W W^T`.
    feature_gram : (C, C)
        :math:`\bar H \bar H^T` of the class means of the features, one row a class.
    cross_gram : (C, C)
        :math:`W \bar H^T`: output j for class k, less the bias.
    collapsed
        The classes whose mean and weights are zero.
    reasons
        Why, a sentence for each of them.
    undefined_because
        None, or why there is no closed form; then all matrices are NaN.
    """

    counts: tuple[int, ...]
    n_layers: int
    weight_decay: tuple[float, ...]
    feature_decay: float
    bias: bool
    width: int | None
    beta: Float[Tensor, " c"]
    threshold: float
    singular_values: Float[Tensor, "m c"]
    weight_gram: Float[Tensor, "c c"]
    feature_gram: Float[Tensor, "c c"]
    cross_gram: Float[Tensor, "c c"]
    collapsed: tuple[int, ...] = ()
    reasons: dict[int, str] = field(default_factory=dict)
    undefined_because: str | None = None

    kind: ClassVar[str] = "theory"
    name: ClassVar[str] = "deep linear network (theory)"
    offers: ClassVar[frozenset[str]] = frozenset({"moments", "weight", "bias", "feature_matrix"})

    @property
    def defined(self) -> bool:
        """Whether there is a closed form."""
        return self.undefined_because is None

    @property
    def n_classes(self) -> int:
        """C."""
        return len(self.counts)

    @property
    def frame(self) -> Float[Tensor, "c c"]:
        r"""The Gram matrix of the directions of the classes: I, or :math:`I - 1 1^T / C` with a bias (a simplex ETF, unscaled)."""
        return _frame(self.n_classes, self.bias)

    def layer_means(self, m: int) -> Float[Tensor, "c c"]:
        r"""Class means of the input of :math:`W_m`, m = 1, …, M, one row a class, in coordinates along the classes' directions.

        Row k has the length :math:`s_{1,k} \cdots s_{m-1,k} \|\bar h_k\|`. The means of the features themselves are those of m = 1.

        Raises
        ------
        ValueError
            If there is no such layer.
        """
        grown = self.singular_values[: self._layer(m) - 1].prod(0)
        return grown[:, None] * _lengths(self.feature_gram, self.bias)[:, None] * self.frame

    def layer_weight(self, m: int) -> Float[Tensor, "c c"]:
        """W_m, m = 1, …, M, in the same coordinates: diagonal, and without a part along all ones if there is a bias.

        Raises
        ------
        ValueError
            If there is no such layer.
        """
        return self.singular_values[self._layer(m) - 1][:, None] * self.frame

    @property
    def output_bias(self) -> Float[Tensor, " c"]:
        """b, zero without a bias."""
        return torch.full((self.n_classes,), 1 / self.n_classes if self.bias else 0.0, dtype=torch.float64)

    @property
    def output_means(self) -> Float[Tensor, "c c"]:
        """Class means of the outputs, one row a class, bias included."""
        return self.cross_gram.mT + self.output_bias

    def read(self, data: Any, needs: frozenset[Need]) -> Iterator[Evidence]:
        """The layers as evidence that is known instead of measured, for `agop.profile(theory)`; no samples are needed.

        A layer has the stages of a linear layer of `agop.Network`, so `measured.beside(predicted)` finds the same keys.
        """
        for m in range(1, self.n_layers + 1):
            yield self._evidence(m)
        yield Evidence(name=self.name, level="subject")

    def _evidence(self, m: int) -> Evidence:
        if self.undefined_because is not None:
            lacking = dict.fromkeys(self.offers, self.undefined_because)
            stages = tuple(Evidence(name=stage, level="stage", number=m, lacking=lacking) for stage in STAGES)
            return Evidence(name=f"layer {m}", level="layer", number=m, parts=stages, lacking=lacking)
        before, W = self.layer_means(m), self.layer_weight(m)
        after = before @ W.mT
        rows = {"input": before, "projected": after, "output": after}
        given: dict[str, dict[Need, Any]] = {}
        for stage, means in rows.items():
            given[stage] = {Need("moments"): self._moments(means)}
        if m == self.n_layers:
            given["output"] = {Need("moments"): self._moments(after + self.output_bias)}
            reads = {"input": W, "projected": torch.eye(self.n_classes, dtype=W.dtype)}
            for stage, weight in reads.items():
                given[stage] |= {Need("weight"): weight, Need("bias"): self.output_bias}
        stages = tuple(
            Evidence(name=stage, level="stage", number=m, given=there) for stage, there in given.items()
        )
        ordered = self.singular_values[m - 1].sort(descending=True).values.tolist()
        return Evidence(
            name=f"layer {m}",
            level="layer",
            number=m,
            parts=stages,
            given={Need("weight"): W, Need("feature_matrix"): W.mT @ W},
            known={"weight_singular_values": Curve(range(1, len(ordered) + 1), ordered)},
        )

    def _moments(self, means: Float[Tensor, "c c"]) -> ClassMoments:
        """Classes whose samples are all at their means."""
        counts = torch.tensor(self.counts, dtype=torch.float64)
        return ClassMoments(counts, means, torch.zeros_like(counts), torch.zeros_like(means))

    def _layer(self, m: int) -> int:
        if _checks.integer("m", m, at_least=1) > self.n_layers:
            raise _checks.bad_value("m", f"a layer from 1 to {self.n_layers}", repr(m))
        return m


def deep_linear_collapse(
    counts: Sequence[int] | Tensor | np.ndarray,
    *,
    n_layers: int,
    weight_decay: float | int | Sequence[float | int] | Tensor | np.ndarray,
    feature_decay: float | int,
    bias: bool = False,
    width: int | None = None,
) -> DeepLinearCollapse:
    r"""Weights and class means of a deep linear network over unconstrained features at its global minimum.

    .. math:: W W^T = \mathrm{diag}(\sigma_k^2), \qquad
              \bar H \bar H^T = \mathrm{diag}\left(\frac{\sigma_k^2}{(\sigma_k^2 + N \lambda_H)^2}\right), \qquad
              W \bar H^T = \mathrm{diag}\left(\frac{\sigma_k^2}{\sigma_k^2 + N \lambda_H}\right),

    with :math:`\sigma_k^2 = N \lambda_H x_k^M` and :math:`x_k` the solution of the scalar problem of class k (see the head of
    `agop.theory.deep_linear`). The loss is half the sum of squares over outputs, a mean over samples; decays are halved as well. With a
    bias and equal counts, :math:`I - 1 1^T / C` stands for the identity. Within-class scatter is zero.

    Parameters
    ----------
    counts
        :math:`n_k \ge 1`, the samples of each class.
    n_layers
        M >= 1, the linear layers after the features.
    weight_decay
        :math:`\lambda_m > 0`: a number, or one for each layer, that of the features' side first.
    feature_decay
        :math:`\lambda_H > 0`.
    bias
        Whether the last layer has a bias, which is not decayed.
    width
        d, or None: large enough. Of more classes than d, the d largest have a direction.

    Returns
    -------
    DeepLinearCollapse
        Undefined for a bias with unequal counts (then directions are mixtures of classes), and where the width is too small and
        equal counts (or a bias) leave open which directions survive.

    Raises
    ------
    ValueError, TypeError
        If there is no class, a count is not an integer >= 1, a decay is not > 0, there are not M of them, or `n_layers` or `width` is
        below 1.

    Examples
    --------
    >>> found = deep_linear_collapse([40, 20, 4, 4], n_layers=2, weight_decay=2e-2, feature_decay=2e-2)
    >>> [round(float(value), 4) for value in found.weight_gram.diagonal()]
    [9.8422, 5.4835, 0.0, 0.0]
    >>> found.collapsed
    (2, 3)
    >>> found.reasons[2]
    'class 2 has 4 of 68 samples: beta = 0.793 is not below the threshold 0.5 of 2 layers'
    """
    counts = _checked_counts(counts)
    n_layers = _checks.integer("n_layers", n_layers, at_least=1)
    decays = _checked_decays(weight_decay, n_layers)
    feature_decay = _checks.real("feature_decay", feature_decay, above=0)
    _checks.one_of("bias", bias, (False, True))
    if width is not None:
        width = _checks.integer("width", width, at_least=1, remedy="pass None for any that is large enough")
    problem = _Problem(counts, n_layers, decays, feature_decay, bias, width)
    because = _no_closed_form(problem)
    return _undefined(problem, because) if because is not None else _defined(problem)


@dataclass(frozen=True)
class _Problem:
    """What was asked, checked, and the numbers of the scalar problems; logarithms, so that no decay is too small."""

    counts: tuple[int, ...]
    n_layers: int
    weight_decay: tuple[float, ...]
    feature_decay: float
    bias: bool
    width: int | None

    @property
    def threshold(self) -> float:
        M = self.n_layers
        return (M - 1) ** ((M - 1) / M) / M

    @property
    def log_noise(self) -> float:
        """Of N λ_H."""
        return math.log(sum(self.counts)) + math.log(self.feature_decay)

    @property
    def log_decay(self) -> float:
        """Of the geometric mean of the layers' decays; exact where they are equal."""
        first = self.weight_decay[0]
        ratios = math.fsum(math.log(each / first) for each in self.weight_decay)
        return math.log(first) + ratios / self.n_layers

    @property
    def log_beta(self) -> list[float]:
        M = self.n_layers
        shared = math.log(M) + self.log_decay + self.log_noise / M
        return [math.log(sum(self.counts) / n) + shared for n in self.counts]

    @property
    def beta(self) -> Float[Tensor, " c"]:
        return torch.tensor(self.log_beta, dtype=torch.float64).exp()


def _defined(problem: _Problem) -> DeepLinearCollapse:
    reasons, M = _reasons(problem), problem.n_layers
    roots = [-math.inf if k in reasons else _log_root(b, M) for k, b in enumerate(problem.log_beta)]
    powers = torch.tensor(roots, dtype=torch.float64) * M  # log x^M = log σ² / (N λ_H)
    strength = powers + problem.log_noise
    layers = torch.tensor(
        [problem.log_decay - math.log(each) for each in problem.weight_decay], dtype=torch.float64
    )
    singular = ((strength / M + layers[:, None]) / 2).exp()
    feature = (powers - problem.log_noise + 2 * torch.nn.functional.logsigmoid(-powers)).exp()
    if not all(bool(torch.isfinite(part).all()) for part in (singular, strength.exp(), feature)):
        raise _checks.bad_value(
            "weight_decay",
            "decays whose optimum stays within the float64 range",
            "an overflow",
            "rescale them",
        )
    frame = _frame(len(powers), problem.bias)
    return DeepLinearCollapse(
        **vars(problem),
        beta=problem.beta,
        threshold=problem.threshold,
        singular_values=singular,
        weight_gram=strength.exp()[:, None] * frame,
        feature_gram=feature[:, None] * frame,
        cross_gram=powers.sigmoid()[:, None] * frame,
        collapsed=tuple(sorted(reasons)),
        reasons=reasons,
    )


def _undefined(problem: _Problem, because: str) -> DeepLinearCollapse:
    C = len(problem.counts)
    nan = torch.full((max(C, problem.n_layers), C), torch.nan, dtype=torch.float64)
    return DeepLinearCollapse(
        **vars(problem),
        beta=problem.beta,
        threshold=problem.threshold,
        singular_values=nan[: problem.n_layers],
        weight_gram=nan[:C].clone(),
        feature_gram=nan[:C].clone(),
        cross_gram=nan[:C].clone(),
        undefined_because=because,
    )


def _log_root(log_beta: float, M: int) -> float:
    """Logarithm of the largest root of M x^(M-1) / (x^M + 1)² = β, where the scalar problem is least if β is below the threshold."""
    if M == 1:
        return math.log(math.expm1(-log_beta / 2))

    def excess(u: float) -> float:
        return math.log(M) + (M - 1) * u - 2 * _log1pexp(M * u) - log_beta

    steepest = math.log((M - 1) / (M + 1)) / M  # the left side falls from here on
    beyond = (math.log(M) - log_beta) / (M + 1) + 1  # it is below M x^(-M-1); 1 for rounding
    return float(brentq(excess, steepest, beyond, xtol=1e-15))


def _log1pexp(v: float) -> float:
    return max(v, 0.0) + math.log1p(math.exp(-abs(v)))


def _reasons(problem: _Problem) -> dict[int, str]:
    """Why classes collapse: too little signal, or no direction left."""
    counts, width, M = problem.counts, problem.width, problem.n_layers
    if problem.bias and len(counts) == 1:
        return {0: "class 0 is alone: the bias fits it"}
    words = f"the threshold {problem.threshold:.3g} of {M} layer{'s' if M > 1 else ''}"
    reasons = {
        k: f"class {k} has {counts[k]} of {sum(counts)} samples: beta = {beta:.3g} is not below {words}"
        for k, beta in enumerate(problem.beta.tolist())
        if beta >= problem.threshold
    }
    if width is None or problem.bias:
        return reasons
    for k in _largest_first(counts)[width:]:
        reasons.setdefault(k, f"class {k} is not among the {width} largest, and the width is {width}")
    return reasons


def _no_closed_form(problem: _Problem) -> str | None:
    """Why the minimum is not given class by class, or not unique up to rotation."""
    counts, width, C = problem.counts, problem.width, len(problem.counts)
    if problem.bias and len(set(counts)) > 1:
        return "with a bias there is a closed form class by class only for equal counts, and these differ"
    if width is None or width >= C - problem.bias:
        return None
    last, next_one = _largest_first(counts)[width - 1 : width + 1]
    if counts[last] > counts[next_one] or float(problem.beta[last]) >= problem.threshold:
        return None
    return f"a width of {width} has no room for both of classes {last} and {next_one}, which have equal counts: either may go"


def _largest_first(counts: tuple[int, ...]) -> list[int]:
    return sorted(range(len(counts)), key=lambda k: -counts[k])


def _frame(C: int, bias: bool) -> Float[Tensor, "c c"]:
    return torch.eye(C, dtype=torch.float64) - (1 / C if bias else 0.0)


def _lengths(gram: Float[Tensor, "c c"], bias: bool) -> Float[Tensor, " c"]:
    """The factors of the frame in a Gram matrix that is a multiple of it row by row, as lengths."""
    C = len(gram)
    share = 1 - 1 / C if bias and C > 1 else 1.0
    return (gram.diagonal() / share).sqrt()


def _checked_counts(counts: Any) -> tuple[int, ...]:
    expected = "the number of samples of each class, integers >= 1"
    values = counts.tolist() if hasattr(counts, "tolist") else counts
    if isinstance(values, str | bytes) or not isinstance(values, Sequence):
        raise _checks.bad_type("counts", expected, _checks.shown(values), "pass a list")
    if not values:
        raise _checks.bad_value("counts", expected, "none")
    checked = tuple(_checks.integer(f"counts[{k}]", n, at_least=1) for k, n in enumerate(values))
    if sum(checked) > 2**53:
        raise _checks.bad_value("counts", "at most 2**53 samples", f"{float(sum(checked)):.3g}")
    return checked


def _checked_decays(weight_decay: Any, n_layers: int) -> tuple[float, ...]:
    if hasattr(weight_decay, "tolist"):
        weight_decay = weight_decay.tolist()
    if not isinstance(weight_decay, Sequence) or isinstance(weight_decay, str):
        return (_checks.real("weight_decay", weight_decay, above=0),) * n_layers
    if len(weight_decay) != n_layers:
        raise _checks.bad_value(
            "weight_decay",
            f"a number, or one for each of the {n_layers} layers",
            f"{len(weight_decay)} numbers",
        )
    return tuple(_checks.real(f"weight_decay[{m}]", each, above=0) for m, each in enumerate(weight_decay))
