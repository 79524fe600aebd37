"""`profile`: measure every stage of every layer of a subject. The one loop of the house: a source yields evidence, probes measure it."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from torch import nn

from agop import _checks
from agop.probe import Probe, needs_of
from agop.probes import DEFAULTS, PROBES
from agop.profiles.data import Data, MeasureOptions, Source
from agop.profiles.network import Network
from agop.profiles.results import Results
from agop.profiles.table import Profile
from agop.profiles.views import source_of

_OF_MODELS = ("pool", "nonlinearity", "outputs", "output", "inputs", "targets")
"""Keywords of `profile` in 0.1 that are now those of `Network`."""


def _with_old_spelling(function: Callable[..., Profile]) -> Callable[..., Profile]:
    """Take the keywords that belonged to `profile` in 0.1, and say the new line."""

    @functools.wraps(function)
    def wrapper(subject: Any, X: Any = None, y: Any = None, **keywords: Any) -> Profile:
        old = {name: keywords.pop(name) for name in (*_OF_MODELS, "power") if name in keywords}
        if not old:
            return function(subject, X, y, **keywords)
        power = None
        if "power" in old:
            power = _checks.real("power", old.pop("power"), above=0)
            keywords["measures"] = _with_power(subject, keywords.get("measures"), power)
        _warn_of(old, power)
        if isinstance(subject, nn.Module):
            subject = Network(subject, **old)
        return function(subject, X, y, **keywords)

    return wrapper


def _with_power(subject: Any, measures: Any, power: float) -> Any:
    names = DEFAULTS[source_of(subject).kind] if measures is None else measures
    if isinstance(names, str) or not isinstance(names, Sequence):
        return names
    return [PROBES["nfa"].with_(power=power) if name == "nfa" else name for name in names]


def _warn_of(old: dict[str, Any], power: float | None) -> None:
    model = "".join(f", {name}={value!r}" for name, value in old.items())
    subject = f"agop.Network(model{model})" if old else "model"
    measures = "" if power is None else f", measures=[…, agop.PROBES['nfa'].with_(power={power!r})]"
    warnings.warn(
        f"options of a model belong to it: write agop.profile({subject}, X, y{measures})",
        DeprecationWarning,
        stacklevel=3,
    )


@_with_old_spelling
def profile(
    subject: Any,
    X: Any = None,
    y: Any = None,
    *,
    measures: Sequence[str | Probe] | None = None,
    layers: Any = None,
    batch_size: int | None = None,
    options: MeasureOptions | None = None,
) -> Profile:
    r"""Measure every stage of every layer of `subject` on labelled samples.

    A layer of a network, :math:`h \mapsto \sigma(W h + b)` with :math:`W = U S V^T`, has the stages input `h`, projected
    :math:`S V^T h` and output :math:`\sigma(W h + b)`; a layer of a Deep RFM the stages :math:`X`, :math:`X M^{1/2}`,
    :math:`\Phi(X M^{1/2})`. A module that is no linear map (attention, a block) has input and output only.

    Parameters
    ----------
    subject
        A torch module, or `agop.Network(module, …)` where the module has options; anything with `views(X)`, such as a fitted Deep RFM; an
        iterable of `LayerView`; anything that yields evidence by `read`, such as a theory; or a function, which has no layers.
    X, y
        Samples (first axis) and their labels, numbers or strings. For a network also a loader of (x, y) batches: memory does not grow
        with the number of samples. What no measure needs may be left out.
    measures
        Names of `agop.PROBES`, and probes of one's own (`agop.Probe`). Default: those of `agop.probes.DEFAULTS` for this kind of subject;
        "nc1" and "nc2", and for a network "nc3" (at layers with one output per class) and "nfa". The NFA costs a sweep of backward passes.
    layers
        Layers to keep: numbers from 1 in the order in which they come; for a network also names, globs, types, modules. Default: all, for
        a network every use of a weight in a linear map.
    batch_size
        Rows per forward pass for a tensor `X`.
    options
        How many rows are kept for measures of rows, with which seed, and in how much memory.

    Returns
    -------
    Profile

    Raises
    ------
    ValueError, TypeError
        If the subject has no layers to measure, the labels do not match, or a measure is unknown or needs what the subject can't give.

    Notes
    -----
    Inside `agop.launched` the ranks measure a share of a Deep RFM's samples each, and all of them must call this.

    Beaglehole et al. 2024 (arXiv 2402.13728), Sections 4 and 5.

    Examples
    --------
    >>> import torch
    >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    >>> p = profile(net, torch.eye(4), [0, 0, 1, 1], measures=["nc1"])
    >>> p.layers[["name", "follows"]].values.tolist()
    [['0', 'relu'], ['2', '']]
    """
    if options is not None and not isinstance(options, MeasureOptions):
        raise _checks.bad_type("options", "agop.MeasureOptions(…)", type(options).__name__)
    source = source_of(subject)
    probes = chosen_probes(source, measures)
    numbers = _numbers(layers)
    data = Data(
        X=X,
        y=y,
        layers=None if numbers else layers,
        batch_size=batch_size,
        strict=measures is not None,
        options=MeasureOptions() if options is None else options,
    )
    results = Results(probes)
    for evidence in source.read(data, needs_of(results.probes)):
        if evidence.level == "subject":
            results.add_subject(evidence)
        elif numbers is None or evidence.number in numbers:
            results.add_layer(evidence)
    if not results.probes and not results.layers:
        remedy = "pass probes of level 'subject'"
        raise _checks.bad_value("measures", "some for a subject without layers", "none", remedy)
    if numbers and not results.layers:
        raise _checks.bad_value("layers", "layers of the subject", repr(layers))
    return results.profile(source.name)


def chosen_probes(source: Source, measures: Sequence[str | Probe] | None) -> list[Probe]:
    """The probes that were asked for, by name or as they are."""
    asked: Sequence[Any] = DEFAULTS.get(source.kind, ()) if measures is None else measures
    if isinstance(asked, str) or not isinstance(asked, Sequence):
        raise _checks.bad_type("measures", "a list of names and probes", repr(asked))
    probes = [measure if isinstance(measure, Probe) else _named(source, measure) for measure in asked]
    names = [probe.name for probe in probes]
    if len(set(names)) < len(names):
        raise _checks.bad_value("measures", "names that differ", repr(names))
    return probes


def _named(source: Source, name: Any) -> Probe:
    probes = {
        key: probe for key, probe in PROBES.items() if isinstance(probe, Probe)
    }  # a plug-in may be anything
    usable = [key for key, probe in probes.items() if {need.kind for need in probe.needed} <= source.offers]
    return PROBES[_checks.one_of("measures", name, usable)]


def _numbers(layers: Any) -> set[int] | None:
    """The layers by number, or None if they are not chosen by numbers."""
    if layers is None or isinstance(layers, (str, type, nn.Module)) or not isinstance(layers, Iterable):
        return None
    chosen = list(layers)
    if not chosen or not all(isinstance(layer, int) for layer in chosen):
        return None
    return {_checks.integer("layers", layer, at_least=1) for layer in chosen}


__all__ = ["Profile", "profile"]
