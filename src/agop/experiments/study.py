"""A study: one paper as data. What is computed at which size, what is claimed of it, and how it is drawn.

A study is a module of `agop.experiments.studies` (or of another package) with a `Study` in it, and a line in the registry `STUDIES`. It
imports nothing heavy: what computes is named by "module:function" and imported where it runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from agop._checks import bad_value
from agop.experiments.claims import GROUPS, Claim
from agop.experiments.drawing import Drawing
from agop.experiments.sizes import SIZES
from agop.experiments.units import Points, Unit

_NAME = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-_")


@dataclass(frozen=True, kw_only=True)
class Citation:
    """Where the paper is to be found; `venue` without the year, `arxiv` its number there."""

    authors: str
    title: str
    venue: str
    year: int
    arxiv: str = ""

    def __str__(self) -> str:
        where = f"{self.venue} {self.year}" + (f", arXiv {self.arxiv}" if self.arxiv else "")
        return f"{self.authors}: {self.title}. {where}."


@dataclass(frozen=True, kw_only=True)
class Study:
    """One reproduced paper.

    Attributes
    ----------
    name
        First author and year, "beaglehole2024": what the command line, folders and tables call it.
    title
        What it is about, in a few words.
    cite
        The paper.
    question
        What it asks, in one sentence.
    work
        By the kind of a unit: the "module:function" that computes it. It is called with the unit and its folder, writes tables there with
        `agop.experiments.tables.write_table`, and returns notes, one sentence each.
    units
        `units(size, seed, data)`: what is computed for one seed and one data set (None, if the study names none).
    claims, drawings
        What is decided and drawn; a function of the size where they depend on it.
    data
        By size, the names of the data sets that every unit is run on (`agop.datasets`); those a study generates are its units' own.
    replaceable
        Whether `--data` may put others in their place.
    sizes
        Which of "smoke", "small", "paper" there are.
    parts
        Names of parts that can be asked for alone, as in "beaglehole2024:theory".
    facts
        By size, what else the page says under "What was run".

    Raises
    ------
    ValueError
        One sentence, if the name is none for a folder, or a size is unknown.
    """

    name: str
    title: str
    cite: Citation
    question: str
    work: Mapping[str, str]
    units: Callable[[str, int, Points], Iterable[Unit]]
    claims: tuple[Claim, ...] | Callable[[str], Iterable[Claim]]
    drawings: tuple[Drawing, ...] | Callable[[str], Iterable[Drawing]] = ()
    data: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    replaceable: bool = False
    sizes: tuple[str, ...] = tuple(SIZES)
    parts: tuple[str, ...] = ()
    facts: Callable[[str], Mapping[str, str]] = lambda size: {}

    def __post_init__(self) -> None:
        """Refuse what folders and the command line couldn't use."""
        unknown = [size for size in (*self.sizes, *self.data) if size not in SIZES]
        if self.name and set(self.name) <= _NAME and not unknown:
            return
        if unknown:
            raise bad_value("sizes", f"some of {', '.join(SIZES)}", repr(unknown[0]))
        raise bad_value("name", "lower-case letters, digits, - and _", repr(self.name), "rename the study")

    def units_of(self, size: str, seed: int, data: Points, parts: Sequence[str] = ()) -> list[Unit]:
        """The units of some parts (none: all), each with the study's name and the line that computes it."""
        found = []
        for unit in self.units(size, seed, data):
            if unit.kind not in self.work:
                raise bad_value("kind", f"one of the study's work ({', '.join(self.work)})", repr(unit.kind))
            if not parts or unit.part in parts:
                found.append(replace(unit, study=self.name, work=self.work[unit.kind]))
        return found

    def claims_of(self, size: str, parts: Sequence[str] = ()) -> tuple[Claim, ...]:
        """The claims that some parts (none: all) can decide: the paper's first, then those beyond it, then controls."""
        claims = self.claims(size) if callable(self.claims) else self.claims
        order = list(GROUPS)
        chosen = [claim for claim in claims if not parts or claim.part in parts]
        return tuple(sorted(chosen, key=lambda claim: (order.index(claim.group), claim.number)))

    def drawings_of(self, size: str) -> tuple[Drawing, ...]:
        """Every drawing."""
        return tuple(self.drawings(size) if callable(self.drawings) else self.drawings)
