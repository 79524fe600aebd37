"""How to profile a network: the parameters of `agop.profile` that only networks have."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agop import _checks
from agop.collapse.registry import MEASURES
from agop.gradients.calling import OutputPick
from agop.gradients.taps import Layers
from agop.profiles import pooling
from agop.profiles.reader import Nonlinearity

DEFAULT_MEASURES = ("nc1", "nc2", "nc3", "nfa")
"""What a network is measured with unless the caller says otherwise."""


def measure_names(measures: Any) -> Sequence[str]:
    """Names of measures as a sequence, each once."""
    if measures is None:
        return ()
    if isinstance(measures, str) or not isinstance(measures, Sequence):
        raise _checks.bad_type("measures", "a list of names", repr(measures))
    if len(set(map(str, measures))) < len(measures):
        raise _checks.bad_value("measures", "names that differ", repr(measures))
    return measures


@dataclass
class NetworkOptions:
    """How to profile a network; see `agop.profile`."""

    layers: Layers = None
    measures: Sequence[str] | None = None
    pool: str = "mean"
    nonlinearity: Mapping[str, Nonlinearity] = field(default_factory=dict)
    power: float = 0.5
    outputs: int | Sequence[int] | str | None = "auto"
    output: OutputPick = None
    batch_size: int | None = None
    inputs: Callable[[Any], Any] | None = None
    targets: Callable[[Any], Any] | None = None

    def __post_init__(self) -> None:
        _checks.one_of("pool", self.pool, pooling.POOLS)
        _checks.real("power", self.power, above=0)
        if self.batch_size is not None:
            _checks.integer("batch_size", self.batch_size, at_least=1)
        for name in measure_names(self.measures):
            one_pass = (key for key, measure in MEASURES.items() if measure.needs <= {"moments", "weight"})
            _checks.one_of("measures", name, ("nfa", *one_pass))

    @property
    def names(self) -> tuple[str, ...]:
        """The measures by name, the NFA included."""
        return tuple(DEFAULT_MEASURES if self.measures is None else self.measures)
