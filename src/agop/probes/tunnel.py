"""Where the tunnel starts: the layer from which a linear probe reads the classes nearly as well as behind the last one, and the ranks."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from torch import Tensor

from agop import _checks
from agop.collapse.moments import check_labels
from agop.evidence import Evidence, Need
from agop.measurement import Measurement
from agop.probe import Curve, Probe
from agop.probe import Results as Found

LEAST_OF_CLASS = 2
"""Rows of each class: one to fit the probe to, one to judge it by."""


@dataclass(frozen=True, eq=False)
class Tunnel:
    """What linear probes find behind each layer; made by `tunnel`.

    Attributes
    ----------
    start
        Number of the layer (from 1) from which on every probe has at least the wanted share of the last one's accuracy; a `Measurement`.
    accuracies : tuple of float
        On held-out rows, by layer.
    ranks : tuple of int
        Numerical rank of the centred rows, by layer.
    """

    start: Measurement
    accuracies: tuple[float, ...]
    ranks: tuple[int, ...]


def tunnel(
    rows: Sequence[Float[Tensor, "n _"]],
    labels: Int[Tensor, " n"],
    *,
    share: float | int = 0.95,
    rank_share: float | int = 1e-3,
    penalty: float | int = 1.0,
    random_state: int = 0,
) -> Tunnel:
    r"""Linear probes behind each layer of a path: where does the tunnel start?

    Each probe is scikit-learn's logistic regression on rows that are centred and divided by one number, their mean spread. It is fitted to
    one half of the samples (class by class, the same half at every layer) and judged by the other. The tunnel starts at the first layer
    from which on every accuracy is at least `share` of the last layer's. Behind it layers lose rank and gain no accuracy.

    Parameters
    ----------
    rows
        The representations of the same n samples behind each layer, in order.
    labels
        The class of each sample.
    share
        Of the last accuracy, in (0, 1].
    rank_share
        Singular values of the centred rows count above this share of the largest.
    penalty
        The C of the logistic regression.
    random_state
        Seeds the choice of the half.

    Returns
    -------
    Tunnel
        `start` is undefined where the last probe is no better than the share of the largest class.

    Raises
    ------
    ValueError, TypeError
        If there is no layer, the layers have different samples, there is one class only, or a class has fewer than two samples.

    Notes
    -----
    Masarczyk et al. 2023 (arXiv 2305.19753).
    """
    share = _checks.real("share", share, above=0, at_most=1)
    rank_share = _checks.real("rank_share", rank_share, above=0, at_most=1)
    penalty = _checks.real("penalty", penalty, above=0)
    seed = _checks.integer("random_state", random_state, at_least=0)
    if isinstance(rows, Tensor | str) or not isinstance(rows, Sequence):
        raise _checks.bad_type(
            "rows", "the representations behind each layer, in a list", type(rows).__name__
        )
    if not len(rows):
        raise _checks.bad_value("rows", "at least one layer", "none")
    check_labels(labels, None, "labels")
    y = labels.detach().cpu().numpy()
    for layer in rows:
        _checks.floating("rows", layer, ndim=2)
        _checks.same_length("rows", len(layer), "labels", len(y))
    reason = _unfit(y)
    if reason:
        raise _checks.bad_value("labels", "two classes or more with two samples or more each", reason)
    fit, judge = train_test_split(np.arange(len(y)), test_size=0.5, stratify=y, random_state=seed % 2**32)
    accuracies = tuple(_accuracy(layer, y, fit, judge, penalty) for layer in rows)
    ranks = tuple(_rank(layer, rank_share) for layer in rows)
    chance = float(np.unique(y[judge], return_counts=True)[1].max() / len(judge))
    start = len(accuracies)
    while start > 1 and accuracies[start - 2] >= share * accuracies[-1]:
        start -= 1
    definition = f"{100 * share:g} % of the last probe"
    details = {"accuracy": accuracies[-1], "chance": chance, "layers": len(accuracies)}
    if accuracies[-1] <= chance:
        told = f"behind the last layer a linear probe is right on {accuracies[-1]:.3g} of the held-out rows, by chance on {chance:.3g}"
        return Tunnel(Measurement.undefined("tunnel_start", definition, told, details), accuracies, ranks)
    return Tunnel(Measurement(start, "tunnel_start", definition, details=details), accuracies, ranks)


def _unfit(y: Int[np.ndarray, " n"]) -> str:
    counts = np.unique(y, return_counts=True)[1] if len(y) else np.zeros(0, int)
    if len(counts) < 2:
        return f"{len(counts)} class{'' if len(counts) == 1 else 'es'}"
    if counts.min() < LEAST_OF_CLASS:
        return f"a class with {counts.min()} sample"
    return "" if len(y) >= 2 * len(counts) else f"{len(y)} samples of {len(counts)} classes"


def _accuracy(
    layer: Float[Tensor, "n _"],
    y: Int[np.ndarray, " n"],
    fit: Int[np.ndarray, " k"],
    judge: Int[np.ndarray, " m"],
    penalty: float,
) -> float:
    x = layer.detach().cpu().double().numpy()
    x = x - x[fit].mean(0)
    x = x / max(float(np.sqrt((x[fit] ** 2).mean())), np.finfo(float).tiny)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of separable classes weights only grow on
        model = LogisticRegression(C=penalty, max_iter=200).fit(x[fit], y[fit])
    return float((model.predict(x[judge]) == y[judge]).mean())


def _rank(layer: Float[Tensor, "n d"], share: float) -> int:
    x = layer.detach().double().cpu()
    values = torch.linalg.svdvals(x - x.mean(0))
    return int((values > share * values[:1]).sum()) if values.numel() else 0


def _of_evidence(e: Evidence, share: float | int = 0.95, random_state: int = 0) -> Found:
    """Behind the layers of a subject, in the rows of the one sample."""
    stages = [layer.part("output") for layer in e.at("layer")]
    there = [
        stage for stage in stages if stage is not None and stage.rows is not None and stage.labels is not None
    ]

    def undefined(reason: str) -> Found:
        return {"tunnel_start": Measurement.undefined("tunnel_start", "linear probes", reason)}

    if not there:
        return undefined("no layer has rows and labels")
    if len({len(stage.rows) for stage in there}) > 1:
        return undefined("the layers have different numbers of rows a sample")
    y = there[0].labels
    reason = _unfit(y.detach().cpu().numpy())
    if reason:
        return undefined(
            f"linear probes need two classes or more with two samples or more each: there is {reason}"
        )
    found = tunnel([stage.rows for stage in there], y, share=share, random_state=random_state)
    numbers = [stage.number for stage in there]
    start = found.start
    if not math.isnan(start):
        details = {**start.details, "layer": numbers[int(start) - 1]}
        start = Measurement(numbers[int(start) - 1], "tunnel_start", start.definition, details=details)
    return {
        "tunnel_start": start,
        "probe_accuracy": Curve(numbers, found.accuracies),
        "rank": Curve(numbers, [float(rank) for rank in found.ranks]),
    }


def _example() -> Evidence:
    """Three layers that pull apart two classes, the last two of them by far."""
    g = torch.Generator().manual_seed(0)
    y = torch.arange(80) % 2
    noise = torch.randn(80, 6, generator=g, dtype=torch.float64)
    far = torch.nn.functional.one_hot(y, 6).double()
    layers = []
    for number, distance in enumerate((0.1, 9.0, 9.0), start=1):
        given = {Need("rows"): noise + distance * far, Need("labels"): y}
        stage = Evidence(name="output", level="stage", number=number, given=given)
        layers.append(Evidence(name=str(number), level="layer", number=number, parts=(stage,)))
    return Evidence(name="three layers", level="subject", parts=tuple(layers))


TUNNEL = Probe(
    name="tunnel",
    label="start of the tunnel",
    measure=_of_evidence,
    level="subject",
    needs=(Need("rows", stage="output"), Need("labels", stage="output")),
    columns=("tunnel_start", "probe_accuracy", "rank"),
    meaning="the layer from which a linear probe has 95 % of its accuracy behind the last one; accuracy and rank by layer",
    range="1, 2, …",
    formula="min {l : acc_m ≥ 0.95 acc_L for all m ≥ l}",
    source="Masarczyk et al. 2023 (arXiv 2305.19753)",
    invariant=("shift", "rotation", "scale", "batches"),
    example=_example,
)
