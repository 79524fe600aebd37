"""Redundant representations: how few of a layer's units do what all of them do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float, Int, Integer
from torch import Tensor

from agop import _checks
from agop.collapse.moments import check_labels
from agop.measurement import Measurement
from agop.probe import Curve
from agop.probes import chunks

RedundancyDefinition = Literal["scaled", "released"]
CURVES = ("accuracy", "r2", "residual_correlation")
"""What is measured at every width."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Redundancy:
    """What chunks of a layer's units do, by their width; made by `redundancy`.

    Attributes
    ----------
    widths
        Units of a chunk, ascending: k of them.
    accuracy, r2, residual_correlation : (k, r)
        Of each of the r draws; see `redundancy`.
    full_accuracy
        Of all units.
    live
        Units that vary over the samples, the only ones that are drawn.
    dead
        The others' columns.
    samples
        Those that a regression was fitted on.
    class_means, held_out, definition
        As `redundancy` was asked.
    groups
        Means that were removed: 1, or the number of classes.
    undefined_because
        Why R² and the residual correlation have no values (all NaN); None if they have.
    """

    widths: tuple[int, ...]
    accuracy: Float[Tensor, "k r"]
    r2: Float[Tensor, "k r"]
    residual_correlation: Float[Tensor, "k r"]
    full_accuracy: float
    live: int
    dead: tuple[int, ...]
    samples: int
    class_means: str
    held_out: bool
    definition: str
    groups: int = 1
    undefined_because: str | None = None

    def curve(self, of: str) -> Curve:
        """Mean by width of one of `CURVES`, with the standard deviation over draws (NaN for a single draw)."""
        values = getattr(self, _checks.one_of("of", of, CURVES))
        spread = values.std(1) if values.shape[1] > 1 else torch.full_like(values[:, 0], torch.nan)
        return Curve(self.widths, values.mean(1).tolist(), spread.tolist())

    def critical_width(self, threshold: float | int = 0.95) -> Measurement:
        """The least of the measured widths whose mean R² reaches `threshold`.

        At R² = 0.95 a twentieth of the variance is left: below, units of the rest carry something of their own. It is undefined where no
        width reaches the threshold, and where the width that does is so large that in these few samples a chunk of *any* features would.

        Examples
        --------
        >>> Z = torch.randn(100, 3, generator=torch.Generator().manual_seed(0)).repeat(1, 4)
        >>> redundancy(Z, torch.eye(12)[:2], None, torch.arange(100) % 2, [1, 6, 12]).critical_width()
        critical_width[R² >= 0.95] = 6
        """
        threshold = _checks.real("threshold", threshold, above=0, at_most=1)
        details = {
            "threshold": threshold,
            "widths": list(self.widths),
            "live": self.live,
            "dead": len(self.dead),
        }
        removed = ", class means removed" if self.class_means == "remove" else ""
        definition = f"R² >= {threshold:g}{removed}"
        reason = self.undefined_because
        width = None if reason else _first(self.widths, self.curve("r2").value, threshold)
        if reason is None and width is None:
            reason = f"no measured width reaches R² = {threshold:g}"
        elif width is not None and width < self.live and self._explains_anything(width):
            reason = f"{width} units explain {self.samples} samples whatever they are; take more samples, or held_out=True"
        if reason is not None or width is None:
            return Measurement.undefined("critical_width", definition, reason or "", details)
        return Measurement(width, "critical_width", definition, details=details)

    def accuracy_width(self, share: float | int = 0.95) -> Measurement:
        """The least of the measured widths whose mean chunk accuracy reaches this share of the full accuracy.

        Where the curve has bent: what a wider chunk could still gain is a twentieth of what there is. Undefined where no width reaches it.
        """
        share = _checks.real("share", share, above=0, at_most=1)
        definition = f"accuracy >= {share:g} of the full one"
        details = {"share": share, "full_accuracy": self.full_accuracy, "widths": list(self.widths)}
        width = _first(self.widths, self.curve("accuracy").value, share * self.full_accuracy)
        if width is None or self.full_accuracy == 0:
            reason = f"no measured width reaches {share:g} of the full accuracy, {self.full_accuracy:.3g}"
            return Measurement.undefined("accuracy_width", definition, reason, details)
        return Measurement(width, "accuracy_width", definition, details=details)

    def _explains_anything(self, width: int) -> bool:
        return not self.held_out and width >= self.samples - self.groups

    def to_frame(self) -> Any:
        """A pandas table with one row a width: mean and spread of each of `CURVES`, and the number of draws."""
        import pandas as pd

        columns: dict[str, Sequence[float]] = {"width": self.widths}
        for name in CURVES:
            curve = self.curve(name)
            columns |= {name: curve.value, f"{name}_spread": curve.spread or ()}
        return pd.DataFrame(columns).assign(draws=self.accuracy.shape[1])


def _first(widths: Sequence[int], values: Sequence[float], threshold: float) -> int | None:
    return next((width for width, value in zip(widths, values) if value >= threshold), None)


@torch.no_grad()
def redundancy(
    Z: Float[Tensor, "n d"],
    weight: Float[Tensor, "c _"],
    bias: Float[Tensor, " _"] | None,
    y: Integer[Tensor, " _"],
    widths: Iterable[int] | None = None,
    draws: int = 40,
    random_state: int | torch.Generator = 0,
    *,
    class_means: Literal["keep", "remove"] = "keep",
    held_out: bool = False,
    definition: RedundancyDefinition = "scaled",
) -> Redundancy:
    r"""How much of a layer is in random chunks of its units, by the width w of the chunk.

    For a random subset S of w units, drawn without replacement,

    - **accuracy**: share of samples with :math:`\arg\max_c \bigl(\sum_{j \in S} V_{cj} F_{ij} + b_c\bigr) = y_i`: the classifier is not
      fitted again and its bias stays. It always reads the features as they are.
    - **r2**: :math:`1 - \sum_j \mathrm{Var}(E_j) / \sum_j \mathrm{Var}(F_j)` over all units j, those of S included, where
      :math:`E = F - \hat F` is what a ridge regression (1e-8, with intercept) on the chunk leaves over. Independent units of equal variance
      give :math:`w/W` in the limit of many samples; clones give 1 from one of each.
    - **residual_correlation**: mean of :math:`|\mathrm{Cov}(E_j, E_k)| / (\sigma(E_j)\sigma(E_k) + 10^{-8})` over pairs of units. NaN where
      fewer than two are left.

    All of it is computed in float64 on the CPU.

    Units that do not vary (dead ReLUs) are left out of draws, R² and correlations, and listed in `dead`; a constant that such a unit adds
    to the logits is kept, as the bias is.

    Parameters
    ----------
    Z : (n, d)
        What the classifier reads: F.
    weight, bias : (C, d), (C,)
        Of the classifier, V and b; a bias of None is zero.
    y : (n,)
        Classes 0..C−1.
    widths
        Of chunks; default: all live units, a half of them, a quarter, … down to 1.
    draws
        Chunks at each width; there is only one of all units.
    random_state
        A seed or a CPU generator. The draws at a width depend on it and on the width only.
    class_means
        "keep", or "remove": regress deviations from class means. At neural collapse the means span fewer than C dimensions, and a chunk
        that explains them shows collapse, not clones.
    held_out
        False: R² and correlations on the samples that the regression was fitted on (the paper), where w units explain at least about w/n of
        anything. True: fitted, class means too, on a random half of each class and judged on the other.
    definition
        "scaled": ridge and floor 1e-8 in units of the mean variance of a unit, so that a factor on all features changes nothing, and
        correlations of units outside the chunk. "released": as the authors' scripts: both as they stand, and pairs with units of the chunk,
        whose residuals are zero by construction, count too.

    Returns
    -------
    Redundancy
        With `to_frame()`, `curve(…)`, `critical_width()` and `accuracy_width()`.

    Raises
    ------
    ValueError, TypeError
        For shapes that do not fit, NaN, classes out of range, widths outside 1..live units, and where no unit varies.

    Notes
    -----
    Doimo, Glielmo, Goldt and Laio 2022 (NeurIPS; arXiv 2106.03485), there for the last hidden layer on test data. Removing class means and
    the "scaled" definition are not theirs.

    Examples
    --------
    Eight units, four of which repeat the others:

    >>> Z = torch.randn(200, 4, generator=torch.Generator().manual_seed(0)).repeat(1, 2)
    >>> found = redundancy(Z, torch.eye(8)[:3], None, Z[:, :3].argmax(1), widths=[2, 4, 8])
    >>> found.to_frame()[["width", "r2"]].round(2)
       width    r2
    0      2  0.48
    1      4  0.79
    2      8  1.00
    """
    _checks.one_of("class_means", class_means, ("keep", "remove"))
    _checks.one_of("held_out", held_out, (False, True))
    _checks.one_of("definition", definition, ("scaled", "released"))
    draws = _checks.integer("draws", draws, at_least=1)
    seed = _seed(random_state)
    Z, weight, bias, y = _checked(Z, weight, bias, y)
    live = (Z[0] != Z).any(0)
    readout = _readout(Z, weight, bias, y, live)
    sizes = _widths(widths, int(live.sum()))
    plan = _Plan(sizes, draws, seed)
    judge = _judge(Z[:, live], y, class_means, held_out, definition, seed)
    accuracy, r2, correlation = plan.run(readout, judge)
    return Redundancy(
        widths=sizes,
        accuracy=accuracy,
        r2=r2,
        residual_correlation=correlation,
        full_accuracy=readout.accuracy(torch.arange(len(readout.columns))),
        live=int(live.sum()),
        dead=tuple((~live).nonzero().squeeze(1).tolist()),
        samples=judge.samples,
        class_means=class_means,
        held_out=held_out,
        definition=definition,
        groups=judge.groups,
        undefined_because=judge.undefined_because,
    )


@dataclass(frozen=True, eq=False)
class _Judge:
    """What chunks leave over, or why that is undefined."""

    regressions: chunks.Regressions | None
    released: bool
    samples: int
    groups: int
    undefined_because: str | None = None

    def __call__(self, chosen: Int[Tensor, " w"]) -> tuple[float, float]:
        """R² and residual correlation of a chunk."""
        if self.regressions is None:
            return float("nan"), float("nan")
        units = len(self.regressions.fit)
        left, mean = self.regressions.left_over(chosen, chunks.RIDGE)
        among = torch.arange(units) if self.released else chunks.others(units, chosen)
        return self.regressions.r2(left, mean), chunks.mean_correlation(left, among, chunks.FLOOR)


@dataclass(frozen=True)
class _Plan:
    widths: tuple[int, ...]
    draws: int
    seed: int

    def run(self, readout: chunks.Readout, judge: _Judge) -> tuple[Tensor, ...]:
        """Accuracy, R² and correlation (k, r) of every draw."""
        units = len(readout.columns)
        found = []
        for width in self.widths:
            subsets = chunks.drawn(units, width, 1 if width == units else self.draws, self.seed)
            values = [(readout.accuracy(chosen), *judge(chosen)) for chosen in subsets]
            found.append(torch.tensor(values, dtype=torch.float64).expand(self.draws, 3))
        return torch.stack(found).unbind(2)


def _judge(
    Z: Float[Tensor, "n u"],
    y: Int[Tensor, " n"],
    class_means: str,
    held_out: bool,
    definition: str,
    seed: int,
) -> _Judge:
    groups = torch.unique(y, return_inverse=True)[1] if class_means == "remove" else torch.zeros_like(y)
    fit, score = chunks.halves(groups, seed) if held_out else (torch.arange(len(Z)),) * 2
    about = len(fit), int(groups.max()) + 1
    released = definition == "released"
    rows = chunks.centred(Z, groups, fit)
    if not (len(score) and chunks.varies(rows[fit], Z) and chunks.varies(rows[score], Z)):
        where = "within classes " if class_means == "remove" else ""
        return _Judge(None, released, *about, f"the features do not vary {where}in these samples")
    if not released:
        rows = rows / rows.abs().max()
        rows = rows / rows[fit].square().mean().sqrt()
    return _Judge(chunks.Regressions.of(rows, fit, score), released, *about)


def _readout(
    Z: Float[Tensor, "n d"],
    weight: Float[Tensor, "c d"],
    bias: Float[Tensor, " c"],
    y: Int[Tensor, " n"],
    live: Tensor,
) -> chunks.Readout:
    if not bool(live.any()):
        raise _checks.bad_value("Z", "at least one unit that varies over the samples", f"{len(Z)} equal rows")
    largest = weight.abs() @ Z.abs().amax(0) + bias.abs()
    if not bool(torch.isfinite(largest).all()):
        raise _checks.bad_value("weight", "logits in the range of float64", "an overflow", "rescale it, or Z")
    offset = bias + weight[:, ~live] @ Z[0, ~live]
    return chunks.Readout(Z[:, live].mT.contiguous(), weight[:, live].contiguous(), offset, y)


def _checked(Z: Any, weight: Any, bias: Any, y: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The arguments in float64 on the CPU."""
    _checks.floating("Z", Z, ndim=2)
    _checks.floating("weight", weight, ndim=2)
    if weight.shape[1] != Z.shape[1] or len(weight) < 2:
        expected = f"shape (C, {Z.shape[1]}) with two classes or more"
        raise _checks.bad_value("weight", expected, f"{tuple(weight.shape)}", "one row a class, as in Linear")
    if bias is not None and tuple(_checks.floating("bias", bias, ndim=1).shape) != (len(weight),):
        raise _checks.bad_value(
            "bias", f"shape ({len(weight)},)", f"{tuple(bias.shape)}", "one entry a class"
        )
    check_labels(y, len(weight), "y")
    if len(Z) < 2:
        raise _checks.bad_value("Z", "at least two samples", str(len(Z)))
    _checks.same_length("Z", len(Z), "y", len(y))
    bias = torch.zeros(len(weight)) if bias is None else bias
    rows, weight, bias = (part.detach().cpu().double() for part in (Z, weight, bias))
    return rows, weight, bias, y.cpu().long()


def _widths(widths: Iterable[int] | None, live: int) -> tuple[int, ...]:
    if widths is None:
        return tuple(live >> power for power in reversed(range(live.bit_length())))
    if isinstance(widths, str | bytes) or not isinstance(widths, Iterable):
        raise _checks.bad_type("widths", "numbers of units", repr(widths))
    sizes = tuple(sorted({_checks.integer("widths", width, at_least=1) for width in widths}))
    if not sizes or sizes[-1] > live:
        got = f"{sizes[-1]}" if sizes else "none"
        raise _checks.bad_value("widths", f"numbers from 1 to {live}, the units that vary", got)
    return sizes


def _seed(random_state: Any) -> int:
    if isinstance(random_state, torch.Generator):
        return int(torch.randint(2**31 - 1, (), generator=random_state, device=random_state.device))
    return _checks.integer("random_state", random_state, at_least=0)
