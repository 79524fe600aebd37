"""Beaglehole, Súkeník, Mondelli, Belkin 2024: deep neural collapse by average gradient outer products.

stacks.py, controls.py   Deep RFM and what stands in the place of its projection      claims.py          C1, C2, B1-B7, N1-N6
networks.py              trained networks                                             network_claims.py  C3, C4, N8, N9
theory.py                the linearised Deep RFM and kernel learning                  theory_claims.py   C5, C6, B8-B10, N7
drawings.py              every figure
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from agop.experiments.claims import Claim
from agop.experiments.drawing import Drawing
from agop.experiments.studies.beaglehole2024.claims import BEYOND, CONTROLS, DEEP_RFM
from agop.experiments.studies.beaglehole2024.drawings import figures
from agop.experiments.studies.beaglehole2024.network_claims import network_claims
from agop.experiments.studies.beaglehole2024.theory_claims import THEORY
from agop.experiments.study import Citation, Study
from agop.experiments.units import DataSource, Points, Unit


@dataclass(frozen=True, kw_only=True)
class Amounts:
    """What a size means here; points None are all there are.

    `points`, `layers`, `width` are those of the paper's Deep RFM; `control_points` of controls, label noise and the theory's reach;
    `deep_points`, `deep_layers` of the comparison of precisions; `theory_points`, `shifts`, `widths` of the linearised theory;
    `per_class` of kernel learning; `architectures`, `network_points`, `network_width`, `epochs` of the networks. Networks are trained by
    SGD with `batch_size` and `momentum`: the paper's 128 and 0 in "paper", and what gets there in a quarter of the epochs in the small
    ones.
    """

    points: int | None
    layers: int
    width: int
    control_points: int
    deep_points: int
    deep_layers: int
    theory_points: int
    per_class: int
    architectures: tuple[str, ...] = ("mlp",)
    network_points: int | None
    network_width: int
    epochs: int
    batch_size: int = 64
    momentum: float = 0.9
    shifts: tuple[tuple[float, float], ...] = (
        (0.01, 0.1), (0.03, 0.1), (0.1, 0.1), (0.3, 0.1), (1.0, 0.1), (1.0, 1.0), (0.1, 1.0),
    )  # fmt: skip
    widths: tuple[int, ...] = (500, 1000, 2000, 4000, 8000)


AMOUNTS = {
    "smoke": Amounts(
        points=800, layers=10, width=256, control_points=600, deep_points=500, deep_layers=20,
        theory_points=150, per_class=5, network_points=800, network_width=128, epochs=100,
    ),
    "small": Amounts(
        points=2000, layers=12, width=512, control_points=1000, deep_points=1000,
        deep_layers=20, theory_points=300, per_class=8, network_points=4000, network_width=256, epochs=100,
    ),
    "paper": Amounts(
        points=None, layers=20, width=1024, control_points=5000, deep_points=1000,
        deep_layers=20, theory_points=500, per_class=10, architectures=("mlp", "resnet18", "vgg11"),
        network_points=None, network_width=512, epochs=400, batch_size=128, momentum=0.0,
    ),
}  # fmt: skip

_TRAINING = {
    "depth": 5, "init_gain": 0.3, "lr": 0.05, "optimiser": "sgd", "weight_decay": 0.0,
    "schedule": "constant", "loss": "mse", "pool": "mean",
}  # fmt: skip
"""Every option that decides a network's numbers, so that new defaults of `agop network` make no old unit look current."""

_RULES = ("random", "pca", "identity", "shuffled")


def units(size: str, seed: int, data: Points) -> Iterator[Unit]:
    """Deep RFMs with their variants and controls, networks, theory."""
    assert isinstance(data, DataSource)
    yield from _deep_rfm(AMOUNTS[size], seed, data)
    yield from _networks(AMOUNTS[size], seed, data)
    yield from _theory(AMOUNTS[size], seed, data)


def _deep_rfm(p: Amounts, seed: int, data: DataSource) -> Iterator[Unit]:
    def stack(name: str, points: int | None, layers: int, **more: Any) -> Unit:
        options = {"layers": layers, "width": p.width, "bandwidth": 2.0, "ridge": 1e-3} | more
        kind = "control" if "rule" in more else "deep-rfm"
        return Unit(kind, f"{kind}/{name}", seed, data.first(points), options, part="deep-rfm")

    yield stack("relu", p.points, p.layers, permuted=True)
    yield stack("cosine", p.points, p.layers, feature_map="fourier", feature_bandwidth=20.0)
    yield stack("float64", p.deep_points, p.deep_layers, dtype="float64")
    yield stack("float32", p.deep_points, p.deep_layers, dtype="float32")
    yield stack("naive", p.deep_points, p.deep_layers, rule="naive")
    yield stack("noise", p.control_points, p.layers, noise=0.2)
    yield stack("imbalanced", p.points, p.layers, imbalance=0.1)
    for rule in ("agop", *_RULES):
        yield stack(rule, p.control_points, p.layers, rule=rule)


def _networks(p: Amounts, seed: int, data: DataSource) -> Iterator[Unit]:
    options = _TRAINING | {
        "batch_size": p.batch_size,
        "momentum": p.momentum,
        "width": p.network_width,
        "epochs": p.epochs,
        "measure_every": max(1, p.epochs // 20),
    }
    for arch in p.architectures:
        own = {"arch": arch, **options}
        yield Unit("network", f"networks/{arch}", seed, data.first(p.network_points), own, part="networks")


def _theory(p: Amounts, seed: int, data: DataSource) -> Iterator[Unit]:
    def unit(kind: str, points: int, **options: Any) -> Unit:
        return Unit(kind, f"theory/{kind}", seed, data.first(points), options, part="theory")

    layers = min(10, p.layers)
    shifts, widths = [list(pair) for pair in p.shifts], list(p.widths)
    yield unit(
        "linearised", p.theory_points, layers=layers, shifts=shifts, widths=widths, wide_shifts=[0.1, 0.1]
    )
    yield unit("reach", p.control_points, layers=layers, width=p.width, bandwidth=2.0, ridge=1e-3)
    few = max(1000, p.theory_points)
    yield unit("kernel", few, per_class=p.per_class, mu=0.5, bandwidth=2.0, max_steps=2000)


def claims(size: str) -> Iterator[Claim]:
    """Those of Deep RFM and the theory, and those of every architecture that is trained."""
    yield from DEEP_RFM + THEORY + BEYOND + CONTROLS
    for arch in AMOUNTS[size].architectures:
        yield from network_claims(arch)


def drawings(size: str) -> Iterator[Drawing]:
    """Section by section."""
    return figures(AMOUNTS[size].architectures)


def facts(size: str) -> Mapping[str, str]:
    """The paper's Deep RFM in numbers."""
    p = AMOUNTS[size]
    points = "all training points" if p.points is None else f"{p.points:,} training points or all"
    rest = f"{p.layers} layers of width {p.width}, Laplace kernel of bandwidth 2, ridge 0.001"
    return {"Deep RFM": f"{points}, {rest}"}


_HERE = "agop.experiments.studies.beaglehole2024"

STUDY = Study(
    name="beaglehole2024",
    title="Deep neural collapse by average gradient outer products",
    cite=Citation(
        authors="Daniel Beaglehole, Peter Súkeník, Marco Mondelli, Mikhail Belkin",
        title="Average gradient outer product as a mechanism for deep neural collapse",
        venue="NeurIPS",
        year=2024,
        arxiv="2402.13728",
    ),
    question="Does projection onto the average gradient outer product, layer after layer, make classes collapse?",
    work={
        "deep-rfm": f"{_HERE}.stacks:run_stack",
        "control": f"{_HERE}.stacks:run_control",
        "network": f"{_HERE}.networks:run_network",
        "linearised": f"{_HERE}.theory:run_linearised",
        "reach": f"{_HERE}.theory:run_reach",
        "kernel": f"{_HERE}.theory:run_kernel",
    },
    units=units,
    claims=claims,
    drawings=drawings,
    data={"smoke": ("digits",), "small": ("fashion-mnist",), "paper": ("mnist", "cifar10", "svhn")},
    replaceable=True,
    parts=("deep-rfm", "networks", "theory"),
    facts=facts,
)
