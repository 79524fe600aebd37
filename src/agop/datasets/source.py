"""What is known about a data set that has a name, before any point of it is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from agop._checks import bad_value, one_of

if TYPE_CHECKING:
    from agop.datasets.dataset import Raw

KINDS = ("bundled", "files", "generated")
"""Comes with a package that is installed anyway; read from files that may have to be fetched; drawn anew from a seed."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """A data set that has a name.

    Attributes
    ----------
    name
        As the registry and `--data` call it.
    description
        What the points are, in a few words.
    origin
        The package that the points come from, for example "torchvision".
    kind
        "bundled", "files" (of `root`, which may have to be downloaded) or "generated" (from a seed and `parameters`).
    shape, n_train, n_test, n_classes
        Of one point, and how many there are; of a generated set, with its default parameters.
    read
        `read(root=, download=, seed=, **parameters)` returns the arrays: `root` is the folder of files, `download` whether missing ones
        may be fetched, `seed` that of a generated set.
    parameters
        What a generated set, or one that puts the points of files into something drawn, can be asked for, with the defaults.

    """

    name: str
    description: str
    origin: str
    kind: str
    shape: tuple[int, ...]
    n_train: int
    n_test: int
    n_classes: int
    read: Callable[..., Raw]
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        one_of("kind", self.kind, KINDS)

    @property
    def bundled(self) -> bool:
        """Whether it is there without a download."""
        return self.kind != "files"

    def chosen(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """All parameters: the given ones, and the defaults of the others."""
        for name in given:
            if name not in self.parameters:
                known = ", ".join(self.parameters) or "none"
                raise bad_value("parameters", f"those of {self.name!r} ({known})", repr(name))
        return {**self.parameters, **given}

    def called(self, seed: int, parameters: Mapping[str, Any]) -> str:
        """The set in a sentence: whose it is, and what a generated one was drawn from."""
        words = f"{self.origin}'s {self.name}"
        if self.kind != "generated" and not self.parameters:
            return words
        return f"{words} ({', '.join([f'seed {seed}', *(f'{k} {v}' for k, v in parameters.items())])})"
