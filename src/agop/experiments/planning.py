"""What `agop reproduce` runs: the studies that words of the command line stand for, and the units that size, data and seeds make."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

from agop._checks import bad_value, one_of
from agop.experiments.claims import Claim
from agop.experiments.sizes import SIZES
from agop.experiments.studies import STUDIES, every
from agop.experiments.study import Study
from agop.experiments.units import DataSource, Unit

ALL = "all"
FORMER = {name: f"beaglehole2024:{name}" for name in ("deep-rfm", "networks", "theory")}
"""Words of 0.1.0, which knew one study, and what they are now."""


@dataclass(frozen=True)
class Choice:
    """A study, or some of its parts (none: all of it)."""

    study: Study
    parts: tuple[str, ...] = ()


def choices(words: Sequence[str], size: str) -> tuple[Choice, ...]:
    """The studies that words ask for: a name, NAME:PART, or "all", which leaves out what there isn't in this size.

    Warns
    -----
    DeprecationWarning
        For a word of 0.1.0, with the new one.

    Raises
    ------
    ValueError
        One sentence, for a study, a part or a size that there isn't.
    """
    one_of("preset", size, SIZES)
    if ALL in words:
        if len(words) > 1:
            raise bad_value("study", "all alone, or names of studies", " ".join(words))
        return tuple(Choice(study) for study in every() if size in study.sizes)
    found: dict[str, tuple[str, ...] | None] = {}
    for word in words:
        name, part = _named(word, size)
        earlier = found.get(name, ())
        found[name] = None if earlier is None or not part else (*earlier, part)
    return tuple(Choice(STUDIES[name], parts or ()) for name, parts in found.items())


def _named(word: str, size: str) -> tuple[str, str]:
    if word in FORMER:
        new = FORMER[word]
        warnings.warn(
            f"`agop reproduce {word}` is `agop reproduce {new}` now", DeprecationWarning, stacklevel=3
        )
        word = new
    name, colon, part = word.partition(":")
    one_of("study", name, (*STUDIES, ALL))
    study = STUDIES[name]
    if colon:
        one_of("part", part, study.parts)
    one_of(f"preset of {name}", size, study.sizes)
    return name, part


def data_of(chosen: Sequence[Choice], size: str, data: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The names of each study's data sets: its own, or `data` where it lets them be replaced.

    Raises
    ------
    ValueError
        One sentence, if `data` is given and no study takes it.
    """
    if data and not any(choice.study.replaceable for choice in chosen):
        names = ", ".join(choice.study.name for choice in chosen)
        raise bad_value(
            "data", "none for a study with data of its own", f"{data[0]!r} for {names}", "leave it out"
        )
    return {
        choice.study.name: tuple(data)
        if data and choice.study.replaceable
        else choice.study.data.get(size, ())
        for choice in chosen
    }


def plan(
    chosen: Sequence[Choice],
    size: str,
    data: Sequence[str],
    seeds: Sequence[int],
    *,
    root: str | None = None,
    download: bool = False,
) -> list[Unit]:
    """Every unit, study by study, data set by data set, seed by seed; data sets are loaded once, to be fetched and fingerprinted.

    Raises
    ------
    ValueError
        One sentence, if a data set can't be loaded, or two of them or two seeds are the same.

    """
    if len(set(seeds)) != len(seeds) or not seeds:
        raise bad_value("seeds", "different seeds", " ".join(map(str, seeds)) or "none")
    named, loaded = data_of(chosen, size, data), _Loaded(root, download)
    units: dict[object, Unit] = {}
    for choice in chosen:
        sources = [loaded.source(name) for name in named[choice.study.name]]
        labels = [source.label for source in sources]
        for label in labels:
            if labels.count(label) > 1:
                raise bad_value("data", "data sets with different names", f"two called {label!r}")
        several: list[DataSource | None] = [*sources] or [None]
        for source in several:
            for seed in seeds:
                own = choice.study.units_of(size, seed, source, choice.parts)
                units |= {
                    unit.folder: unit for unit in own
                }  # one that needs no data set comes with each of them
    return list(units.values())


class _Loaded:
    """Data sets by name, each loaded once."""

    def __init__(self, root: str | None, download: bool) -> None:
        self._root, self._download = root, download
        self._sources: dict[str, DataSource] = {}

    def source(self, name: str) -> DataSource:
        if name not in self._sources:
            from agop.datasets import load

            whole = load(name, root=self._root, download=self._download)
            self._sources[name] = DataSource(
                name, whole.fingerprint(), self._root, available=len(whole.x_train)
            )
        return self._sources[name]


def claims_of(chosen: Sequence[Choice], size: str) -> list[tuple[str, Claim]]:
    """The claims that the chosen parts can decide, each with the name of its study."""
    return [
        (choice.study.name, claim)
        for choice in chosen
        for claim in choice.study.claims_of(size, choice.parts)
    ]
