"""Every collapse measure by name: its label, what it needs, which way collapse lies, where it comes from."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

from agop._checks import bad_type, bad_value, one_of
from agop.collapse.classifier import nc3, nc4
from agop.collapse.geometry import equiangularity, equinorm, nc2, simplex_angle
from agop.collapse.moments import ClassMoments
from agop.collapse.novelty import nc5
from agop.collapse.rank import effective_rank, means_effective_rank
from agop.collapse.span import SpanScatter
from agop.collapse.variability import cdnv, nc1, trace_between_share, trace_within_share
from agop.measurement import Measurement

Direction = Literal["lower", "higher", "to 1"]

INPUTS = ("moments", "scatter", "features", "labels", "weight", "bias", "logits", "ood")
"""What a measure may need: ``scatter`` is moments with ``scatter="full"``, ``ood`` the mean of other data."""


@dataclass(frozen=True)
class Measure:
    """One registry line; calling it measures.

    Attributes
    ----------
    name, label
        Key of the registry, and what a table or an axis shows.
    function
        ``function(moments, **inputs) -> Measurement``.
    needs
        Subset of `INPUTS`; those beyond ``moments`` and ``scatter`` are keyword arguments.
    direction
        Where collapse lies: ``"lower"`` values, ``"higher"`` values, or towards the end ``"to 1"`` of [0, 1].
    range, formula, source
        For people: the interval, the definition with its reduction, paper and equation.
    weighted
        Whether it takes ``weighting=``.

    """

    name: str
    label: str
    function: Callable[..., Measurement]
    needs: frozenset[str]
    direction: Direction
    range: str
    formula: str
    source: str
    weighted: bool = True

    def __call__(self, moments: ClassMoments, **inputs: Any) -> Measurement:
        """Measure; inputs the measure does not need are ignored, a missing one is an error."""
        wanted = self.needs - {"moments", "scatter"}
        missing = sorted(name for name in wanted if inputs.get(name) is None)
        if missing:
            raise bad_value(
                self.name, "the inputs " + ", ".join(sorted(wanted)), f"no {', '.join(missing)}", "pass them"
            )
        allowed = wanted | ({"weighting"} if self.weighted else set())
        result = self.function(moments, **{key: inputs[key] for key in allowed if key in inputs})
        result.name = self.name
        return result


def _pinv(m: ClassMoments, features: Any, labels: Any, **options: Any) -> Measurement:
    return nc1(m, "pinv", span=SpanScatter.of(m, features, labels, **options), **options)


def _nc4(m: ClassMoments, features: Any, logits: Any) -> Measurement:
    return nc4(features, logits, m)


def _nc5(m: ClassMoments, ood: Any, **options: Any) -> Measurement:
    return nc5(m, ood, **options)


_PAPYAN = "Papyan, Han, Donoho 2020 (arXiv 2008.08186)"
_BEAGLEHOLE = "Beaglehole et al. 2024 (arXiv 2402.13728)"
_ZHU = "Zhu et al. 2021 (arXiv 2105.02375)"
_ROY = "Roy, Vetterli 2007, Definition 1"
_M = frozenset({"moments"})


def _line(name: str, label: str, function: Callable[..., Measurement], *rest: Any, **more: Any) -> Measure:
    return Measure(name, label, function, *rest, **more)


_LINES = (
    _line(
        "nc1", "NC1 tr Σ_W / tr Σ_B", nc1, _M, "lower", "[0, ∞)", "tr Σ_W / tr Σ_B", f"{_BEAGLEHOLE}, DNC1"
    ),
    _line(
        "nc1_released",
        "NC1 / C",
        lambda m, **o: nc1(m, "trace-released", **o),
        _M,
        "lower",
        "[0, ∞)",
        "tr Σ_W / (C tr Σ_B)",
        f"{_BEAGLEHOLE}, released scripts",
    ),
    _line(
        "nc1_pinv",
        "NC1 tr(Σ_W Σ_B⁺)/C",
        _pinv,
        _M | {"features", "labels"},
        "lower",
        "[0, ∞)",
        "tr(Σ_W Σ_B⁺) / C",
        f"{_PAPYAN}, Figure 6",
    ),
    _line(
        "cdnv",
        "CDNV",
        cdnv,
        _M,
        "lower",
        "[0, ∞)",
        "mean over c ≠ c' of (V_c + V_c') / (2 ‖μ_c − μ_c'‖²)",
        "Galanti, György, Hutter 2021 (arXiv 2112.15121), Section 3",
        weighted=False,
    ),
    _line(
        "trace_within_share",
        "tr Σ_W / tr Σ_T",
        trace_within_share,
        _M,
        "lower",
        "[0, 1]",
        "tr Σ_W / tr Σ_T",
        f"{_BEAGLEHOLE}, Section 5",
        weighted=False,
    ),
    _line(
        "trace_between_share",
        "tr Σ_B / tr Σ_T",
        trace_between_share,
        _M,
        "to 1",
        "[0, 1]",
        "tr Σ_B / tr Σ_T",
        f"{_BEAGLEHOLE}, Section 5",
        weighted=False,
    ),
    _line(
        "nc2",
        "NC2 to simplex ETF",
        nc2,
        _M,
        "lower",
        "[0, 4]",
        "mean over c, c' of (cos(μ_c − μ, μ_c' − μ) − E_cc')²",
        f"{_BEAGLEHOLE}, DNC2",
    ),
    _line(
        "nc2_orthogonal",
        "NC2 to orthogonal frame",
        lambda m, **o: nc2(m, "orthogonal", **o),
        _M,
        "lower",
        "[0, 1]",
        "mean over c, c' of (cos(μ_c, μ_c') − δ_cc')²",
        f"{_BEAGLEHOLE}, DNC2",
    ),
    _line(
        "nc2_frobenius",
        "NC2 Frobenius",
        lambda m, **o: nc2(m, "etf", definition="frobenius", **o),
        _M,
        "lower",
        "[0, 2]",
        "‖G/‖G‖_F − E/‖E‖_F‖_F, G the Gram matrix of μ_c − μ",
        _ZHU,
    ),
    _line(
        "equinorm",
        "equinorm",
        equinorm,
        _M,
        "lower",
        "[0, √(C−1)]",
        "std_c ‖μ_c − μ‖ / mean_c ‖μ_c − μ‖",
        f"{_PAPYAN}, Figure 2",
    ),
    _line(
        "equiangularity",
        "equiangularity",
        equiangularity,
        _M,
        "lower",
        "[0, 1]",
        "std over c ≠ c' of cos(μ_c − μ, μ_c' − μ)",
        f"{_PAPYAN}, Figure 3",
    ),
    _line(
        "simplex_angle",
        "simplex angle",
        simplex_angle,
        _M,
        "lower",
        "[0, 1 + 1/(C−1)]",
        "mean over c ≠ c' of |cos(μ_c − μ, μ_c' − μ) + 1/(C−1)|",
        f"{_PAPYAN}, Figure 4",
    ),
    _line(
        "nc3",
        "NC3 self-duality",
        nc3,
        _M | {"weight"},
        "lower",
        "[0, 4]",
        "‖W/‖W‖_F − M/‖M‖_F‖_F²",
        f"{_PAPYAN}, Figure 5",
    ),
    _line(
        "nc3_cosine",
        "NC3 cosine",
        lambda m, weight, **o: nc3(m, weight, "cosine", **o),
        _M | {"weight"},
        "lower",
        "[0, 2]",
        "1 − mean_c cos(w_c, μ_c − μ)",
        f"{_PAPYAN}, Figure 5, per class",
    ),
    _line(
        "nc3_product",
        "NC3 product",
        lambda m, weight, **o: nc3(m, weight, "product", **o),
        _M | {"weight"},
        "lower",
        "[0, 2]",
        "‖WMᵀ/‖WMᵀ‖_F − (I − 11ᵀ/C)/√(C−1)‖_F",
        f"{_ZHU}, Section 5",
    ),
    _line(
        "nc4",
        "NC4 nearest-centre agreement",
        _nc4,
        _M | {"features", "logits"},
        "to 1",
        "[0, 1]",
        "share of i with argmax_c logits_ic = argmin_c ‖h_i − μ_c‖",
        f"{_PAPYAN}, Figure 7 (1 − theirs)",
        weighted=False,
    ),
    _line(
        "nc5",
        "NC5 orthogonality to other data",
        _nc5,
        _M | {"ood"},
        "lower",
        "[0, 1]",
        "mean_c |cos(μ_c, μ_ood)|",
        "Ammar et al. 2024 (arXiv 2310.06823), NC5",
    ),
    _line(
        "effective_rank",
        "effective rank of features",
        effective_rank,
        _M | {"scatter"},
        "lower",
        "[1, d]",
        "exp(−Σ p_k ln p_k), p_k = σ_k / Σ σ of the centred features",
        _ROY,
        weighted=False,
    ),
    _line(
        "means_effective_rank",
        "effective rank of means",
        means_effective_rank,
        _M,
        "higher",
        "[1, C−1]",
        "the same with the singular values of the rows μ_c − μ",
        _ROY,
        weighted=False,
    ),
)

MEASURES: dict[str, Measure] = {measure.name: measure for measure in _LINES}
"""All measures by name, in the order in which tables show them."""


def measures_for(available: Iterable[str]) -> list[Measure]:
    """The measures whose needs are all among `available` (a subset of `INPUTS`), in registry order."""
    if isinstance(available, str) or not isinstance(available, Iterable):
        raise bad_type("available", "names of inputs", repr(available))
    given = {one_of("available", name, INPUTS) for name in available}
    return [measure for measure in MEASURES.values() if measure.needs <= given]
