"""The verbs that run something, one for each kind of subject: what they can be asked for stands in the kind's configuration."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperCommand, TyperGroup

from agop.cli.options import parameter, parameters
from agop.experiments.subject import SubjectKind
from agop.experiments.subjects import SUBJECTS, kind_of


class Verbs(TyperGroup):
    """The verbs of the command line: those of the subjects first, then the others.

    Subjects of other packages are looked for when a word is none of the package's own verbs.
    """

    def __init__(self, *args: Any, commands: Mapping[str, Any] | None = None, **settings: Any) -> None:
        own: dict[str, Any] = {name: Verb(SUBJECTS[name]) for name in SUBJECTS.own}
        super().__init__(*args, commands=own | dict(commands or {}), **settings)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The verb of that name; None if there is none."""
        found = super().get_command(ctx, cmd_name)
        if found is None and (kind := kind_of(cmd_name)) is not None:
            return Verb(kind)
        return found


class Verb(TyperCommand):
    """The verb of a kind of subject; its options are made when it is called or its help or completion is asked for."""

    def __init__(self, kind: SubjectKind[Any]) -> None:
        super().__init__(kind.name, help=inspect.cleandoc(kind.help), rich_markup_mode="rich")
        self._kind = kind

    def get_params(self, ctx: Any) -> list[Any]:
        """The options, made on first use."""
        if self.callback is None:
            made = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
            made.command(self._kind.name)(verb(self._kind))
            command = typer.main.get_command(made)
            self.params, self.callback = command.params, command.callback
        return super().get_params(ctx)


def verb(kind: SubjectKind[Any]) -> Callable[..., None]:
    """A function with a parameter for each option of the kind and one for the directory, as typer reads it."""

    def call(out: Path | None, **given: Any) -> None:
        run_and_show(kind, given, out)

    where = Annotated[Path | None, typer.Option(help="Directory of the run.", show_default=kind.folder_shown)]
    declared = [*parameters(kind.config), parameter("out", where, None)]
    call.__signature__ = inspect.Signature(declared)  # type: ignore[attr-defined]
    call.__annotations__ = {entry.name: entry.annotation for entry in declared}
    return call


def run_and_show(kind: SubjectKind[Any], given: Mapping[str, Any], out: Path | None) -> None:
    """Run what the options ask for, or what is left of it, and show the table."""
    from agop.cli.outcome import show
    from agop.cli.progress import DISPLAYS
    from agop.cli.tables import table_of
    from agop.experiments.run import run
    from agop.launch import launched
    from agop.ranks import ALONE

    with launched() if kind.shared else nullcontext(ALONE) as ranks:
        config, console = ranks.together(lambda: kind.config(**given)), Console(quiet=not ranks.is_main)
        place = out or kind.folder(config)
        with DISPLAYS[kind.display](console) as display:
            worked = run(kind, config, place, display)
        if ranks.is_main:
            show(place, worked, console, table_of(kind.table))
