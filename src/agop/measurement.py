"""A measured number that knows its definition and, when it has no value, why."""

from __future__ import annotations

from typing import Any

from agop._tables import UNDEFINED, Cell, table


class Measurement(float):
    """A `float` with its definition; NaN together with the reason where the measure is undefined.

    Attributes
    ----------
    name
        What was measured, e.g. ``"nc1"``.
    definition
        Which of the published definitions.
    undefined_because
        None, or one sentence on why there is no value; then the float is NaN, never 0.
    details
        What else the computation used or left out: ranks, tolerances, numbers of classes, per-class values.

    """

    name: str
    definition: str
    undefined_because: str | None
    details: dict[str, Any]

    def __new__(
        cls,
        value: float | int,
        name: str,
        definition: str,
        undefined_because: str | None = None,
        details: dict[str, Any] | None = None,
    ) -> Measurement:
        """NaN if there is a reason why the measure is undefined, else the value."""
        self = super().__new__(cls, float("nan") if undefined_because is not None else value)
        self.name = name
        self.definition = definition
        self.undefined_because = undefined_because
        self.details = dict(details or {})
        return self

    @classmethod
    def undefined(
        cls, name: str, definition: str, because: str, details: dict[str, Any] | None = None
    ) -> Measurement:
        """A measure without a value."""
        return cls(float("nan"), name, definition, because, details)

    @property
    def defined(self) -> bool:
        """Whether there is a value."""
        return self.undefined_because is None

    def __reduce__(self) -> tuple[type[Measurement], tuple[Any, ...]]:
        return type(self), (float(self), self.name, self.definition, self.undefined_because, self.details)

    def __repr__(self) -> str:
        if self.undefined_because is not None:
            return f"{self.name}[{self.definition}] undefined: {self.undefined_because}"
        return f"{self.name}[{self.definition}] = {float(self):.6g}"

    def __str__(self) -> str:
        return float.__repr__(self)

    def _repr_html_(self) -> str:
        """Name, definition and value in a notebook; where it is undefined, why."""
        value = Cell(f"{float(self):.6g}") if self.defined else Cell(UNDEFINED, self.undefined_because or "")
        notes = [] if self.defined else [f"undefined: {self.undefined_because}"]
        return table(self.name, ["definition", "value"], [[self.definition, value]], notes)
