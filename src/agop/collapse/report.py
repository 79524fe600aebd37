"""All measures of one layer at once: a table with definitions, caveats, and reasons for what is undefined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from jaxtyping import Float, Integer
from torch import Tensor

from agop._checks import bad_type, bad_value, floating, one_of
from agop.collapse._undefined import listed
from agop.collapse.classifier import decisions, nearest_centre_agreement
from agop.collapse.moments import ClassMoments, Weighting
from agop.collapse.registry import MEASURES, Measure, measures_for
from agop.measurement import Measurement

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

    """

    measurements: dict[str, Measurement]
    moments: ClassMoments
    notes: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> Measurement:
        if name not in self.measurements:
            raise KeyError(f"{name!r} was not measured; there are {', '.join(self.measurements)}")
        return self.measurements[name]

    def __str__(self) -> str:
        m = self.moments
        head = f"Neural collapse of {m.n} samples, {len(m.present)} of {m.n_classes} classes, {m.d} features"
        rows = [("measure", "value", "collapse", "formula")]
        for name, value in self.measurements.items():
            measure = MEASURES[name]
            goal = {"lower": "→ 0", "higher": "→ C−1", "to 1": "→ 1"}[measure.direction]
            goal = "→ C−1" if name == "effective_rank" else goal
            rows.append(
                (name, f"{float(value):.4g}" if value.defined else "undefined", goal, measure.formula)
            )
        width = [max(len(row[i]) for row in rows) for i in range(3)]
        lines = [f"{a:<{width[0]}}  {b:>{width[1]}}  {c:<{width[2]}}  {d}" for a, b, c, d in rows]
        lines.insert(1, "-" * max(len(line) for line in lines))
        why = [f"{name}: {v.undefined_because}" for name, v in self.measurements.items() if not v.defined]
        return "\n".join([head, "", *lines, *([""] if why or self.notes else []), *why, *self.notes])

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
                "direction": MEASURES[name].direction,
                "formula": MEASURES[name].formula,
                "source": MEASURES[name].source,
                "undefined_because": value.undefined_because,
            }
            for name, value in self.measurements.items()
        ]
        return pd.DataFrame(rows).set_index("measure")

    def plot(self, ax: Axes | None = None) -> Axes:
        """Distance to collapse on a log axis, a line per measure: its value, or 1 − it if collapse is 1."""
        shown = [
            (MEASURES[name], 1 - float(value) if MEASURES[name].direction == "to 1" else float(value))
            for name, value in self.measurements.items()
            if value.defined and MEASURES[name].direction != "higher" and name != "effective_rank"
        ]
        return _plot_distances(shown, ax)


def _plot_distances(shown: Sequence[tuple[Measure, float]], ax: Axes | None) -> Axes:
    import matplotlib.pyplot as plt

    if ax is None:
        _, ax = plt.subplots(figsize=(6.4, 0.36 * len(shown) + 1.2), layout="constrained")
    positive = [value for _, value in shown if value > 0]
    left = min(positive, default=1.0) / 3
    labels = [m.label if m.direction == "lower" else f"1 − {m.label}" for m, _ in shown]
    places = range(len(shown))
    values = [max(value, left) for _, value in shown]
    ax.hlines(places, left, values, color="0.75", linewidth=1.5)
    ax.plot(values, places, "o", color="C0", markersize=6, clip_on=False)
    for place, (_, value) in zip(places, shown, strict=True):
        ax.annotate(
            f"{value:.2g}",
            (max(value, left), place),
            xytext=(7, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
    ax.set(xscale="log", yticks=list(places), yticklabels=labels, xlabel="distance to collapse")
    ax.set_xlim(left, max(values, default=1.0) * 6)
    ax.set_ylim(len(shown) - 0.5, -0.5)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


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
    measures: Sequence[str] | None = None,
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
        Names from the registry; all possible ones if None.

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
    inputs: dict[str, Any] = {"features": features, "labels": labels, "weight": weight, "logits": logits}
    inputs["ood"] = _mean_of(ood, moments)
    available = {"moments"} | {key for key, value in inputs.items() if value is not None}
    available |= {"scatter"} if scatter == "full" else set()
    # with a weight, NC4 is possible too: the decisions are computed block by block, the logits never kept
    possible = measures_for(available | ({"logits"} if weight is not None else set()))
    if measures is not None:
        if isinstance(measures, str) or not isinstance(measures, Sequence):
            raise bad_type("measures", "a list of names", repr(measures))
        unknown = [one_of("measures", name, MEASURES) for name in measures]
        missing = [name for name in unknown if MEASURES[name] not in possible]
        if missing:
            needs = ", ".join(sorted(MEASURES[missing[0]].needs - available))
            raise bad_value(
                "measures",
                "measures that the inputs allow",
                f"{missing[0]!r} without {needs}",
                "pass that too",
            )
        possible = [measure for measure in possible if measure.name in measures]
    results = {}
    for measure in possible:
        if measure.name == "nc4" and logits is None and weight is not None:
            results["nc4"] = _nc4_from_weight(moments, features, weight, bias)
        else:
            results[measure.name] = measure(moments, **inputs, weighting=weighting)
    return CollapseReport(results, moments, _notes(moments))


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


def _nc4_from_weight(m: ClassMoments, features: Tensor, weight: Tensor, bias: Tensor | None) -> Measurement:
    details = {"agree": 0, "samples": m.n, "classes": len(m.present), "bias": bias is not None}
    if len(m.present) < 2:
        because = f"{len(m.present)} of {m.n_classes} classes have samples, the measure needs at least 2"
        return Measurement.undefined("nc4", "agreement", because, details)
    details["agree"] = nearest_centre_agreement(features, decisions(features, weight, bias), m)
    return Measurement(details["agree"] / m.n, "nc4", "agreement", details=details)


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
