"""From what was summed at the layers of a network to the rows of a profile."""

from __future__ import annotations

from typing import Any

import pandas as pd
import torch
from torch import Tensor

from agop import _checks
from agop.collapse.moments import ClassMoments
from agop.collapse.registry import MEASURES
from agop.gradients.layers import LayerAGOPs
from agop.gradients.taps import named_exactly
from agop.profiles import pooling
from agop.profiles.ansatz import layer_nfa, split
from agop.profiles.labels import ClassIndex
from agop.profiles.options import NetworkOptions
from agop.profiles.reader import Call, Reader
from agop.profiles.table import Profile, with_drops
from agop.view import STAGES


def assembled(
    subject: str,
    reader: Reader,
    classes: ClassIndex,
    agops: LayerAGOPs | None,
    options: NetworkOptions,
    notes: list[str],
) -> Profile:
    """The profile of everything that `reader` has read."""
    calls = _measured(reader, options, notes)
    last = next((name for name in reversed(calls) if calls[name].linear), None)
    by_stage: list[dict[str, Any]] = []
    by_layer: list[dict[str, Any]] = []
    for number, (name, call) in enumerate(calls.items(), start=1):
        moments = _moments(call, classes, options.pool)
        weights = _classifier(call, moments, classes, name == last)
        for stage, m in moments.items():
            values = {
                measure: _value(measure, m, weights.get(stage), f"{name}, {stage}", notes)
                for measure in options.names
                if measure != "nfa"
            }
            by_stage.append({"layer": number, "name": name, "stage": stage, **values})
        by_layer.append({"layer": number, "name": name, **_about(name, call, moments, agops, options)})
        if options.pool != "none" and moments["input"].n != reader.n_samples:
            notes.append(f"{name} was called on {moments['input'].n:,} of {reader.n_samples:,} samples")
    table = pd.DataFrame(by_stage)
    measures = tuple(name for name in options.names if name != "nfa")
    return Profile(table, subject, measures, notes, with_drops(pd.DataFrame(by_layer), table))


def _measured(reader: Reader, options: NetworkOptions, notes: list[str]) -> dict[str, Call]:
    """The calls that have numbers; the others are noted, or refused if they were asked for by name."""
    exact = named_exactly(options.layers)
    calls = reader.named_calls()
    reasons = dict.fromkeys(reader.modules, "the forward pass never calls it")
    reasons = {name: why for name, why in reasons.items() if not any(c.name == name for c in calls.values())}
    reasons |= {call.name: call.left_out for call in calls.values() if call.left_out}
    for name, why in reasons.items():
        if name in exact:
            raise _checks.bad_value(
                "layers", "layers that can be measured", f"{name!r}: {why}", "leave it out"
            )
        notes.append(f"left out: {name}, {why}")
    kept = {name: call for name, call in calls.items() if not call.left_out}
    if not kept:
        raise _checks.bad_value("layers", "a layer that can be measured", "; ".join(notes) or "none")
    return kept


def _moments(call: Call, classes: ClassIndex, pool: str) -> dict[str, ClassMoments]:
    """Class moments by stage; those of the projected stage come from the layer's output less its bias.

    `W h = U (S Vᵀ h)` and the columns of U are orthonormal, so distances and angles between the projected samples are
    those between the `W h`: no measure can tell them apart, and nothing has to be decomposed or multiplied again.
    """
    order = classes.order()
    moments = {stage: call.moments[stage].result(order) for stage in STAGES if stage in call.moments}
    projected = moments.get("projected")
    if projected is not None:
        convolution = pooling.is_convolution(call.module)
        bias = pooling.bias_of(call.module, projected.d, convolution, pool)
        if bias is not None:
            means = projected.means - bias.to(projected.means)
            means[projected.counts == 0] = 0
            moments["projected"] = ClassMoments(projected.counts, means, projected.within, projected.residual)
    return moments


def _classifier(
    call: Call, moments: dict[str, ClassMoments], classes: ClassIndex, last: bool
) -> dict[str, Tensor]:
    """By stage the matrix (C, d) that turns it into one output per class, for a layer that has these outputs."""
    if not call.linear or pooling.is_convolution(call.module):
        return {}
    weight = pooling.weight_groups(call.module)[0]
    labels = classes.classes()
    numbered = all(isinstance(label, int) and 0 <= label < len(weight) for label in labels)
    if len(weight) != len(labels) and not (last and numbered):
        return {}
    rows = torch.tensor(labels) if numbered else torch.arange(len(labels))
    u, _ = split(weight)
    by_stage = {"input": weight[rows], "projected": (u @ u.mT)[rows]}
    return {stage: matrix for stage, matrix in by_stage.items() if matrix.shape[1] == moments[stage].d}


def _value(measure: str, m: ClassMoments, weight: Tensor | None, where: str, notes: list[str]) -> float:
    if "weight" in MEASURES[measure].needs and weight is None:
        # most layers are no classifiers: an empty cell says so
        return float("nan")
    value = MEASURES[measure](m, weight=weight)
    if value.undefined_because:
        notes.append(f"{where}: {measure} is undefined: {value.undefined_because}")
    return float(value)


def _about(
    name: str, call: Call, moments: dict[str, ClassMoments], agops: LayerAGOPs | None, options: NetworkOptions
) -> dict[str, Any]:
    """What is known by layer, not by stage."""
    about: dict[str, Any] = {
        "kind": type(call.module).__name__,
        "features": moments["input"].d,
        "follows": call.follows,
    }
    if "nfa" in options.names:
        known = agops is not None and call.linear and name in agops
        about["nfa"] = float("nan")
        if known and agops is not None:
            weight = pooling.weight_groups(call.module).flatten(0, 1)
            about["nfa"] = layer_nfa(weight.to(agops[name]), agops[name], options.power)
    return about
