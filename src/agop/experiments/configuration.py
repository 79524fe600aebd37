"""What a run is asked to do: a dataclass with one field per option, and nothing else decides the numbers.

A field made by `option` is an option of the subject's verb: its name, type, default, help, choices and bounds are written here once, for
the command line, its completion, the check of what a program passes, and the run's identity. A field of another kind is for programs only.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import MISSING, Field, asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

from agop._checks import bad_type, integer, one_of, real
from agop.datasets.registry import DATA
from agop.probes import PROBES

if TYPE_CHECKING:
    from agop.datasets import Dataset

Names = tuple[str, ...] | None
"""Type of an option that takes several names: with commas, or given again and again."""

DATA_PANEL, MODEL, TRAINING, MEASURING, MACHINE = "Data", "Model", "Training", "Measuring", "Machine"
"""Panels of the help; any other word makes a panel of its own."""


@dataclass(frozen=True, kw_only=True)
class Option:
    """What is known of an option beside its name, type and default.

    Attributes
    ----------
    help
        The help text; "{choices}" in it stands for the list of choices.
    panel
        Of the help.
    choices
        The values that there are, a registry or a tuple: offered by completion, anything else is refused.
    suggestions, files
        Values that completion offers beside others that are right too, and a pattern of files that it offers.
    shown
        What the help shows as the default where that is None.
    decides
        Whether the numbers depend on it; else a run continues under another value.
    since
        The release that added it, if that is later than 0.1.0: at its default it is left out of a run's identity, so that earlier runs
        stay what they are.
    above, at_least, at_most
        Bounds of a number.
    negatable
        A switch that is off and has its --no- all the same: it was on in an earlier release, whose commands stay right.

    """

    help: str
    panel: str
    choices: Iterable[str] = ()
    suggestions: Iterable[str] = ()
    files: str = ""
    shown: str = ""
    decides: bool = True
    since: str = ""
    above: float | None = None
    at_least: int | None = None
    at_most: float | None = None
    negatable: bool = False

    @property
    def text(self) -> str:
        """The help text with the choices in it.

        >>> Option(help="One of {choices}.", panel="Model", choices=("a", "b", "c")).text
        'One of a, b or c.'
        """
        if "{choices}" not in self.help:
            return self.help
        *others, last = self.choices
        return self.help.format(choices=f"{', '.join(others)} or {last}" if others else last)

    def check(self, name: str, kind: Any, value: Any) -> None:
        """Refuse what no data set and no machine could make right; `kind` is the type of the field."""
        if value is None and kind not in (str, int, float, bool):
            return
        if self.choices:
            choices = list(self.choices)
            for entry in value if kind == Names else (value,):
                one_of(name, entry, choices)
        elif kind in (int, int | None):
            integer(name, value, at_least=self.at_least)
        elif kind in (float, float | None):
            real(name, value, above=self.above, at_least=self.at_least, at_most=self.at_most)


def option(default: Any = MISSING, help: str = "", panel: str = "Options", **more: Any) -> Any:
    """A field of a configuration that is an option of its verb; without a default it must be given. For `more` see `Option`."""
    return field(default=default, metadata={"option": Option(help=help, panel=panel, **more)})


def measures(shown: str) -> Any:
    """The option of what is measured, for the subjects that `agop.profile` measures."""
    return option(
        None, "Names of agop.PROBES, with commas, instead of the default.", MEASURING, choices=PROBES, shown=shown, since="0.2.0"
    )  # fmt: skip


def dtype() -> Any:
    """The option of the arithmetic, for the subjects that can choose it."""
    return option("float32", "{choices}.", MACHINE, choices=("float32", "float64"))


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """What every run is asked: the points, the seed, the device. A subject's own configuration adds its fields."""

    data: str = option(
        "digits", "A name that `agop datasets` lists, or an .npz file.", DATA_PANEL, suggestions=DATA, files="*.npz",
    )  # fmt: skip
    n_train: int | None = option(None, "Training points.", DATA_PANEL, shown="all", at_least=1)
    n_test: int | None = option(None, "Test points.", DATA_PANEL, shown="all", at_least=1)
    subset: str = option(
        "first", "Which points: first (file order) or random (by --seed).", DATA_PANEL, choices=("first", "random")
    )  # fmt: skip
    data_root: str | None = option(
        None, "Folder of the data sets' files.", DATA_PANEL, shown="~/.cache/agop", decides=False
    )
    download: bool = option(False, "Fetch a data set's files if missing.", DATA_PANEL, decides=False)
    seed: int = option(0, "Of all randomness.", MODEL, at_least=0)
    device: str = option("cpu", "cpu, cuda, cuda:1, …", MACHINE)

    def __post_init__(self) -> None:
        """Check every option by what its field says, before anything is loaded."""
        kinds = get_type_hints(type(self))
        for entry, about in options(type(self)):
            if kinds[entry.name] == Names:
                object.__setattr__(self, entry.name, _names(entry.name, getattr(self, entry.name)))
            about.check(entry.name, kinds[entry.name], getattr(self, entry.name))

    def identity(self) -> dict[str, Any]:
        """The options that decide the numbers."""
        values = {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}
        return {entry.name: values[entry.name] for entry in fields(self) if self._decides(entry)}

    def _decides(self, entry: Field[Any]) -> bool:
        about = entry.metadata.get("option")
        if about is None:
            return True
        return about.decides and not (about.since and getattr(self, entry.name) == entry.default)

    def command(self, verb: str) -> str:
        """The shell command of this run, with every option that decides the numbers, so that new defaults change nothing."""
        values = self.identity()
        words = [
            _spelled(entry, values[entry.name]) for entry, _ in options(type(self)) if entry.name in values
        ]
        return " ".join(["agop", verb, *filter(None, words)])

    def labels(self) -> dict[str, str]:
        """Every option as a word, for the name of a folder: a data file without folder and ending."""
        words = {name: str(value) for name, value in asdict(self).items()}
        return words | {"data": Path(self.data).stem or "data"}

    def load(self) -> Dataset:
        """The points."""
        from agop.datasets import load

        return load(
            self.data, root=self.data_root, download=self.download,
            n_train=self.n_train, n_test=self.n_test, subset=self.subset, seed=self.seed,
        )  # fmt: skip


def options(configuration: type[Configuration]) -> list[tuple[Field[Any], Option]]:
    """The options of a verb in the order of its help: the points, what the subject adds, and what all have besides."""
    common = {entry.name for entry in fields(Configuration)}

    def place(entry: Field[Any]) -> int:
        if entry.name not in common:
            return 1
        return 0 if entry.metadata["option"].panel == DATA_PANEL else 2

    entries = [entry for entry in fields(configuration) if "option" in entry.metadata]
    return [(entry, entry.metadata["option"]) for entry in sorted(entries, key=place)]


def spelling(entry: Field[Any]) -> tuple[str, str]:
    """The option as it is typed, and how a switch that is on is turned off ("" if only by leaving it out)."""
    word = entry.name.replace("_", "-")
    about = entry.metadata.get("option")
    return f"--{word}", f"--no-{word}" if entry.default is True or (
        about is not None and about.negatable
    ) else ""


def _spelled(entry: Field[Any], value: Any) -> str:
    yes, no = spelling(entry)
    if isinstance(value, bool):
        return yes if value else no
    word = ",".join(value) if isinstance(value, list) else str(value)
    return "" if value is None else f"{yes} {shlex.quote(word)}"


def _names(name: str, value: Any) -> Names:
    """Each name once, in order, from a text with commas or a list of such; None for none at all."""
    if value is None or (isinstance(value, list | tuple) and not value):
        return None
    words = [value] if isinstance(value, str) else value
    if not isinstance(words, list | tuple) or not all(isinstance(word, str) for word in words):
        raise bad_type(name, "names", repr(value))
    return tuple(dict.fromkeys(part.strip() for word in words for part in word.split(",")))
