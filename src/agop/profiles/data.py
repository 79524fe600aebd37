"""What `profile` hands to a source: samples, labels, which layers, and how much may be kept of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from agop import _checks
from agop._memory import parse_memory
from agop.evidence import Evidence, Need


@dataclass(frozen=True, kw_only=True)
class MeasureOptions:
    """How much of the samples a profile keeps for measures that need rows.

    Attributes
    ----------
    random_state
        Seed of the one sample of the samples that all measures of rows share.
    rows
        Its size; None: as many as the most demanding measure asks for, 1,000 by default.
    max_memory
        For these rows, in all layers together: bytes, or a text such as "2GB"; None: half of what is free. Asking for more is refused
        before the data pass.
    """

    random_state: int = 0
    rows: int | None = None
    max_memory: int | str | None = None

    def __post_init__(self) -> None:
        _checks.integer("options.random_state", self.random_state, at_least=0)
        if self.rows is not None:
            _checks.integer("options.rows", self.rows, at_least=1)
        if self.max_memory is not None:
            parse_memory("options.max_memory", self.max_memory)


@dataclass(frozen=True, eq=False, kw_only=True)
class Data:
    """The samples that a source reads; `strict`: what can't be had was asked for by name, so it is an error."""

    X: Any = None
    y: Any = None
    layers: Any = None
    batch_size: int | None = None
    strict: bool = False
    options: MeasureOptions = field(default_factory=MeasureOptions)


@runtime_checkable
class Source(Protocol):
    """A subject that yields evidence: its layers in their order, then itself.

    `kind` is a key of `agop.probes.DEFAULTS`, `name` what a profile calls it, `offers` the kinds of needs that it can fill.
    """

    @property
    def kind(self) -> str:
        """Which default measures it has."""
        ...

    @property
    def name(self) -> str:
        """What a profile calls it."""
        ...

    @property
    def offers(self) -> frozenset[str]:
        """The kinds of needs that it can fill."""
        ...

    def read(self, data: Data, needs: frozenset[Need]) -> Iterator[Evidence]:
        """The layers, each as evidence of level "layer", and at last the whole, of level "subject", whose parts `profile` fills in."""
        ...
