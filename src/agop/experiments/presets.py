"""What `agop reproduce` runs: presets, and the units that a preset, data sets and seeds make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from agop._checks import bad_value, one_of
from agop.datasets import load
from agop.experiments.units import DataSource, Unit

EXPERIMENTS = ("deep-rfm", "networks", "theory")
"""What can be asked for; "all" is the three of them."""


@dataclass(frozen=True, kw_only=True)
class Preset:
    """Sizes of a reproduction; points None are all there are.

    `points`, `layers`, `width` are those of the paper's Deep RFM; `control_points` of controls, label noise and the theory's reach;
    `deep_points`, `deep_layers` of the comparison of arithmetics; `theory_points` of the linearised theory; `per_class` of kernel
    learning; `architectures`, `network_points`, `network_width`, `epochs` of the networks. `threads` is the number of torch's threads per
    unit (None: torch's own). Networks are trained by SGD with `batch_size` and `momentum`: the paper's 128 and 0 in "paper", and what gets
    there in a quarter of the epochs in the small ones.
    """

    data: tuple[str, ...]
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
    threads: int | None = 1


PRESETS = {
    "smoke": Preset(
        data=("digits",), points=800, layers=10, width=256, control_points=600, deep_points=500, deep_layers=20,
        theory_points=150, per_class=5, network_points=800, network_width=128, epochs=100,
    ),
    "small": Preset(
        data=("fashion-mnist",), points=2000, layers=12, width=512, control_points=1000, deep_points=1000,
        deep_layers=20, theory_points=300, per_class=8, network_points=4000, network_width=256, epochs=100,
    ),
    "paper": Preset(
        data=("mnist", "cifar10", "svhn"), points=None, layers=20, width=1024, control_points=5000, deep_points=1000,
        deep_layers=20, theory_points=500, per_class=10, architectures=("mlp", "resnet18", "vgg11"),
        network_points=None, network_width=512, epochs=400, batch_size=128, momentum=0.0, threads=None,
    ),
}  # fmt: skip
"""smoke: minutes on the bundled digits; small: well under an hour on two cores; paper: the paper's sizes."""

_TRAINING = {
    "depth": 5, "init_gain": 0.3, "lr": 0.05, "optimiser": "sgd", "weight_decay": 0.0,
    "schedule": "constant", "loss": "mse", "pool": "mean",
}  # fmt: skip
"""Every option that decides a network's numbers, so that new defaults of `agop network` make no old unit look current."""

_RULES = ("random", "pca", "identity", "shuffled")
_SHIFTS = [[0.01, 0.1], [0.03, 0.1], [0.1, 0.1], [0.3, 0.1], [1.0, 0.1], [1.0, 1.0], [0.1, 1.0]]
_WIDTHS = [500, 1000, 2000, 4000, 8000]


def chosen_experiments(which: str) -> tuple[str, ...]:
    """The experiments that a word of the command line stands for."""
    one_of("experiment", which, (*EXPERIMENTS, "all"))
    return EXPERIMENTS if which == "all" else (which,)


def plan(
    experiments: Sequence[str],
    preset: Preset,
    data: Sequence[str],
    seeds: Sequence[int],
    *,
    root: str | None = None,
    download: bool = False,
) -> list[Unit]:
    """Every unit, data set by data set and seed by seed; data sets are loaded once, to be fetched and fingerprinted.

    Raises
    ------
    ValueError
        One sentence, if a data set can't be loaded, or two of them or two seeds are the same.

    """
    if len(set(seeds)) != len(seeds) or not seeds:
        raise bad_value("seeds", "different seeds", " ".join(map(str, seeds)) or "none")
    units: list[Unit] = []
    for name in data:
        whole = load(name, root=root, download=download)
        source = DataSource(name=name, fingerprint=whole.fingerprint(), root=root)
        if any(unit.data.label == source.label for unit in units):
            raise bad_value("data", "data sets with different names", f"two called {source.label!r}")
        for seed in seeds:
            maker = _Maker(preset, source, len(whole.x_train), seed)
            for experiment in experiments:
                units += maker.units(experiment)
    return units


@dataclass(frozen=True)
class _Maker:
    preset: Preset
    source: DataSource
    available: int
    seed: int

    def units(self, experiment: str) -> list[Unit]:
        if experiment == "deep-rfm":
            return self._deep_rfm()
        return self._theory() if experiment == "theory" else self._networks()

    def _unit(self, kind: str, table: str, points: int | None, **options: Any) -> Unit:
        n_train = None if points is None or points >= self.available else points
        data = DataSource(self.source.name, self.source.fingerprint, self.source.root, n_train)
        return Unit(kind, table, self.seed, data, options)

    def _stack(self, name: str, points: int | None, layers: int, **more: Any) -> Unit:
        options = {"layers": layers, "width": self.preset.width, "bandwidth": 2.0, "ridge": 1e-3} | more
        kind = "control" if "rule" in more else "deep-rfm"
        return self._unit(kind, f"{kind}/{name}", points, **options)

    def _deep_rfm(self) -> list[Unit]:
        p = self.preset
        return [
            self._stack("relu", p.points, p.layers, permuted=True),
            self._stack("cosine", p.points, p.layers, feature_map="fourier", feature_bandwidth=20.0),
            self._stack("float64", p.deep_points, p.deep_layers, dtype="float64"),
            self._stack("float32", p.deep_points, p.deep_layers, dtype="float32"),
            self._stack("naive", p.deep_points, p.deep_layers, rule="naive"),
            self._stack("noise", p.control_points, p.layers, noise=0.2),
            self._stack("imbalanced", p.points, p.layers, imbalance=0.1),
            self._stack("agop", p.control_points, p.layers, rule="agop"),
            *(self._stack(rule, p.control_points, p.layers, rule=rule) for rule in _RULES),
        ]

    def _networks(self) -> list[Unit]:
        p = self.preset
        options = _TRAINING | {
            "batch_size": self.preset.batch_size,
            "momentum": self.preset.momentum,
            "width": p.network_width,
            "epochs": p.epochs,
            "measure_every": max(1, p.epochs // 20),
        }
        return [
            self._unit("network", f"networks/{arch}", p.network_points, arch=arch, **options)
            for arch in p.architectures
        ]

    def _theory(self) -> list[Unit]:
        p = self.preset
        layers = min(10, p.layers)
        return [
            self._unit(
                "linearised", "theory/linearised", p.theory_points, layers=layers, shifts=_SHIFTS,
                widths=_WIDTHS, wide_shifts=[0.1, 0.1],
            ),
            self._unit(
                "reach", "theory/reach", p.control_points, layers=layers, width=p.width, bandwidth=2.0, ridge=1e-3,
            ),
            self._unit(
                "kernel", "theory/kernel", max(1000, p.theory_points), per_class=p.per_class, mu=0.5, bandwidth=2.0,
                max_steps=2000,
            ),
        ]  # fmt: skip
