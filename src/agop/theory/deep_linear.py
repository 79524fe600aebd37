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
from torch import Tensor

from agop import _checks
from agop.collapse.moments import ClassMoments
from agop.evidence import Evidence, Need
from agop.probe import Curve
from agop.theory.deep_linear_problem import (
    Problem,
    checked_counts,
    checked_decays,
    log_root,
    no_closed_form,
    reasons_of,
)
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
    counts = checked_counts(counts)
    n_layers = _checks.integer("n_layers", n_layers, at_least=1)
    decays = checked_decays(weight_decay, n_layers)
    feature_decay = _checks.real("feature_decay", feature_decay, above=0)
    _checks.one_of("bias", bias, (False, True))
    if width is not None:
        width = _checks.integer("width", width, at_least=1, remedy="pass None for any that is large enough")
    problem = Problem(counts, n_layers, decays, feature_decay, bias, width)
    because = no_closed_form(problem)
    return _undefined(problem, because) if because is not None else _defined(problem)


def _defined(problem: Problem) -> DeepLinearCollapse:
    reasons, M = reasons_of(problem), problem.n_layers
    roots = [-math.inf if k in reasons else log_root(b, M) for k, b in enumerate(problem.log_beta)]
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


def _undefined(problem: Problem, because: str) -> DeepLinearCollapse:
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


def _frame(C: int, bias: bool) -> Float[Tensor, "c c"]:
    return torch.eye(C, dtype=torch.float64) - (1 / C if bias else 0.0)


def _lengths(gram: Float[Tensor, "c c"], bias: bool) -> Float[Tensor, " c"]:
    """The factors of the frame in a Gram matrix that is a multiple of it row by row, as lengths."""
    C = len(gram)
    share = 1 - 1 / C if bias and C > 1 else 1.0
    return (gram.diagonal() / share).sqrt()
