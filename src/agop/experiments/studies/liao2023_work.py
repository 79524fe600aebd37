"""What the study of diffusion spectral entropy computes, unit by unit.

networks   two runs of one network, trained with true and with shuffled labels: curves.csv through training, scales.csv at its end
depth      a Deep RFM, and random features without its projection: curves.csv by layer and stage
anchors    points whose entropy is known in closed form: anchors.csv

Entropies are measured on the same number of points everywhere, because they grow with it. Columns `dse` and `dsmi` have the paper's σ = 10,
`dse_rms` and `dsmi_rms` a quarter of the rms distance of the points that are measured (not the paper's).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from agop.collapse.diffusion import diffusion_spectral_entropy
from agop.datasets import Dataset, Standardiser
from agop.experiments.studies.beaglehole2024.controls import control_views
from agop.experiments.subjects.deep_rfm_config import DeepRFMConfig
from agop.experiments.tables import write_table
from agop.experiments.units import Unit
from agop.networks.models import HeadedNetwork, as_images, build, image_layout
from agop.networks.streams import stream
from agop.networks.training import Training, evaluate, train
from agop.probe import Probe
from agop.probes import PROBES
from agop.profiles.data import MeasureOptions
from agop.profiles.network import Network
from agop.profiles.profile import profile

FRACTION = 0.25
"""Of the rms distance. Collapsed classes at equal distances are then farther apart than 4σ, and their affinity is below 4e-4."""

POINTS = ("train", "held out")
RULES = ("agop", "identity")
_TRAINING = ("epochs", "batch_size", "lr", "momentum", "weight_decay", "schedule", "loss", "optimiser")
_SHUFFLE, _CONVOLUTIONS = 11, 12  # uses of a unit's seed


def probes(stage: str, *names: str) -> list[Probe]:
    """NC1 and measures ("dse", "dsmi"; both) at the paper's bandwidth and at one that follows the scale, of one stage of a layer."""
    found = [PROBES["nc1"]]
    for name in names or ("dse", "dsmi"):
        found.append(PROBES[name])
        found.append(PROBES[name].with_(name=f"{name}_rms", sigma="rms", fraction=FRACTION))
    return [replace(probe, applies=lambda e: e.name == stage) for probe in found]


def _values(
    subject: Any, x: Tensor, y: Tensor, sample: MeasureOptions, measures: list[Probe], **chosen: Any
) -> dict[str, float]:
    """What the probes say of the one stage of the one layer to which they apply."""
    table = profile(subject, x, y.numpy(), measures=measures, options=sample, **chosen).to_frame()
    return {probe.name: float(next(iter(table[probe.name].dropna()), math.nan)) for probe in measures}


def small_cnn(
    image: tuple[int, int, int], n_classes: int, *, channels: int, seed: int, **head: Any
) -> HeadedNetwork:
    """Two 3 × 3 convolutions, each before a ReLU and a max pooling by two, and the head of `HeadedNetwork`."""
    generator = stream(seed, _CONVOLUTIONS)
    parts: list[nn.Module] = []
    before, after = image[0], channels
    for _ in range(2):
        convolution = nn.utils.skip_init(nn.Conv2d, before, after, 3, padding=1)
        nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu", generator=generator)
        nn.init.zeros_(convolution.bias)
        parts += [convolution, nn.ReLU(), nn.MaxPool2d(2)]
        before, after = after, 2 * after
    features = before * (image[1] // 4) * (image[2] // 4)
    backbone = nn.Sequential(*parts, nn.Flatten())
    return HeadedNetwork(backbone, features, n_classes, seed=seed, **head)


def _network(options: dict[str, Any], data: Dataset, seed: int) -> tuple[nn.Module, bool]:
    """The untrained network of a unit, and whether it takes images."""
    n_classes, arch = len(data.class_names), options["arch"]
    head = {name: options[name] for name in ("width", "depth", "init_gain")} | {"seed": seed}
    if arch == "cnn":
        image = image_layout(data.shape)
        return small_cnn(image, n_classes, channels=options["channels"], **head), True
    return build(arch, data.shape, n_classes, **head), arch != "mlp"


def _tensors(data: Dataset, images: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Training and held-out points, scaled with the statistics of the training points, and their labels."""
    assert data.x_test is not None
    assert data.y_test is not None
    scaler = Standardiser.of(data.x_train)
    x = [torch.from_numpy(scaler(part, np.dtype("float32"))) for part in (data.x_train, data.x_test)]
    x_train, x_test = (as_images(part, data.shape) for part in x) if images else x
    return x_train, torch.from_numpy(data.y_train), x_test, torch.from_numpy(data.y_test)


def run_networks(unit: Unit, folder: Path) -> list[str]:
    """Train with true and with shuffled labels, measure at checkpoints, and rescale what was trained with true ones."""
    options, data = dict(unit.options), _points(unit)
    rows = []
    for labels in options["labels"]:
        model, images = _network(options, data, unit.seed)
        x, y, x_held, y_held = _tensors(data, images)
        given = (
            y if labels == "true labels" else y[torch.randperm(len(y), generator=stream(unit.seed, _SHUFFLE))]
        )
        sample = MeasureOptions(random_state=unit.seed, rows=min(options["rows"], len(x), len(x_held)))
        for epoch, accuracy in _checkpoints(model, x, given, options, unit.seed):
            known = {"labels": labels, "epoch": epoch, "accuracy": accuracy, **_of_classes(data)}
            own = _measured(model, x, y, sample, "dse")
            if given is not y:  # what the features say of the labels that were fitted
                others = _measured(model, x, given, sample, "dsmi")
                own |= {f"{name}_given": value for name, value in others.items()}
            rows.append(known | {"points": "train"} | own)
            rows.append(known | {"points": "held out"} | _measured(model, x_held, y_held, sample))
        if labels == "true labels" and options["arch"] == "mlp":
            write_table(folder, "scales", _rescaled(model, x_held, y_held, sample, options["factors"]))
    write_table(folder, "curves", pd.DataFrame(rows))
    return list(data.notes)


def _of_classes(data: Dataset) -> dict[str, float]:
    return {"classes": len(data.class_names), "log2_classes": math.log2(len(data.class_names))}


def _points(unit: Unit) -> Dataset:
    assert unit.data is not None
    data = unit.data.load(unit.seed)
    assert isinstance(data, Dataset)
    return data


def _checkpoints(
    model: nn.Module, x: Tensor, labels: Tensor, options: dict[str, Any], seed: int
) -> Iterator[tuple[int, float]]:
    """The model before training and after each epoch that is measured, and its accuracy on the labels it was given."""
    training = Training(**{name: options[name] for name in _TRAINING}, seed=seed)
    wanted = checkpoints(training.epochs)
    yield 0, evaluate(model, x, labels, training.loss)[1]
    for epoch in train(model, x, labels, training):
        if epoch.number in wanted:
            yield epoch.number, evaluate(model, x, labels, training.loss)[1]


def checkpoints(epochs: int) -> list[int]:
    """Two epochs for each doubling, and the last.

    >>> checkpoints(50)
    [1, 2, 3, 4, 6, 8, 11, 16, 23, 32, 45, 50]
    """
    grid = (round(2 ** (step / 2)) for step in range(2 * epochs.bit_length()))
    return sorted({number for number in grid if number < epochs} | {epochs})


def _last(model: nn.Module) -> str:
    """The name of the last linear layer, which reads the penultimate features."""
    return [name for name, part in model.named_modules() if isinstance(part, nn.Linear)][-1]


def _measured(
    model: nn.Module, x: Tensor, y: Tensor, sample: MeasureOptions, *names: str
) -> dict[str, float]:
    """The measures of what the last layer reads."""
    return _values(Network(model), x, y, sample, probes("input", *names), layers=[_last(model)])


@torch.no_grad()
def _rescaled(
    model: nn.Module, x: Tensor, y: Tensor, sample: MeasureOptions, factors: list[float]
) -> pd.DataFrame:
    """The same function in other units: weights before the last layer times a factor, those of the last layer divided by it."""
    before = model(x)
    rows = []
    for factor in factors:
        other = copy.deepcopy(model)
        linear = [part for part in other.modules() if isinstance(part, nn.Linear)]
        linear[-2].weight.mul_(factor)  # without a bias, and the ReLU behind it passes a factor through
        linear[-1].weight.div_(factor)
        moved = float((other(x) - before).abs().max() / before.abs().max())
        median = replace(PROBES["dse"], applies=lambda e: e.name == "input").with_(
            name="dse_median", sigma="median"
        )
        found = _values(Network(other), x, y, sample, [*probes("input"), median], layers=[_last(other)])
        rows.append({"factor": factor, "moved": moved} | found)
    return pd.DataFrame(rows)


def run_depth(unit: Unit, folder: Path) -> list[str]:
    """Measure the stages of every layer of a Deep RFM, and of random features without its projection."""
    options, data = dict(unit.options), _points(unit)
    x, y, x_held, y_held = _tensors(data, images=False)
    config = DeepRFMConfig(**options["deep_rfm"], seed=unit.seed)
    sample = MeasureOptions(random_state=unit.seed, rows=min(options["rows"], len(x), len(x_held)))
    rows = []
    for rule in RULES:
        for layer, views in enumerate(control_views(rule, x, y, x_held, config), start=1):
            for points, view, labels in zip(POINTS, views, (y, y_held), strict=True):
                assert view is not None
                known = {"rule": rule, "points": points, "layer": layer, **_of_classes(data)}
                rows.append(known | _values([view], view.input, labels, sample, probes("projected")))
    write_table(folder, "curves", pd.DataFrame(rows))
    return list(data.notes)


def run_anchors(unit: Unit, folder: Path) -> list[str]:
    """The entropy of k classes that collapsed to the vertices of a simplex, by bandwidth, and its closed form."""
    options, rows = dict(unit.options), []
    generator = stream(unit.seed, 0)
    for k in options["classes"]:
        y = torch.arange(k * options["per_class"]) % k
        for kind, Z in (
            ("collapsed", _vertices(k, y, generator)),
            ("one cloud", _cloud(len(y), k, generator)),
        ):
            for bandwidth, sigma, fraction in (("rms", "rms", FRACTION), ("median", "median", 1)):
                found = diffusion_spectral_entropy(Z, sigma, fraction=fraction)  # type: ignore[arg-type]
                affinity = math.exp(-((math.sqrt(2) / found.details["sigma"]) ** 2) / 2)
                rows.append(
                    {"points": kind, "classes": k, "bandwidth": bandwidth, "log2_classes": math.log2(k)}
                    | {"dse": float(found), "predicted": equidistant_entropy(k, affinity)}
                )
    write_table(folder, "anchors", pd.DataFrame(rows))
    return []


def equidistant_entropy(k: int, affinity: float) -> float:
    r"""The diffusion spectral entropy, in bits, of k balanced classes that are one point each, all at the same distance.

    With the affinity q between two classes, the walk has the eigenvalues 1 and, k − 1 times, :math:`(1 - q) / (1 + (k - 1) q)`.

    >>> equidistant_entropy(8, 0.0), equidistant_entropy(8, 1.0)
    (3.0, 0.0)
    """
    other = (1 - affinity) / (1 + (k - 1) * affinity)
    values = np.array([1.0] + [other] * (k - 1))
    shares = values[values > 0] / values.sum()
    return float(abs(-(shares * np.log2(shares)).sum()))


def _vertices(k: int, y: Int[Tensor, " n"], generator: torch.Generator) -> Float[Tensor, "n k"]:
    """A randomly turned simplex whose vertices are √2 apart, with a class at each."""
    Q, _ = torch.linalg.qr(torch.randn(k, k, generator=generator, dtype=torch.float64))
    return Q[y]


def _cloud(n: int, k: int, generator: torch.Generator) -> Float[Tensor, "n k"]:
    """Gaussian points without any classes, of the same number and dimension."""
    return torch.randn(n, k, generator=generator, dtype=torch.float64)
