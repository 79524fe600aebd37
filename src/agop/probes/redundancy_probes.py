"""The probes of redundancy: with the network's own classifier, and with one fitted on the same rows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import torch
from jaxtyping import Float, Integer
from sklearn.linear_model import RidgeClassifier
from torch import Tensor

from agop import _checks
from agop.evidence import Evidence, Need
from agop.measurement import Measurement
from agop.probe import Curve, Probe
from agop.probes.redundancy import CURVES, Redundancy, redundancy

_COLUMNS = (
    "critical_width",
    "accuracy_width",
    "chunk_accuracy",
    "chunk_r2",
    "chunk_residual_correlation",
    "chunk_r2_within",
    "chunk_residual_correlation_within",
)


def _of_evidence(
    e: Evidence,
    head: str = "own",
    widths: Iterable[int] | None = None,
    draws: int = 40,
    random_state: int = 0,
    held_out: bool = False,
    threshold: float = 0.95,
) -> dict[str, Measurement | Curve]:
    """The columns of both probes: with class means kept and removed; those of a linear head begin with "linear_"."""
    _checks.one_of("head", head, ("own", "linear"))
    rows, labels = e.get("rows"), e.get("labels")
    reason = _too_little(rows, labels, head)
    if reason is not None:
        return {name: Measurement.undefined(name, "random chunks", reason) for name in _names(head)}
    weight, bias = (e.get("weight"), e.bias) if head == "own" else linear_head(rows, labels)
    kept, within = (
        redundancy(
            rows, weight, bias, labels, widths, draws, random_state, class_means=means, held_out=held_out
        )
        for means in ("keep", "remove")
    )
    critical, bend = within.critical_width(threshold), kept.accuracy_width()
    critical.details["head"] = bend.details["head"] = _HEADS[head]
    curves = [_defined(kept, of) for of in CURVES] + [_defined(within, of) for of in CURVES[1:]]
    return dict(zip(_names(head), (critical, bend, *curves)))


def _too_little(rows: Tensor, labels: Tensor, head: str) -> str | None:
    """Why there are no chunks to measure here, if there are none."""
    if len(rows) < 2:
        return f"{len(rows)} samples: chunks need at least two"
    if not bool((rows[0] != rows).any()):
        return "no unit varies over the samples"
    if head == "linear" and len(labels.unique()) < 2:
        return "only one class has samples, so there is nothing for a linear classifier to tell apart"
    return None


def _defined(found: Redundancy, of: str) -> Measurement | Curve:
    """The curve where it has values: there are no pairs outside a chunk of all units."""
    curve = found.curve(of)
    there = [i for i, value in enumerate(curve.value) if value == value]
    if not there:
        reason = found.undefined_because or "fewer than two units are outside the chunks"
        return Measurement.undefined(of, "random chunks", reason)
    x, value, spread = ([side[i] for i in there] for side in (curve.x, curve.value, curve.spread or ()))
    return Curve(x, value, spread)


_HEADS = {"own": "the network's own", "linear": "least squares with ridge, fitted on the same rows"}


def _names(head: str) -> tuple[str, ...]:
    return _COLUMNS if head == "own" else tuple(f"linear_{column}" for column in _COLUMNS)


def linear_head(
    rows: Float[Tensor, "n d"], labels: Integer[Tensor, " n"]
) -> tuple[Float[Tensor, "c d"], Float[Tensor, " c"]]:
    """Weight and bias of a ridge classifier on the rows, in units of their own; scores of the classes there are, others never win."""
    Z = rows.detach().cpu().double()
    unit = (Z - Z.mean(0)).square().mean().sqrt()
    present = labels.unique().cpu().long()
    fitted = RidgeClassifier(alpha=1e-3 * len(Z)).fit((Z / unit).numpy(), labels.cpu().numpy())
    weight, bias = (
        torch.as_tensor(fitted.coef_).reshape(-1, Z.shape[1]) / unit,
        torch.as_tensor(fitted.intercept_),
    )
    if len(present) == 2:
        weight, bias = torch.cat([-weight, weight]), torch.cat([-bias, bias])
    whole = weight.new_zeros(int(present[-1]) + 1, weight.shape[1])
    below = bias.new_full((len(whole),), -torch.finfo(torch.float64).max)
    return whole.index_copy(0, present, weight), below.index_copy(0, present, bias)


REDUNDANCY = Probe(
    name="redundancy",
    label="critical width",
    measure=_of_evidence,
    level="stage",
    needs=(Need("rows", n=2000), "labels", "weight"),
    applies=lambda e: e.weight is not None,
    columns=_COLUMNS,
    meaning="units of a random chunk that determine 95 % of the rest within classes; few: the layer consists of near copies",
    scale="log",
    towards="lower",
    range="[1, d]",
    formula="least w with mean R²(F − μ_y | w of its units) ≥ 0.95",
    source="Doimo, Glielmo, Goldt, Laio 2022 (arXiv 2106.03485); class means removed: not theirs",
    invariant=frozenset({"order", "labels", "batches"}),
)


REDUNDANCY_LINEAR = replace(
    REDUNDANCY,
    name="redundancy_linear",
    needs=(Need("rows", n=2000), "labels"),
    applies=lambda e: True,
    columns=_names("linear"),
    options={"head": "linear"},
    invariant=frozenset({"order", "labels", "scale", "batches"}),
    meaning="the same at any stage, its accuracy that of a linear classifier fitted on the rows",
)
