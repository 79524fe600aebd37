"""What `agop network` and `agop profile` are asked to do: one field per option."""

from __future__ import annotations

import shlex
from dataclasses import asdict, dataclass
from typing import Any

from agop._checks import integer, one_of, real
from agop.networks.models import ARCHITECTURES
from agop.networks.training import Training
from agop.profiles.pooling import POOLS

_WHERE = ("data_root", "download")
"""Where files are: a run continues under other values of these."""


@dataclass(frozen=True, kw_only=True)
class _Data:
    """The options that choose the points."""

    data: str = "digits"
    data_root: str | None = None
    download: bool = False
    n_train: int | None = None
    n_test: int | None = None
    subset: str = "first"

    def identity(self) -> dict[str, Any]:
        """The options that decide the numbers."""
        return {name: value for name, value in asdict(self).items() if name not in _WHERE}

    def _command(self, verb: str) -> str:
        """The shell command of this run, with every option, so that new defaults change nothing."""
        words = [f"agop {verb}"]
        for name, value in self.identity().items():
            option = name.replace("_", "-")
            if isinstance(value, bool):
                words.append(f"--{option}" if value else f"--no-{option}")
            elif value is not None:
                words.append(f"--{option} {shlex.quote(str(value))}")
        return " ".join(words)


@dataclass(frozen=True, kw_only=True)
class NetworkConfig(_Data):
    """The options of `agop network`; the defaults are the ones of the command."""

    arch: str = "mlp"
    width: int = 256
    depth: int = 5
    init_gain: float = 0.3
    epochs: int = 100
    lr: float = 0.05
    batch_size: int = 64
    optimiser: str = "sgd"
    momentum: float = 0.9
    weight_decay: float = 0.0
    schedule: str = "constant"
    loss: str = "mse"
    measure_every: int = 10
    measure: str = "head"
    pool: str = "mean"
    untrained: bool = True
    seed: int = 0
    device: str = "cpu"
    dtype: str = "float32"

    def __post_init__(self) -> None:
        """Refuse what no data set and no machine could make right, before anything is loaded."""
        one_of("arch", self.arch, ARCHITECTURES)
        integer("width", self.width, at_least=1)
        integer("depth", self.depth, at_least=1)
        real("init_gain", self.init_gain, above=0)
        integer("measure_every", self.measure_every, at_least=1)
        one_of("measure", self.measure, ("head", "all"))
        one_of("pool", self.pool, POOLS)
        one_of("dtype", self.dtype, ("float32", "float64"))
        one_of("subset", self.subset, ("first", "random"))
        integer("epochs", self.epochs, at_least=1)
        self.training()

    def training(self) -> Training:
        """The part of the options that the training needs."""
        return Training(
            epochs=self.epochs,
            batch_size=self.batch_size,
            lr=self.lr,
            optimiser=self.optimiser,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            schedule=self.schedule,
            loss=self.loss,
            seed=self.seed,
        )

    def command(self) -> str:
        """The shell command of this run."""
        return self._command("network")

    def measured_at(self, epoch: int) -> bool:
        """Whether the layers are measured after this epoch (0: before training); the last one always is."""
        return epoch % self.measure_every == 0 or epoch == self.epochs


@dataclass(frozen=True, kw_only=True)
class ProfileConfig(_Data):
    """The options of `agop profile`; the defaults are the ones of the command."""

    model: str = ""
    weights: str | None = None
    trust_pickle: bool = False
    points: str = "auto"
    standardise: bool = True
    layers: str | None = None
    pool: str = "mean"
    nfa: bool = True
    untrained: bool = True
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        """Refuse what no data set and no machine could make right, before anything is loaded."""
        one_of("points", self.points, ("auto", "images", "rows"))
        one_of("pool", self.pool, POOLS)
        one_of("subset", self.subset, ("first", "random"))
        integer("seed", self.seed, at_least=0)

    def command(self) -> str:
        """The shell command of this run."""
        return self._command("profile")
