"""What a run is asked to do: one field per option of its command, and nothing else decides the numbers."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from agop._checks import integer, one_of, real

_WHERE_AND_HOW = ("data_root", "download", "max_memory")
"""Where files are and what the machine can take: a run continues under other values of these."""


@dataclass(frozen=True, kw_only=True)
class DeepRFMConfig:
    """The options of `agop deep-rfm`; the defaults are the ones of the command."""

    data: str = "digits"
    data_root: str | None = None
    download: bool = False
    n_train: int | None = None
    n_test: int | None = None
    subset: str = "first"
    layers: int = 8
    width: int = 1024
    feature_map: str = "relu"
    feature_bandwidth: float = 20.0
    kernel: str = "laplace"
    bandwidth: float = 2.0
    ridge: float = 1e-3
    solver: str = "auto"
    precision: str = "mixed"
    max_memory: str | None = None
    device: str = "cpu"
    dtype: str = "float32"
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what no data set and no machine could make right, before anything is loaded."""
        integer("layers", self.layers, at_least=1)
        integer("width", self.width, at_least=1)
        integer("seed", self.seed, at_least=0)
        real("bandwidth", self.bandwidth, above=0)
        real("feature_bandwidth", self.feature_bandwidth, above=0)
        real("ridge", self.ridge, at_least=0)
        one_of("dtype", self.dtype, ("float32", "float64"))
        one_of("subset", self.subset, ("first", "random"))

    def identity(self) -> dict[str, Any]:
        """The options that decide the numbers."""
        return {name: value for name, value in asdict(self).items() if name not in _WHERE_AND_HOW}

    def command(self) -> str:
        """The shell command of this run, with every option, so that new defaults change nothing."""
        return "agop deep-rfm " + " ".join(_arguments(self.identity()))


def _arguments(options: Mapping[str, Any]) -> list[str]:
    given = {name.replace("_", "-"): value for name, value in options.items() if value is not None}
    return [f"--{name} {shlex.quote(str(value))}" for name, value in given.items()]
