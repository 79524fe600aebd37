"""From a configuration's fields to the options of its verb: one parameter a field, with what the field says about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, Field
from inspect import Parameter
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from agop.experiments.configuration import Configuration, Names, Option, options, spelling


def parameters(configuration: type[Configuration]) -> list[Parameter]:
    """One keyword parameter for each option, as typer reads them; those that must be given come with no default."""
    kinds = get_type_hints(configuration)
    return [
        parameter(entry.name, *_declared(entry, kinds[entry.name], about))
        for entry, about in options(configuration)
    ]


def parameter(name: str, annotation: Any, default: Any) -> Parameter:
    """A keyword parameter of a verb."""
    return Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _declared(entry: Field[Any], kind: Any, about: Option) -> tuple[Any, Any]:
    required = entry.default is MISSING
    declared = typer.Option(
        *_flags(entry),
        help=about.text,
        show_default=about.shown or not required,
        autocompletion=_completion(about),
        rich_help_panel=about.panel,
    )
    taken = list[str] | None if kind == Names else kind
    return Annotated[taken, declared], Parameter.empty if required else entry.default


def _flags(entry: Field[Any]) -> tuple[str, ...]:
    """The spelling of a switch; typer spells the other options by itself."""
    if not isinstance(entry.default, bool):
        return ()
    return ("/".join(filter(None, spelling(entry))),)


def _completion(about: Option) -> Callable[[str], list[str]] | None:
    """Shell completion of an option; whether a value is right is decided where it is used."""
    if not (about.choices or about.suggestions or about.files):
        return None
    return complete(*about.choices, *about.suggestions, files=about.files)


def complete(*words: str, files: str = "") -> Callable[[str], list[str]]:
    """Shell completion from these words, and from files of this folder."""

    def completed(incomplete: str) -> list[str]:
        found = sorted(str(path) for path in Path().glob(files)) if files else []
        return [word for word in (*words, *found) if word.startswith(incomplete)]

    return completed


def data_sets(incomplete: str) -> list[str]:
    """Shell completion of `--data`: names of data sets, and files that hold one."""
    from agop.datasets.registry import DATA

    return complete(*DATA, files="*.npz")(incomplete)
