"""What every probe must satisfy: a registered one is checked by being registered, one of your own by `check_probe(probe)`.

A small world (rows of three stages in four layers, a classifier, other data, matrices) is made into evidence of the probe's level; the
world is then changed: another order of samples, other names of classes, a constant added, a rotation, a scale, other batches. What a
probe declares as `invariant` must stay, and what it does not declare must change here, so that a wrong declaration is seen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from agop import ClassMoments, Curve, Evidence, Measurement, Need, Probe
from agop.evidence import NEEDS
from agop.view import STAGES
from tests.tolerances import MERGE

CLASSES, D, LAYERS = 5, 12, 4
_MATRICES = {"agop", "feature_matrix", "weight"}


@dataclass(frozen=True)
class World:
    """Rows by layer and stage, and what belongs to them."""

    rows: tuple[tuple[Tensor, ...], ...]
    labels: Tensor
    weight: Tensor
    bias: Tensor
    decisions: Tensor
    ood: Tensor
    feature_matrix: Tensor
    agop: Tensor
    batch: int | None = None


def blobs(n: int = 90, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Points around five means, of unequal counts."""
    g = torch.Generator().manual_seed(seed)
    means = 3 * torch.randn(CLASSES, D, generator=g, dtype=torch.float64)
    labels = torch.cat([torch.arange(CLASSES), torch.randint(CLASSES, (n - CLASSES,), generator=g)])
    return means[labels] + torch.randn(n, D, generator=g, dtype=torch.float64), labels


def world() -> World:
    """Layers that pull the classes together, step by step."""
    x, y = blobs()
    g = torch.Generator().manual_seed(3)
    means = torch.stack([x[y == c].mean(0) for c in range(CLASSES)])
    stages, shrunk = [], x
    for _ in range(LAYERS):
        own = []
        for _ in STAGES:
            own.append(shrunk)
            shrunk = means[y] + 0.8 * (shrunk - means[y])
        stages.append(tuple(own))
    weight = means + 0.3 * torch.randn(CLASSES, D, generator=g, dtype=torch.float64)
    bias = -weight.square().sum(1) / 2
    half = torch.randn(2, D, D, generator=g, dtype=torch.float64)
    matrices = half @ half.mT
    ood = 2 * torch.randn(D, generator=g, dtype=torch.float64)
    decisions = (x @ weight.T + bias).argmax(1)
    return World(tuple(stages), y, weight, bias, decisions, ood, matrices[0], matrices[1])


def changed(w: World, change: str) -> World:
    """The world after one of `agop.probe.PROPERTIES`."""
    g = torch.Generator().manual_seed(7)
    if change == "order":
        order = torch.randperm(len(w.labels), generator=g)
        rows = tuple(tuple(stage[order] for stage in layer) for layer in w.rows)
        return replace(w, rows=rows, labels=w.labels[order], decisions=w.decisions[order])
    if change == "labels":
        names = torch.randperm(CLASSES, generator=g)
        back = torch.argsort(names)
        return replace(
            w, labels=names[w.labels], decisions=names[w.decisions], weight=w.weight[back], bias=w.bias[back]
        )
    if change == "batches":
        return replace(w, batch=17)
    rotation = torch.linalg.qr(torch.randn(D, D, generator=g, dtype=torch.float64))[0]
    constant = 5 * torch.randn(D, generator=g, dtype=torch.float64)
    of_rows = {
        "shift": lambda x: x + constant,
        "rotation": lambda x: x @ rotation,
        "scale": lambda x: 1e3 * x,
    }[change]
    rows = tuple(tuple(of_rows(stage) for stage in layer) for layer in w.rows)
    turned = {"rotation": lambda m: rotation.T @ m @ rotation, "scale": lambda m: 1e3 * m}
    matrix = turned.get(change, lambda m: m)
    weight = w.weight @ rotation if change == "rotation" else w.weight
    return replace(
        w,
        rows=rows,
        ood=of_rows(w.ood),
        weight=weight,
        feature_matrix=matrix(w.feature_matrix),
        agop=matrix(w.agop),
    )


def single(w: World) -> World:
    """The world in float32."""
    low = {k: v.float() for k, v in vars(w).items() if isinstance(v, Tensor) and v.is_floating_point()}
    return replace(w, **low, rows=tuple(tuple(stage.float() for stage in layer) for layer in w.rows))


def evidence(w: World, level: str) -> Evidence:
    """A world as evidence: its first stage, its first layer, or all of it."""
    if level == "stage":
        return _stage(w, 1, STAGES[0], w.rows[0][0])
    if level == "layer":
        return _layer(w, 1, w.rows[0])
    layers = tuple(_layer(w, number, rows) for number, rows in enumerate(w.rows, start=1))
    given = {Need("function"): lambda X: X @ w.weight.T + w.bias, Need("inputs"): w.rows[0][0]}
    return Evidence(name="world", level="subject", parts=layers, given=given)


def _layer(w: World, number: int, rows: tuple[Tensor, ...]) -> Evidence:
    stages = tuple(_stage(w, number, name, stage) for name, stage in zip(STAGES, rows, strict=True))
    given = {Need("feature_matrix"): w.feature_matrix, Need("agop"): w.agop, Need("weight"): w.feature_matrix}
    return Evidence(name=f"layer {number}", level="layer", number=number, parts=stages, given=given)


def _stage(w: World, number: int, name: str, rows: Tensor) -> Evidence:
    step = w.batch or max(1, len(rows))
    parts = [
        ClassMoments.of(rows[i : i + step], w.labels[i : i + step], CLASSES, scatter="full")
        for i in range(0, len(rows), step)
    ] or [ClassMoments.empty(CLASSES, D, scatter="full")]
    moments = sum(parts[1:], parts[0])
    given: dict[str, Any] = {
        "moments": moments, "scatter": moments, "rows": rows, "labels": w.labels, "weight": w.weight,
        "bias": w.bias, "decisions": w.decisions, "ood": w.ood,
    }  # fmt: skip
    return Evidence(
        name=name, level="stage", number=number, given={Need(kind): value for kind, value in given.items()}
    )


def numbers(probe: Probe, e: Evidence) -> list[float]:
    """Every number that the probe finds."""
    found: list[float] = []
    for value in probe.results(e).values():
        found += [float(v) for v in value.value] if isinstance(value, Curve) else [float(value)]
    return found


def value_of(probe: Probe, w: World) -> list[float]:
    return numbers(probe, evidence(w, probe.level))


def check_probe(probe: Probe) -> None:
    """Everything below."""
    check_entry(probe)
    check_values(probe)
    check_changes(probe)
    check_degenerate(probe)


def check_entry(probe: Probe) -> None:
    """It says what it is."""
    assert {need.kind for need in probe.needed} <= set(NEEDS)
    assert all((probe.name, probe.label, probe.meaning, probe.formula, probe.source))


def check_values(probe: Probe) -> None:
    """Defined numbers under its names, the same in single precision and a second time."""
    e = evidence(world(), probe.level) if probe.example is None else probe.example()
    found = probe.results(e)
    assert set(found) == set(probe.columns)
    for column, value in found.items():
        assert isinstance(value, Measurement | Curve)
        assert isinstance(value, Curve) or (value.defined and value.name == column), (column, value)
    assert all(math.isfinite(number) for number in numbers(probe, e))
    goal = probe.goal(e)
    assert goal in ("lower", "higher", None) or math.isfinite(goal)
    if probe.example is None:
        assert value_of(probe, single(world())) == pytest.approx(value_of(probe, world()), rel=1e-3, abs=1e-6)


def check_changes(probe: Probe) -> None:
    """What it declares invariant stays, what it does not declare changes."""
    if probe.example is not None:
        return
    matrices_only = {need.kind for need in probe.needed} <= _MATRICES
    expected = value_of(probe, world())
    for change in ("order", "labels", "shift", "rotation", "scale", "batches"):
        if matrices_only and change not in ("rotation", "scale"):
            continue
        found = value_of(probe, changed(world(), change))
        if change in probe.invariant:
            tolerance = MERGE if change == "batches" else 1e-8
            assert found == pytest.approx(expected, rel=tolerance, abs=1e-12), change
        elif change != "batches":
            assert found != pytest.approx(expected, rel=1e-6), f"{change} changes nothing: declare it"


def check_degenerate(probe: Probe) -> None:
    """No samples, one class, equal rows: a number, or NaN that says why."""
    w = world()
    few = {
        "no samples": replace(
            w, rows=_rows(w, lambda x: x[:0]), labels=w.labels[:0], decisions=w.decisions[:0]
        ),
        "one sample": replace(
            w, rows=_rows(w, lambda x: x[:1]), labels=w.labels[:1], decisions=w.decisions[:1]
        ),
        "one class": replace(w, labels=torch.zeros_like(w.labels)),
        "equal rows": replace(w, rows=_rows(w, torch.ones_like)),
    }
    for name, case in few.items():
        for value in probe.results(evidence(case, probe.level)).values():
            if isinstance(value, Measurement) and math.isnan(value) and probe.level == "stage":
                assert value.undefined_because, name


def _rows(w: World, function: Any) -> tuple[tuple[Tensor, ...], ...]:
    return tuple(tuple(function(stage) for stage in layer) for layer in w.rows)
