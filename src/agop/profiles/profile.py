"""`profile`: measure every stage of every layer of a subject."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from agop import _checks
from agop.collapse.moments import ClassMoments
from agop.collapse.registry import MEASURES
from agop.gradients.ansatz import nfa
from agop.gradients.calling import OutputPick
from agop.profiles.deep_rfm import is_deep_rfm
from agop.profiles.network import profile_network
from agop.profiles.options import NetworkOptions, measure_names
from agop.profiles.reader import Nonlinearity
from agop.profiles.table import Profile, with_drops
from agop.ranks import ALONE, current
from agop.view import LayerView

DEFAULT_MEASURES = ("nc1", "nc2")
"""What a Deep RFM is measured with unless the caller says otherwise: its feature matrix is its AGOP, so no NFA."""

__all__ = ["Profile", "profile"]


def profile(
    subject: Any,
    X: Any,
    y: Any = None,
    *,
    layers: Any = None,
    measures: Sequence[str] | None = None,
    pool: str = "mean",
    nonlinearity: Mapping[str, Nonlinearity] | None = None,
    power: float | int = 0.5,
    outputs: int | Sequence[int] | str | None = "auto",
    output: OutputPick = None,
    batch_size: int | None = None,
    inputs: Callable[[Any], Any] | None = None,
    targets: Callable[[Any], Any] | None = None,
) -> Profile:
    r"""Measure every stage of every layer of `subject` on labelled samples.

    A layer of a network, :math:`h \mapsto \sigma(W h + b)` with :math:`W = U S V^T`, has the stages input `h`, projected
    :math:`S V^T h` and output :math:`\sigma(W h + b)`; a layer of a Deep RFM the stages :math:`X`, :math:`X M^{1/2}`,
    :math:`\Phi(X M^{1/2})`. A module that is no linear map (attention, a block) has input and output only.

    Parameters
    ----------
    subject
        A torch module, a fitted Deep RFM, or an iterable of `LayerView`. A module is measured in evaluation mode and left as it came.
    X, y
        Samples (first axis) and their labels, numbers or strings. For a network also a loader of (x, y) batches: memory does not grow
        with the number of samples.
    layers
        Layers to keep: numbers from 1 in the order in which they come; for a network also names, globs, types, modules. Default: all, for
        a network every Linear, convolution, attention and recurrent layer.
    measures
        Names from `agop.collapse.registry.MEASURES` that need class moments only (for a network also NC3, at layers with one output per
        class), and "nfa". Default: "nc1", "nc2", and for a network "nc3" and "nfa". The NFA costs a sweep of backward passes.
    pool
        What becomes of positions (pixels, tokens): "mean" over them, "flatten" them into one long row, or "none": every position is a
        sample. See `agop.profiles.pooling`.
    nonlinearity
        By layer name, what follows a layer, where the rule of `agop.profiles.follow` is wrong: the name of the module whose output is the
        output stage, a function of the layer's output, or None.
    power
        The power of the AGOP in the NFA.
    outputs
        Which outputs the AGOP is of: None for all, indices, or that many random combinations; "auto" takes all up to 64.
    output
        What to take of a tuple, dict or object that the model returns.
    batch_size
        Rows per forward pass for a tensor `X`.
    inputs, targets
        Make the model's input and the labels of a loader's batch.

    Returns
    -------
    Profile

    Raises
    ------
    ValueError, TypeError
        If the subject has no layers to measure, the labels do not match, or a measure is unknown.

    Notes
    -----
    Inside `agop.launched` the ranks measure a share of a Deep RFM's samples each, and all of them must call this.

    Beaglehole et al. 2024 (arXiv 2402.13728), Sections 4 and 5.

    Examples
    --------
    >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    >>> p = profile(net, torch.eye(4), [0, 0, 1, 1], measures=["nc1"])
    >>> p.layers[["name", "follows"]].values.tolist()
    [['0', 'relu'], ['2', '']]
    """
    if nonlinearity is not None and not isinstance(nonlinearity, Mapping):
        raise _checks.bad_type("nonlinearity", "what follows a layer, by its name", repr(nonlinearity))
    if isinstance(subject, nn.Module):
        numbers = _numbers(layers)
        options = NetworkOptions(
            layers=None if numbers else layers,
            measures=measures,
            pool=pool,
            nonlinearity=dict(nonlinearity or {}),
            power=power,
            outputs=outputs,
            output=output,
            batch_size=batch_size,
            inputs=inputs,
            targets=targets,
        )
        return _kept(profile_network(subject, X, y, options), numbers, layers)
    return _kept(_profile_views(subject, X, y, measures, power), _numbers(layers), layers)


def _numbers(layers: Any) -> set[int] | None:
    """The layers by number, or None if they are not chosen by numbers."""
    if layers is None or isinstance(layers, (str, type, nn.Module)) or not isinstance(layers, Iterable):
        return None
    chosen = list(layers)
    if not chosen or not all(isinstance(layer, int) for layer in chosen):
        return None
    return {_checks.integer("layers", layer, at_least=1) for layer in chosen}


def _kept(whole: Profile, numbers: set[int] | None, layers: Any) -> Profile:
    if numbers is None:
        return whole
    table = whole.table[whole.table["layer"].isin(numbers)].reset_index(drop=True)
    by_layer = whole.layers[whole.layers["layer"].isin(numbers)].reset_index(drop=True)
    if table.empty:
        raise _checks.bad_value("layers", "layers of the subject", repr(layers))
    return Profile(table, whole.subject, whole.measures, whole.notes, by_layer)


def _profile_views(subject: Any, X: Any, y: Any, measures: Sequence[str] | None, power: float) -> Profile:
    names = tuple(DEFAULT_MEASURES if measures is None else measure_names(measures))
    usable = [name for name, measure in MEASURES.items() if set(measure.needs) <= {"moments"}] + ["nfa"]
    for name in names:
        _checks.one_of("measures", name, usable)
    if y is None:
        raise _checks.bad_value("y", "one label per sample", "None")
    classes, index = np.unique(np.asarray(y), return_inverse=True)
    labels = torch.from_numpy(index.astype(np.int64).reshape(-1))
    stage_names = tuple(name for name in names if name != "nfa")
    rows: list[dict[str, Any]] = []
    by_layer: list[dict[str, Any]] = []
    notes: list[str] = []
    ranks = current() if is_deep_rfm(subject) and len(labels) >= current().size else ALONE
    if not ranks.alone:
        _checks.same_length("X", len(X), "y", len(labels))
        mine = ranks.share(len(labels))
        X, labels = X[mine], labels[mine]
    for number, view in enumerate(_views(subject, X), start=1):
        if not isinstance(view, LayerView):
            raise _checks.bad_type("subject", "layers as LayerView", type(view).__name__)
        for stage, features in view.stages().items():
            _checks.same_length("X", len(features), "y", len(labels))
            moments = ClassMoments.of(features, labels.to(features.device), len(classes)).all_reduce(ranks)
            rows.append(_row(number, view.name, stage, moments, stage_names, notes))
        about: dict[str, Any] = {"layer": number, "name": view.name}
        if "nfa" in names:
            known = view.feature_matrix is not None and view.agop is not None
            about["nfa"] = nfa(view, power=power) if known else float("nan")
        by_layer.append(about)
    if not rows:
        raise _checks.bad_value("subject", "at least one layer", "none")
    table = pd.DataFrame(rows)
    layers = with_drops(pd.DataFrame(by_layer), table)
    return Profile(table, type(subject).__name__, stage_names, notes, layers)


def _views(subject: Any, X: Any) -> Iterable[LayerView]:
    if is_deep_rfm(subject):
        return subject.views(X)
    if isinstance(subject, Iterable):
        return subject
    raise _checks.bad_type(
        "subject", "a torch module, a fitted Deep RFM or an iterable of LayerView", type(subject).__name__
    )


def _row(
    number: int,
    name: str,
    stage: str,
    moments: ClassMoments,
    measures: Sequence[str],
    notes: list[str],
) -> dict[str, Any]:
    row: dict[str, Any] = {"layer": number, "name": name, "stage": stage}
    for measure in measures:
        value = MEASURES[measure](moments)
        row[measure] = float(value)
        if value.undefined_because:
            notes.append(f"{name}, {stage}: {measure} is undefined: {value.undefined_because}")
    return row
