"""What a subject of runs consists of: a `SubjectKind` says what its verb asks for, a `Task` does the work of one run.

`agop.experiments.run` does what all runs have in common: the directory, the identity, the tables, `result.json`.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, cast

from agop._checks import one_of
from agop.experiments.configuration import Configuration

if TYPE_CHECKING:
    import pandas as pd

    from agop.datasets import Dataset
    from agop.experiments.listener import Listener
    from agop.profiles.shown import Shown

C = TypeVar("C", bound=Configuration)
Found = TypeVar("Found")

CHECKPOINTS = "checkpoint"
"""The folder of an unfinished run from which it continues; it is deleted when the run is finished."""

TABLES, DISPLAYS = ("stages", "drops"), ("operations", "steps", "plain")


@dataclass(frozen=True, kw_only=True, eq=False)
class Findings:
    """What a finished task has to say.

    Attributes
    ----------
    title, headline
        A few words and one sentence with the numbers.
    facts
        What was run, by keyword; the run adds data and time.
    tables
        By name of the file without ".csv"; "profile" has a row per layer and stage.
    notes
        What a reader must know, such as fallbacks that were taken.
    shown
        How columns of the tables are shown; it is written down, so that the page can be made without the probes that measured them.
    scores
        How well a model answers on the points that were measured, by what it is ("model", "untrained"); None for what is no number.

    """

    title: str
    headline: str
    facts: Mapping[str, str]
    tables: Mapping[str, pd.DataFrame]
    notes: Sequence[str] = field(default=())
    shown: Mapping[str, Shown] = field(default_factory=dict)
    scores: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)


class Task(ABC, Generic[C, Found]):
    """The work of one run, made from its configuration; what fails while it is made leaves no directory behind.

    Attributes
    ----------
    config
        What was asked for.
    data
        The points.
    data_fingerprint
        Their hash.
    needs
        Bytes of disk that the run will write, about.

    """

    needs: int = 10 * 2**20

    def __init__(self, config: C) -> None:
        self.config = config
        self.data: Dataset = config.load()
        self.data_fingerprint = self.data.fingerprint()

    @property
    def fingerprint(self) -> str:
        """A hash of everything beside the options that decides the numbers: of the data, and of what else a subject reads."""
        return self.data_fingerprint

    @abstractmethod
    def plan(self) -> str:
        """What will be done, or what it will need, in a few words."""

    @abstractmethod
    def do(self, folder: Path, listener: Listener) -> Found:
        """Do the work, or what is left of it, and return what was found; every rank of a shared run does this."""

    @abstractmethod
    def findings(self, found: Found, folder: Path) -> Findings:
        """Put what was found into tables and words, and what is no table into files of the folder; rank 0 does this, alone."""


@dataclass(frozen=True, kw_only=True)
class SubjectKind(Generic[C]):
    """A kind of subject, which is a verb of the command line.

    Attributes
    ----------
    name
        The verb.
    help
        Its help text: a sentence, examples, what else is to be known.
    config
        What it can be asked for; the fields are the options of the verb.
    task
        Makes the task of a run: the class, or "module:attribute", which is imported when a run begins and not for the help.
    out
        The default folder below `runs`, with options in braces, such as "{arch}-{data}".
    table
        What is printed of a finished run: "stages" (measures by stage, accuracies), "drops" (what the two halves of a layer do to NC1),
        or "module:function" of a run's record.
    display
        How the run is watched: "operations" (a bar over predicted operations), "steps" (a bar over steps, a row per measurement), "plain".
    shared
        Whether the ranks of `torchrun` share its work.

    """

    name: str
    help: str
    config: type[C]
    task: Callable[[C], Task[C, Any]] | str
    out: str
    table: str = "stages"
    display: Literal["operations", "steps", "plain"] = "plain"
    shared: bool = False

    def __post_init__(self) -> None:
        if ":" not in self.table:
            one_of("table", self.table, TABLES)
        one_of("display", self.display, DISPLAYS)

    def begin(self, config: C) -> Task[C, Any]:
        """The task of a run."""
        task = imported(self.task) if isinstance(self.task, str) else self.task
        return cast(Callable[[C], Task[C, Any]], task)(config)

    def folder(self, config: C) -> Path:
        """Where a run goes that was not told."""
        return Path("runs", self.out.format_map(config.labels()))

    @property
    def folder_shown(self) -> str:
        """The same for the help: runs/ARCH-DATA."""
        return "runs/" + re.sub(r"{(\w+)}", lambda match: match[1].upper(), self.out)


def imported(reference: str) -> Any:
    """What "module:attribute" names."""
    module, _, attribute = reference.partition(":")
    return getattr(import_module(module), attribute)
