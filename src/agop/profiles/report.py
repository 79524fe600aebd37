"""All measures of one layer at once: a table with definitions, caveats, and reasons for what is undefined."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import torch
from jaxtyping import Float, Integer
from torch import Tensor, nn

from agop._checks import bad_type, bad_value, floating, one_of
from agop._plotting import keeping_text, size, styled
from agop._tables import UNDEFINED, Cell, shades, table
from agop.collapse._undefined import listed
from agop.collapse.classifier import decisions
from agop.collapse.moments import ClassMoments, Weighting
from agop.evidence import Evidence, Need
from agop.measurement import Measurement
from agop.probe import Probe
from agop.probes import DEFAULTS, PROBES

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


@dataclass(frozen=True, eq=False)
class CollapseReport:
    """Collapse measures of one set of features; ``report["nc1"]`` is a `Measurement`, ``print(report)`` a
    table.

    Attributes
    ----------
    measurements
        By registry name, in registry order.
    moments
        The class moments they came from.
    notes
        What a reader must know: classes left out, classes of one sample, more classes than an ETF fits.
    probes
        What measured them, in the same order.
    goals
        Where collapse lies on these samples, by name: "lower", "higher", a number, or nowhere.

    """

    measurements: dict[str, Measurement]
    moments: ClassMoments
    notes: tuple[str, ...] = ()
    probes: tuple[Probe, ...] = ()
    goals: Mapping[str, str | float | None] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Measurement:
        if name not in self.measurements:
            raise KeyError(f"{name!r} was not measured; there are {', '.join(self.measurements)}")
        return self.measurements[name]

    @property
    def _head(self) -> str:
        m = self.moments
        return f"Neural collapse of {m.n} samples, {len(m.present)} of {m.n_classes} classes, {m.d} features"

    def _repr_html_(self) -> str:
        """A table in a notebook: the deeper the ground, the farther from collapse on a logarithmic scale, where collapse is 0 or 1."""
        pairs = list(zip(self.probes, self.measurements.values(), strict=True))
        distances = [
            float(value)
            if probe.towards == "lower"
            else 1 - float(value)
            if probe.towards == 1.0
            else float("nan")
            for probe, value in pairs
        ]
        rows: list[list[Cell | str]] = [
            [
                probe.name,
                Cell(f"{float(value):.4g}", shade=shade)
                if value.defined
                else Cell(UNDEFINED, value.undefined_because or ""),
                self._goal(probe),
                probe.formula,
            ]
            for (probe, value), shade in zip(pairs, shades(distances, log=True), strict=True)
        ]
        return table(self._head, ["measure", "value", "collapse", "formula"], rows, self.notes)

    def __str__(self) -> str:
        head = self._head
        rows = [("measure", "value", "collapse", "formula")]
        for probe, value in zip(self.probes, self.measurements.values(), strict=True):
            number = f"{float(value):.4g}" if value.defined else "undefined"
            rows.append((probe.name, number, self._goal(probe), probe.formula))
        width = [max(len(row[i]) for row in rows) for i in range(3)]
        lines = [f"{a:<{width[0]}}  {b:>{width[1]}}  {c:<{width[2]}}  {d}" for a, b, c, d in rows]
        lines.insert(1, "-" * max(len(line) for line in lines))
        why = [f"{name}: {v.undefined_because}" for name, v in self.measurements.items() if not v.defined]
        return "\n".join([head, "", *lines, *([""] if why or self.notes else []), *why, *self.notes])

    def _goal(self, probe: Probe) -> str:
        """Where collapse lies, in a table."""
        if probe.name == "effective_rank" or probe.towards == "higher":
            return "→ C−1"
        goal = self.goals.get(probe.name)
        return "→ 0" if goal == "lower" else "" if goal is None else f"→ {goal:.4g}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; an undefined measure has value None and a reason."""
        return {
            "samples": self.moments.n,
            "features": self.moments.d,
            "classes": len(self.moments.present),
            "notes": list(self.notes),
            "measures": {
                name: {
                    "value": float(value) if value.defined else None,
                    "definition": value.definition,
                    "undefined_because": value.undefined_because,
                    "details": value.details,
                }
                for name, value in self.measurements.items()
            },
        }

    def to_frame(self) -> pd.DataFrame:
        """One row per measure: value, definition, direction, formula, source, undefined_because."""
        import pandas as pd

        rows = [
            {
                "measure": name,
                "value": float(value),
                "definition": value.definition,
                "direction": "to 1" if probe.towards == 1.0 else probe.towards,
                "formula": probe.formula,
                "source": probe.source,
                "undefined_because": value.undefined_because,
            }
            for probe, (name, value) in zip(self.probes, self.measurements.items(), strict=True)
        ]
        return pd.DataFrame(rows).set_index("measure")

    def plot(self, ax: Axes | None = None, *, style: str = "screen") -> Axes:
        """Distance to collapse on a log axis, a line per measure: its value, or 1 − it if collapse is 1; `style="paper"` for a column."""
        shown = [
            (probe, 1 - float(value) if probe.towards == 1.0 else float(value))
            for probe, value in zip(self.probes, self.measurements.values(), strict=True)
            if value.defined and probe.towards in ("lower", 1.0) and probe.name != "effective_rank"
        ]
        with styled(style):
            return _plot_distances(shown, ax, style)


def _plot_distances(shown: Sequence[tuple[Probe, float]], ax: Axes | None, style: str) -> Axes:
    import matplotlib.pyplot as plt

    if ax is None:
        figure, ax = plt.subplots(figsize=size(style, 0.36 * len(shown) + 1.2), layout="constrained")
        keeping_text(figure)
    positive = [value for _, value in shown if value > 0]
    left = min(positive, default=1.0) / 3
    labels = [probe.label if probe.towards == "lower" else f"1 − {probe.label}" for probe, _ in shown]
    places = range(len(shown))
    values = [max(value, left) for _, value in shown]
    ax.hlines(places, left, values, color="0.75", linewidth=1.5)
    ax.plot(values, places, "o", color="#0067a5", clip_on=False)
    for place, (_, value) in zip(places, shown, strict=True):
        ax.annotate(
            f"{value:.2g}",
            (max(value, left), place),
            xytext=(7, 0),
            textcoords="offset points",
            va="center",
            fontsize="small",
        )
    ax.set(xscale="log", yticks=list(places), yticklabels=labels, xlabel="distance to collapse")
    ax.set_xlim(left, max(values, default=1.0) * 6)
    ax.set_ylim(len(shown) - 0.5, -0.5)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def _of_features(function: Callable[..., CollapseReport]) -> Callable[..., CollapseReport]:
    """Say what to call where a model is given for its features."""

    @functools.wraps(function)
    def wrapper(*given: Any, **named: Any) -> CollapseReport:
        first = given[0] if given else named.get("features")
        if isinstance(first, nn.Module):
            remedy = "write agop.profile(model, X, y), or pass what one layer makes of the samples"
            raise bad_type(
                "features", "a floating-point tensor with 2 axes", f"a model ({type(first).__name__})", remedy
            )
        if len(given) > 2:
            got = f"{len(given)} arguments by position"
            raise bad_type(
                "features", "features and labels, all else by name", got, "write weight=…, logits=…"
            )
        return function(*given, **named)

    return wrapper


@_of_features
def collapse_report(
    features: Float[Tensor, "n d"],
    labels: Integer[Tensor, " n"],
    *,
    weight: Float[Tensor, "c d"] | None = None,
    bias: Float[Tensor, " c"] | None = None,
    logits: Float[Tensor, "n c"] | None = None,
    ood: Float[Tensor, "_ d"] | Float[Tensor, " d"] | None = None,
    n_classes: int | None = None,
    weighting: Weighting = "class",
    scatter: Literal["trace", "full"] = "trace",
    measures: Sequence[str | Probe] | None = None,
) -> CollapseReport:
    """Every collapse measure that these inputs allow, with definitions, caveats and reasons.

    Parameters
    ----------
    features : (n, d), labels : (n,)
        As for `ClassMoments.of`.
    weight : (C, d), bias : (C,)
        Of the linear classifier that reads `features`: for NC3, and, as `features @ weightᵀ + bias`, for NC4.
    logits : (n, C)
        Instead of those computed from weight and bias, for NC4.
    ood : (m, d) or (d,)
        Features of data from none of the classes, or their mean, for NC5.
    n_classes
        C; from the weight, the logits or the largest label if None.
    scatter
        ``"full"`` also gives the effective rank of the features (n d² operations, a (d, d) matrix).
    measures
        Names of `agop.PROBES` and probes of one's own; None: all measures of neural collapse that the inputs allow.

    Raises
    ------
    ValueError, TypeError
        For inputs that do not fit together, or a measure whose inputs are missing.

    """
    for name, value, axes in (("weight", weight, 2), ("bias", bias, 1), ("logits", logits, 2)):
        if value is not None:
            floating(name, value, ndim=axes, finite=name != "logits")
    if n_classes is None:
        n_classes = len(weight) if weight is not None else logits.shape[1] if logits is not None else None
    if bias is not None and weight is None:
        raise bad_value("bias", "a weight to go with it", "a bias alone", "pass weight= too")
    moments = ClassMoments.of(features, labels, n_classes, scatter=scatter)
    evidence = _evidence(moments, features, labels, weight, bias, logits, _mean_of(ood, moments), scatter)
    probes = [_weighted(probe, weighting) for probe in _possible(evidence, measures)]
    results, goals = {}, {}
    for probe in probes:
        if any(need.kind == "decisions" for need in probe.needed):
            # block by block, the logits are never kept
            chosen = logits.argmax(1) if logits is not None else decisions(features, weight, bias)  # type: ignore[arg-type]
            evidence = replace(evidence, given={**evidence.given, Need("decisions"): chosen})
        results[probe.name], goals[probe.name] = probe(evidence), probe.goal(evidence)
    return CollapseReport(results, moments, _notes(moments), tuple(probes), goals)


def _evidence(
    moments: ClassMoments,
    features: Tensor,
    labels: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    logits: Tensor | None,
    ood: Tensor | None,
    scatter: str,
) -> Evidence:
    """What was passed, as evidence of one stage; decisions are computed later, block by block, if a probe needs them."""
    classifier = weight is not None or logits is not None
    return Evidence.of(
        moments=moments,
        scatter=moments if scatter == "full" else None,
        rows=features,
        labels=labels,
        weight=weight,
        bias=bias,
        logits=logits,
        ood=ood,
        decisions=labels.new_zeros(0) if classifier else None,
    )


def _possible(evidence: Evidence, measures: Any) -> list[Probe]:
    """The probes that were asked for, or all of neural collapse that the evidence allows."""
    if measures is None:
        named = [PROBES[name] for name in DEFAULTS["features"]]
        return [probe for probe in named if not _lacking(probe, evidence)]
    if isinstance(measures, str) or not isinstance(measures, Sequence):
        raise bad_type("measures", "a list of names and probes", repr(measures))
    stages = [name for name, probe in PROBES.items() if probe.level == "stage"]
    probes = [m if isinstance(m, Probe) else PROBES[one_of("measures", m, stages)] for m in measures]
    for probe in probes:
        lacking = _lacking(probe, evidence)
        if lacking:
            got = f"{probe.name!r} without {', '.join(lacking)}"
            raise bad_value("measures", "measures that the inputs allow", got, "pass that too")
    order = list(PROBES)
    return sorted(probes, key=lambda p: order.index(p.name) if p.name in order else len(order))


def _lacking(probe: Probe, evidence: Evidence) -> list[str]:
    names = {"decisions": "logits or weight"}
    return sorted(names.get(n.kind, n.kind) for n in probe.needed if not evidence.has(n))


def _weighted(probe: Probe, weighting: Weighting) -> Probe:
    return probe.with_(weighting=weighting) if "weighting" in probe.options else probe


def _mean_of(ood: Tensor | None, moments: ClassMoments) -> Tensor | None:
    if ood is None:
        return None
    if floating("ood", ood).ndim == 1:
        return ood
    floating("ood", ood, ndim=2)
    same = torch.zeros(len(ood), dtype=torch.int64, device=ood.device)
    if len(ood) == 0:
        raise bad_value("ood", "at least one row, or a mean", "none", "leave it out")
    return ClassMoments.of(ood, same, 1).means[0]


def _notes(m: ClassMoments) -> tuple[str, ...]:
    notes = []
    if len(m.absent):
        notes.append(f"Left out, no samples: class {listed(m.absent)}.")
    single = (m.counts == 1).nonzero().squeeze(1)
    if len(single):
        notes.append(f"One sample only, so no spread within: class {listed(single)}.")
    if len(m.present) - 1 > m.d:
        notes.append(
            f"A simplex of {len(m.present)} classes does not fit into {m.d} dimensions: NC2 cannot reach 0."
        )
    return tuple(notes)
