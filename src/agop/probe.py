"""`Probe`: a measurement with a name, what it needs, how it is shown and where it comes from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from agop._checks import bad_type, bad_value, one_of
from agop.evidence import LEVELS, Evidence, Level, Need
from agop.measurement import Measurement

PROPERTIES = ("order", "labels", "shift", "rotation", "scale", "batches")
"""Changes of the data that may leave a value as it is: another order of rows, other names of classes, a constant added to every row, a
rotation, a scale, another division into batches."""


@dataclass(frozen=True, eq=False)
class Curve:
    """Values along something: a width, a class, an index; `spread` is their standard deviation where they are means."""

    x: Sequence[float]
    value: Sequence[float]
    spread: Sequence[float] | None = None


Results = Mapping[str, Measurement | Curve]


@dataclass(frozen=True, eq=False, kw_only=True)
class Probe:
    r"""One measurement: a function of evidence, and everything that tables, figures, pages and tests need to know of it.

    Attributes
    ----------
    name
        Column of tables, key of the registry.
    measure
        `measure(evidence, **options)` gives a number, a `Measurement` (which may say why it is undefined), or a dict of numbers,
        measurements and curves (`Curve`) whose keys are `columns`.
    level
        "stage": once for each stage of each layer; "layer": once a layer; "subject": once, with all layers on the same samples as parts.
    needs
        What the evidence must hold: names of `agop.evidence.NEEDS`, or `Need` objects with options.
    label
        What an axis or a heading shows; default: the name.
    short
        A short heading, such as NC1, for readers who know the measure; default: the label. An axis with it shows no arrow: the meaning,
        which stands beside it, says where collapse lies.
    meaning
        What the value says, in a few words.
    scale
        "log" or "linear": of the axis. A log axis is linear about zero where there are values that are not positive.
    towards
        Where collapse (or what the probe is about) lies: "lower", "higher", a number, or a function of the evidence that gives one; None:
        nowhere.
    range, formula, source
        For people: the interval, the definition with its reduction, paper and equation.
    applies
        False where the probe makes no sense (a classifier's measure at a layer that is none): the cell stays empty, without a note.
        What a probe *needs* and does not find is undefined, with a note.
    columns
        The keys of a dict that `measure` gives.
    every_layer
        Of a probe of level "subject": whether each layer must have what it needs. By default layers that lack it are left out.
    invariant
        Which of `PROPERTIES` leave the value as it is; the conformance suite checks these, and by a counterexample the others.
    options
        Keyword arguments of `measure`; see `with_`.
    example
        Makes a small evidence on which the conformance suite can measure; None: the suite makes one from `needs`.

    Examples
    --------
    >>> spread = Probe(name="spread", needs={"rows"}, measure=lambda e: e.rows.std())
    >>> import torch
    >>> rows = torch.tensor([[1.0], [3.0]])
    >>> spread(Evidence(name="input", level="stage", given={Need("rows"): rows}))
    spread[spread] = 1.41421
    """

    name: str
    measure: Callable[..., Any]
    level: Level = "stage"
    needs: Iterable[str | Need] = ("moments",)
    label: str = ""
    short: str = ""
    meaning: str = ""
    scale: Literal["log", "linear"] = "linear"
    towards: str | float | Callable[[Evidence], float] | None = None
    range: str = ""
    formula: str = ""
    source: str = ""
    applies: Callable[[Evidence], bool] = lambda evidence: True
    columns: tuple[str, ...] = ()
    every_layer: bool = False
    invariant: Iterable[str] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    example: Callable[[], Evidence] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise bad_type("name", "a text", repr(self.name))
        if not callable(self.measure):
            raise bad_type("measure", "a function of the evidence", repr(self.measure))
        one_of("level", self.level, LEVELS)
        one_of("scale", self.scale, ("log", "linear"))
        needs = (self.needs,) if isinstance(self.needs, str | Need) else self.needs
        if not isinstance(needs, Iterable):
            raise bad_type("needs", "names of needs, or Need(…)", repr(needs))
        object.__setattr__(self, "needs", frozenset(Need.of(need) for need in needs))
        object.__setattr__(self, "columns", tuple(self.columns) or (self.name,))
        object.__setattr__(self, "invariant", frozenset(self.invariant))
        object.__setattr__(self, "label", self.label or self.name)
        for change in self.invariant:
            one_of("invariant", change, PROPERTIES)

    def with_(self, *, name: str | None = None, label: str | None = None, **options: Any) -> Probe:
        """The same probe with other options of its function, under a name of its own if both are to be measured.

        >>> import math
        >>> power = Probe(name="power", needs=(), measure=lambda e, base=2: base**3)
        >>> cube = power.with_(name="cube", base=3)
        >>> cube(Evidence(name="input", level="stage"))
        cube[power] = 27
        """
        if len(self.columns) > 1 and name is not None and name != self.name:
            raise bad_value("name", f"{self.name!r}, whose columns have names of their own", repr(name))
        name = name or self.name
        columns = (name,) if len(self.columns) == 1 else self.columns
        return replace(
            self, name=name, label=label or self.label, short="" if label else self.short, columns=columns,
            options={**self.options, **options},
        )  # fmt: skip

    def goal(self, evidence: Evidence) -> str | float | None:
        """Where collapse lies for this evidence: "lower", "higher" or a number; None where that can't be said."""
        if not callable(self.towards):
            return self.towards
        there = all(evidence.has(need) for need in self.needed)
        return float(self.towards(evidence)) if there else None

    def __call__(self, evidence: Evidence) -> Measurement:
        """The value, of a probe that has only one; computed once for each piece of evidence."""
        value = self.results(evidence)[self.columns[0]]
        if not isinstance(value, Measurement):
            raise bad_type(self.name, "a probe with one number", "one with a curve", "call .results")
        return value

    def results(self, evidence: Evidence) -> Results:
        """Every column of the probe, computed once for each piece of evidence; what lacks a need is undefined, with the reason.

        What `measure` raises goes through: `agop.profile` makes it a reason, so that the other measures are not lost.
        """
        if self not in evidence.measured:
            evidence.measured[self] = self._results(evidence)
        return evidence.measured[self]

    def undefined(self, reason: str) -> Results:
        """Every column without a value, for this reason."""
        return {column: Measurement.undefined(column, self.label, reason) for column in self.columns}

    def _results(self, evidence: Evidence) -> Results:
        known = {column: evidence.known[column] for column in self.columns if column in evidence.known}
        if len(known) == len(self.columns):
            return {column: self._value(column, value, "theory") for column, value in known.items()}
        lacking = sorted({need.kind for need in self.needed if not evidence.has(need)})
        if lacking:
            reasons = [evidence.lacking.get(kind, f"there is no {kind} here") for kind in lacking]
            return self.undefined("; ".join(reasons))
        if (
            any(need.kind == "rows" for need in self.needed)
            and evidence.rows is not None
            and len(evidence.rows) == 0
        ):
            return self.undefined("there are no samples")
        found = self.measure(evidence, **self.options)
        found = found if isinstance(found, Mapping) else {self.columns[0]: found}
        unknown = [str(column) for column in found if column not in self.columns]
        if unknown:
            raise bad_value(
                self.name,
                f"the columns {', '.join(self.columns)}",
                ", ".join(unknown),
                "declare them as columns=",
            )
        return {column: self._value(column, found.get(column, float("nan"))) for column in self.columns}

    @property
    def needed(self) -> frozenset[Need]:
        """The needs as `Need` objects."""
        return frozenset(Need.of(need) for need in self.needs)

    def _value(self, column: str, value: Any, definition: str = "") -> Measurement | Curve:
        if isinstance(value, Curve):
            return value
        if isinstance(value, Measurement):
            value.name = column
            return value
        if isinstance(value, Sequence) or getattr(value, "ndim", 0) > 0:
            numbers = [float(entry) for entry in value]
            return Curve(range(len(numbers)), numbers)
        return Measurement(float(value), column, definition or self.label)


def needs_of(probes: Iterable[Probe]) -> frozenset[Need]:
    """Everything that some of the probes need."""
    return frozenset(need for probe in probes for need in probe.needed)
