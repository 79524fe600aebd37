"""What is known of a subject, as a tree: subject → layers → stages. A probe measures on a node of it.

A source (a network, a Deep RFM, a theory) puts into the tree what some probe *needs*, and nothing else: class moments are streamed,
rows are those of one bounded sample of the samples, the same in every layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from agop._checks import bad_type, one_of

Level = Literal["stage", "layer", "subject"]
LEVELS = ("stage", "layer", "subject")
"""Where a node of the tree stands, and where the value of a probe lands."""

NEEDS: dict[str, str] = {
    "moments": "class moments of all rows of a stage, a `ClassMoments`",
    "scatter": "class moments with the (d, d) scatter within classes",
    "rows": "rows (m, d) of a stage for one seeded sample of the samples, the same in every layer",
    "labels": "the class index (m,) of each of these rows",
    "weight": "of a stage: the matrix (C, d) of the classifier that reads it; of a layer: the weight (k, d) of its linear map",
    "bias": "of a stage: what that classifier adds, (C,)",
    "decisions": "the class index (m,) that a classifier decides for each of the rows",
    "logits": "what a classifier makes of the rows, (m, C)",
    "ood": "the mean (d,) of rows from none of the classes",
    "feature_matrix": "of a layer: its feature matrix (d, d); of a network WᵀW",
    "agop": "of a layer: the AGOP (d, d) of the subject with respect to what this layer reads",
    "initial_weight": "of a layer: its weight (k, d) when training began",
    "output_gram": "of a layer: the mean outer product (k, k) of the gradients of the outputs at what its linear map gives",
    "critical_weight": "of a layer: −1/λ times the gradient (k, d) of the training loss with respect to its weight, λ its decay",
    "function": "of a subject: what it makes of samples, a callable that returns (n, c)",
    "inputs": "of a subject: the samples of the rows, (m, …)",
}
"""Everything that a probe may need, and what a source puts there."""


@dataclass(frozen=True, init=False)
class Need:
    """Something that a probe needs: a kind from `NEEDS`, with options where the default isn't meant.

    Options
    -------
    stage
        Of "moments", "rows", "labels": only at this stage (default: at all of them).
    n
        Of "rows": samples at least (default 1,000, or all there are); `"all"` is refused above `max_memory`.
    per_class
        Of "rows": samples of each class at least, where there are so many.

    Examples
    --------
    >>> Need("rows", stage="output", n=500)
    Need('rows', n=500, stage='output')
    """

    kind: str
    options: tuple[tuple[str, Any], ...]

    def __init__(self, kind: str, **options: Any) -> None:
        object.__setattr__(self, "kind", one_of("needs", kind, NEEDS))
        object.__setattr__(self, "options", tuple(sorted(options.items())))
        for name in options:
            one_of(f"options of the need {kind!r}", name, ("stage", "n", "per_class"))

    def __getitem__(self, option: str) -> Any:
        return dict(self.options).get(option)

    def __repr__(self) -> str:
        return f"Need({', '.join([repr(self.kind), *(f'{name}={value!r}' for name, value in self.options)])})"

    @classmethod
    def of(cls, need: str | Need) -> Need:
        """The need that a plain string is short for."""
        if isinstance(need, Need):
            return need
        if not isinstance(need, str):
            raise bad_type("needs", "names of needs, or Need(…)", repr(need))
        return cls(need)


@dataclass(frozen=True, eq=False, kw_only=True)
class Evidence:
    """A node of the tree: a stage, a layer with its stages, or a subject with its layers.

    Attributes
    ----------
    name
        Of the stage ("input", "projected", "output"), the layer, or the subject.
    level
        "stage", "layer" or "subject".
    number
        Of a layer, from 1; of a stage, that of its layer.
    given
        What there is, by need. The properties `rows`, `labels`, `moments`, … read it and are None where there is nothing.
    known
        Values that need no measuring, by the name of a probe: those of a theory. A number, a `Measurement`, or a vector by index.
    parts
        The stages of a layer, the layers of a subject.
    about
        What the source says of a layer beside numbers: columns of the profile's table by layer.
    lacking
        Why something is not there, by kind of need.
    notes
        What a reader must know of this node.
    """

    name: str
    level: Level
    number: int = 0
    given: Mapping[Need, Any] = field(default_factory=dict)
    known: Mapping[str, Any] = field(default_factory=dict)
    parts: tuple[Evidence, ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict)
    lacking: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    measured: dict[Any, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, name: str = "features", level: Level = "stage", **given: Any) -> Evidence:
        """Evidence by hand: `Evidence.of(moments=…, weight=…)`; what is None is not there.

        >>> Evidence.of(weight=None, bias=3).has("weight")
        False
        """
        there = {Need(kind): value for kind, value in given.items() if value is not None}
        return cls(name=name, level=level, given=there)

    def get(self, need: str | Need) -> Any:
        """What was given for this need, or for another of its kind; None if there is nothing."""
        need = Need.of(need)
        if need in self.given:
            return self.given[need]
        return next((value for key, value in self.given.items() if key.kind == need.kind), None)

    def has(self, need: str | Need) -> bool:
        """Whether there is something for this need here, or in some part."""
        need = Need.of(need)
        stage = need["stage"]
        if self.level == "stage" and stage is not None and self.name != stage:
            return False
        return self.get(need) is not None or any(part.has(need) for part in self.parts)

    def at(self, level: Level) -> Iterator[Evidence]:
        """The nodes of this level, in their order."""
        if self.level == level:
            yield self
        else:
            for part in self.parts:
                yield from part.at(level)

    def part(self, name: str) -> Evidence | None:
        """The part of this name, for instance a layer's stage "output"; None if there is none."""
        return next((part for part in self.parts if part.name == name), None)

    def with_parts(self, parts: tuple[Evidence, ...]) -> Evidence:
        """The same node with these parts."""
        return replace(self, parts=parts, measured={})

    @property
    def moments(self) -> Any:
        """Class moments of the stage's rows, a `ClassMoments`."""
        return self.get("moments") if self.get("scatter") is None else self.get("scatter")

    @property
    def rows(self) -> Any:
        """Rows (m, d) of the sample."""
        return self.get("rows")

    @property
    def labels(self) -> Any:
        """The class index (m,) of each row of `rows`."""
        return self.get("labels")

    @property
    def weight(self) -> Any:
        """Of a stage: the (C, d) matrix of the classifier that reads it; of a layer: the weight (k, d) of its linear map."""
        return self.get("weight")

    @property
    def bias(self) -> Any:
        """Of a stage: what its classifier adds (C,)."""
        return self.get("bias")

    @property
    def logits(self) -> Any:
        """What a classifier made of the rows, (m, C)."""
        return self.get("logits")

    @property
    def ood(self) -> Any:
        """The mean (d,) of rows from none of the classes."""
        return self.get("ood")

    @property
    def feature_matrix(self) -> Any:
        """Of a layer: its feature matrix (d, d)."""
        return self.get("feature_matrix")

    @property
    def agop(self) -> Any:
        """Of a layer: the AGOP (d, d)."""
        return self.get("agop")

    @property
    def function(self) -> Any:
        """Of a subject: what it makes of samples."""
        return self.get("function")

    @property
    def inputs(self) -> Any:
        """Of a subject: the samples whose rows are kept."""
        return self.get("inputs")
